import { capabilityNames } from '../../base/capabilities/index.ts';
import { entitlementsError } from '../errors.ts';
import type { Capability } from '../types.ts';

/** Every capability, in the order of their numbers. */
export const CAPABILITIES: readonly Capability[] = capabilityNames;

/** The default set of docker and containerd. */
export const DEFAULT_CAPABILITIES: readonly Capability[] = [
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'NET_RAW',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
];

const KNOWN: ReadonlySet<string> = new Set(CAPABILITIES);

/**
 * Returns the name in the form used here (`NET_ADMIN`) for `cap_net_admin`, `CAP_NET_ADMIN` or `NET_ADMIN`;
 * undefined if there is no such capability.
 */
export function capabilityName(text: string): Capability | undefined {
  // toUpperCase also changes letters that only look like these: the long s becomes S.
  if (!/^[A-Za-z0-9_]*$/.test(text)) return undefined;
  const upper = text.toUpperCase();
  const name = upper.startsWith('CAP_') ? upper.slice(4) : upper;
  return KNOWN.has(name) ? name : undefined;
}

/**
 * Returns the names of a request, in which `ALL` is replaced by `all`.
 * @throws ENTITLEMENTS_UNKNOWN_CAPABILITY
 */
export function expandCapabilities(names: readonly string[], all: readonly Capability[]): Capability[] {
  const found = names.flatMap((text) => {
    if (/^(CAP_)?ALL$/i.test(text)) return [...all];
    const name = capabilityName(text);
    if (name === undefined) throw unknown(text);
    return [name];
  });
  return sortedCapabilities(found);
}

/** Returns capabilities without duplicates, sorted by name. */
export function sortedCapabilities(names: Iterable<Capability>): Capability[] {
  return [...new Set(names)].sort();
}

function unknown(text: string): Error {
  return entitlementsError('ENTITLEMENTS_UNKNOWN_CAPABILITY', {
    kind: 'invalid',
    attempted: 'read capability',
    on: text,
    why: 'there is no such capability',
    fix: 'use a name of capabilities(7), such as NET_BIND_SERVICE',
  });
}
