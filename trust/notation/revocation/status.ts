import type { Certificate } from '../../x509/certificate.ts';

/** The certificate that revocation evidence is judged for, and the times that matter, in milliseconds. */
export interface JudgedCertificate {
  readonly certificate: Certificate;
  readonly issuer: Certificate;
  readonly now: number;
  /** Only for signing authorities: a revocation whose invalidity begins later does not apply. */
  readonly signingTime?: number | undefined;
}

/** The result of revocation evidence for one certificate at one time. */
export interface RevocationStatus {
  readonly status: 'good' | 'revoked' | 'unknown';
  /** A clause for reasons. */
  readonly says: string;
  /** Until when `good` is valid, in milliseconds since 1970. */
  readonly until?: number;
}

/** The clocks of responders and of this machine may differ by this much, in milliseconds. */
export const clockSkew = 5 * 60 * 1000;

export function unknown(says: string): RevocationStatus {
  return { status: 'unknown', says };
}

export function timeText(time: number): string {
  return new Date(time).toISOString().replace('.000Z', 'Z');
}
