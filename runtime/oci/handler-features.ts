/** Features of an OCI runtime, beyond the plain contract, that were seen on this kernel. */
export interface HandlerFeatures {
  /** `rro` applies to the mounts below as well. */
  readonly recursiveReadOnlyMounts: boolean;
  /** `uidMappings` of a mount take effect. runc 1.1 silently ignores them. */
  readonly idmappedMounts: boolean;
  /**
   * A container joins a pinned user namespace, with idmapped mounts and an idmapped root file system.
   * Kubernetes requires all of this.
   */
  readonly userNamespaces: boolean;
  /** In a user namespace, `rbind` includes the mounts below. crun before 1.9 leaves them out. */
  readonly bindsKeepSubmounts: boolean;
  /** The runtime creates a time namespace beside a PID namespace. runc does from 1.2; crun 1.8 does not. */
  readonly timeNamespaces: boolean;
  /** Why `userNamespaces` is false; empty when it is true. */
  readonly whyNoUserNamespaces: string;
}

/** No feature is assumed before it was observed. */
export const noFeatures: HandlerFeatures = {
  recursiveReadOnlyMounts: false,
  idmappedMounts: false,
  userNamespaces: false,
  bindsKeepSubmounts: false,
  timeNamespaces: false,
  whyNoUserNamespaces: 'this runtime handler was not probed yet',
};

/**
 * Reports whether another probe could not find more features. No setting makes a runtime support time
 * namespaces.
 */
export function hasEverything(features: HandlerFeatures): boolean {
  return features.recursiveReadOnlyMounts && features.idmappedMounts && features.userNamespaces;
}
