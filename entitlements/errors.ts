import { PortcullisError } from '../base/errors/index.ts';
import type { Failure } from '../base/errors/index.ts';

/** The stable error codes of entitlements. */
export type EntitlementsCode =
  | 'ENTITLEMENTS_BAD_FILTER'
  | 'ENTITLEMENTS_BAD_PROFILE'
  | 'ENTITLEMENTS_BAD_QUESTION'
  | 'ENTITLEMENTS_BAD_SECCOMP'
  | 'ENTITLEMENTS_CEILING_EXCEEDED'
  | 'ENTITLEMENTS_DUPLICATE_PROFILE'
  | 'ENTITLEMENTS_MISCOMPILED'
  | 'ENTITLEMENTS_TOO_COMPLEX'
  | 'ENTITLEMENTS_UNENFORCEABLE'
  | 'ENTITLEMENTS_UNKNOWN_CAPABILITY'
  | 'ENTITLEMENTS_UNKNOWN_PROFILE'
  | 'ENTITLEMENTS_UNPROVED'
  | 'ENTITLEMENTS_UNREADABLE'
  | 'ENTITLEMENTS_UNSUPPORTED';

/** Returns an error of entitlements. */
export function entitlementsError(
  code: EntitlementsCode,
  failure: Omit<Failure, 'code'>,
): PortcullisError<EntitlementsCode> {
  return new PortcullisError<EntitlementsCode>({ code, ...failure });
}
