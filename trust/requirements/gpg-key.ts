/** One OpenPGP certificate, as plain facts: everything that `decide` needs to verify with it, at any time. */
export interface GpgKey {
  /** Fingerprint of the primary key, upper-case hex, as gpg prints it. */
  readonly fingerprint: string;
  /** The primary user id, for display. */
  readonly userId: string;
  /** The start and the end of its validity, in seconds since 1970. */
  readonly from: number;
  readonly until?: number;
  readonly revoked?: Revocation;
  /** The keys that may sign: the primary key, subkeys, or both. */
  readonly signing: readonly GpgSigningKey[];
}

export interface GpgSigningKey {
  /** Upper-case hex. */
  readonly fingerprint: string;
  /** Lower-case hex. */
  readonly keyId: string;
  readonly algorithm: number;
  /** SPKI, DER, base64. */
  readonly spki: string;
  /** Seconds since 1970. Absent in policies that earlier versions recorded. */
  readonly created?: number;
  readonly from: number;
  readonly until?: number;
  readonly revoked?: Revocation;
}

export interface Revocation {
  /** Seconds since 1970; the key is invalid from then on. */
  readonly at: number;
  /** The key was compromised, or no reason is given: the key is then invalid for all times. */
  readonly always: boolean;
}
