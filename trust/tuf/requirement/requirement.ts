import type { Dialect } from '../metadata/model.ts';

/** What a tag means must be signed by a TUF or Notary service, and be as new as the policy says. */
export interface TufRequirement {
  readonly kind: 'tuf';
  /** Its address, without a slash at its end. */
  readonly service: string;
  readonly dialect: Dialect;
  /** `tag`: each image has a repository of its own there, whose targets are tags. `reference`: one repository, whose targets are `HOST/PATH:TAG`. */
  readonly names: 'tag' | 'reference';
  /** Where trust begins. `first-use`: with what the service says the first time. */
  readonly root: 'first-use' | readonly TufPin[];
  /** Seconds since the service was last asked with success. */
  readonly maxAge?: number;
  /** The roles that may name a tag, in the order to ask; undefined: all, by the order of the delegations. */
  readonly roles?: readonly string[];
  /** PEM: who certifies the service, beside those of the system. */
  readonly authorities?: string;
  /** Seconds for which what was admitted stays so when the service can not be asked any more (`onStale`). */
  readonly grace?: number;
  /** Every kind may have them; nothing is signed here that they could be about. */
  readonly constraints?: undefined;
}

/** A root, as the policy names its file. */
export interface TufPin {
  readonly name: string;
  /** sha256 of the bytes, hex. */
  readonly digest: string;
  /** Base64. */
  readonly content: string;
  /** `HOST/PATH` of the one image that it is for; undefined: all that the rule names. */
  readonly image?: string;
}

/** The requirement in words. */
export function describeTuf({ service, dialect, root, maxAge, roles }: TufRequirement): string {
  return [
    `a digest signed by the ${dialect === 'notary' ? 'Notary' : 'TUF'} service ${service}`,
    root === 'first-use' ? 'trusted on first use' : `under the root ${[...new Set(root.map(({ name }) => name))].join(', ')}`,
    ...(roles === undefined ? [] : [`in ${roles.join(' or ')}`]),
    ...(maxAge === undefined ? [] : [`asked within ${maxAge} s`]),
  ].join(', ');
}
