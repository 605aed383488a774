import type { Entitlement } from './entitlement.ts';
import { HOST_ENTITLEMENTS } from './host.ts';
import { NETWORK_ENTITLEMENTS } from './network.ts';
import { SECURITY_ENTITLEMENTS } from './security.ts';

/**
 * Every entitlement by name: libentitlement's fourteen in what they meant (github.com/moby/libentitlement, 2017), its
 * security.fs-read-only that was never registered, network.host, and host.paths.
 */
export const CATALOG: ReadonlyMap<string, Entitlement> = new Map(
  [...NETWORK_ENTITLEMENTS, ...SECURITY_ENTITLEMENTS, ...HOST_ENTITLEMENTS].map((entitlement) => [entitlement.name, entitlement]),
);
