/**
 * Requires that a TUF or Notary service signs the meaning of a tag, at most as long ago as the policy allows.
 */
export interface TufRequirement {
  readonly kind: 'tuf';
  /** The address of the service, without a trailing slash. */
  readonly service: string;
  readonly dialect: 'tuf' | 'notary';
  /**
   * `tag`: each image has its own repository there, whose targets are tags. `reference`: one repository,
   * whose targets are `HOST/PATH:TAG`.
   */
  readonly names: 'tag' | 'reference';
  /** The initial root. `first-use`: the root that the service serves the first time. */
  readonly root: 'first-use' | readonly TufPin[];
  /** The maximum seconds since the service was last asked successfully. */
  readonly maxAge?: number;
  /**
   * The roles that may list a tag, in the order of the search; undefined: all, in the order of the
   * delegations.
   */
  readonly roles?: readonly string[];
  /** PEM: authorities that certify the service, in addition to the system's. */
  readonly authorities?: string;
  /**
   * Seconds for which an admitted image remains admitted when the service cannot be asked any more
   * (`onStale`).
   */
  readonly grace?: number;
  /** Every kind may have constraints; this one signs nothing that they could apply to. */
  readonly constraints?: undefined;
}

/** A root, as the policy names its file. */
export interface TufPin {
  readonly name: string;
  /** sha256 of the bytes, hex. */
  readonly digest: string;
  /** Base64. */
  readonly content: string;
  /** `HOST/PATH` of the one image that it applies to; undefined: all images of the rule. */
  readonly image?: string;
}

/** Describes the requirement in words. */
export function describeTuf({ service, dialect, root, maxAge, roles }: TufRequirement): string {
  return [
    `a digest signed by the ${dialect === 'notary' ? 'Notary' : 'TUF'} service ${service}`,
    root === 'first-use'
      ? 'trusted on first use'
      : `under the root ${[...new Set(root.map(({ name }) => name))].join(', ')}`,
    ...(roles === undefined ? [] : [`in ${roles.join(' or ')}`]),
    ...(maxAge === undefined ? [] : [`asked within ${maxAge} s`]),
  ].join(', ');
}
