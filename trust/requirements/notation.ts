import type { Constraints } from './constraint-set.ts';

export const storeTypes = ['ca', 'signingAuthority', 'tsa'] as const;
export type StoreType = (typeof storeTypes)[number];

/** Certificates that a policy trusts for one purpose, with their bytes. */
export interface TrustStore {
  readonly type: StoreType;
  /** `ca/k8s`, or the name of its file. */
  readonly name: string;
  readonly certificates: readonly { readonly file: string; readonly der: string }[];
}

/** The validations besides integrity, which is always enforced. */
export const validationTypes = ['authenticity', 'authenticTimestamp', 'expiry', 'revocation'] as const;
export type ValidationType = (typeof validationTypes)[number];
export type ValidationAction = 'enforce' | 'log' | 'skip';

export const levelNames = ['strict', 'permissive', 'audit'] as const;
export type LevelName = (typeof levelNames)[number];
export type Actions = Readonly<Record<ValidationType, ValidationAction>>;

/**
 * trust-store-trust-policy.md, "Signature Verification details". The level `skip` is a separate rule here:
 * `allow: unverified`.
 */
export const levels: Readonly<Record<LevelName, Actions>> = {
  strict: {
    authenticity: 'enforce',
    authenticTimestamp: 'enforce',
    expiry: 'enforce',
    revocation: 'enforce',
  },
  permissive: { authenticity: 'enforce', authenticTimestamp: 'log', expiry: 'log', revocation: 'log' },
  audit: { authenticity: 'log', authenticTimestamp: 'log', expiry: 'log', revocation: 'log' },
};

/** A signature of the Notary Project, by a signer whom the trust stores and identities name. */
export interface NotationRequirement {
  readonly kind: 'notation';
  readonly stores: readonly TrustStore[];
  /** `*`, or subjects whose attributes the signing certificate must have: `C=US, ST=WA, O=example.com`. */
  readonly identities: '*' | readonly string[];
  readonly level: LevelName;
  /** The actions in force, after overrides. */
  readonly actions: Actions;
  readonly verifyTimestamp: 'always' | 'afterCertExpiry';
  readonly constraints?: Constraints;
}

/**
 * Describes the requirement:
 * `a Notary Project signature that leads to ca/k8s, by C=US, ST=WA, O=example.com (level strict)`
 */
export function describeNotation({ stores, identities, level, actions }: NotationRequirement): string {
  const who = identities === '*' ? 'any identity' : identities.join(' or ');
  const changed = validationTypes
    .filter((type) => actions[type] !== levels[level][type])
    .map((type) => `${type}: ${actions[type]}`);
  const weak =
    actions.authenticity === 'enforce'
      ? ''
      : '; its authenticity is only logged: images are admitted whoever signed them';
  const how = [`level ${level}`, ...changed].join(', ');
  return `a Notary Project signature that leads to ${stores.map(({ name }) => name).join(' or ')}, by ${who} (${how}${weak})`;
}
