/** What an OCI runtime was seen to do on this kernel, beyond the plain contract. */
export interface HandlerFeatures {
  /** `rro` reaches the mounts below. */
  readonly recursiveReadOnlyMounts: boolean;
  /** `uidMappings` of a mount take effect: runc 1.1 passes over them without a word. */
  readonly idmappedMounts: boolean;
  /** A container joins a pinned user namespace, with idmapped mounts and an idmapped root file system: what Kubernetes means by it. */
  readonly userNamespaces: boolean;
  /** In a user namespace, `rbind` brings the mounts below along: crun before 1.9 leaves them out. */
  readonly bindsKeepSubmounts: boolean;
  /** It makes a time namespace beside a PID namespace: runc from 1.2, crun 1.8 not. */
  readonly timeNamespaces: boolean;
  /** Why `userNamespaces` is false; empty when it is true. */
  readonly whyNoUserNamespaces: string;
}

/** Until something was shown, nothing is promised. */
export const noFeatures: HandlerFeatures = {
  recursiveReadOnlyMounts: false,
  idmappedMounts: false,
  userNamespaces: false,
  bindsKeepSubmounts: false,
  timeNamespaces: false,
  whyNoUserNamespaces: 'this runtime handler was not examined yet',
};

/** Whether there is nothing left that another look could show: none turns a runtime into one that knows time namespaces. */
export function hasEverything(features: HandlerFeatures): boolean {
  return features.recursiveReadOnlyMounts && features.idmappedMounts && features.userNamespaces;
}
