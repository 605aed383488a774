import { classOfHost } from './address.ts';
import type { AddressClass } from './address.ts';
import { httpError } from './failure.ts';

/**
 * The addresses that a request may connect to. `any`: the caller named the address. Otherwise a server named
 * it, in a redirect or in its answer, and the value is the class of that server.
 */
export type Reach = 'any' | AddressClass;

/**
 * Applies the rule of addresses (docs/decisions/0046): a server must not lead to an address that is nearer to
 * this machine than the server itself.
 */
export function mayReach(reach: Reach, target: AddressClass): boolean {
  if (reach === 'any' || target === 'elsewhere') return true;
  const side = (one: Reach): Reach => (one === 'unspecified' ? 'loopback' : one);
  return (side(target) === 'loopback' || target === 'link-local') && side(reach) === side(target);
}

const described: Partial<Readonly<Record<AddressClass, string>>> = {
  loopback: 'a loopback address',
  unspecified: 'the unspecified address, which is this machine',
  'link-local': 'a link-local address',
  metadata: 'an address of the metadata service of a cloud',
  multicast: 'a multicast address',
};

/** Describes a class for messages: `a loopback address`. */
export function describeClass(target: AddressClass): string {
  return described[target] ?? 'an unreadable address';
}

/**
 * Applies the rule for an address that a server names: http or https, no user in it, never from https to
 * plain HTTP, and not nearer than the server ({@link mayReach}). The addresses that a name resolves to are
 * judged at the connection.
 * @param reach the class of the server that names it
 * @returns the reason for a refusal; undefined if the address is allowed
 */
export function refusalOf(from: URL, to: URL, reach: AddressClass): string | undefined {
  if (to.protocol !== 'http:' && to.protocol !== 'https:') return 'to an address that is not http or https';
  if (to.username !== '' || to.password !== '') return `to an address that contains a user, at ${to.host}`;
  if (from.protocol === 'https:' && to.protocol === 'http:') return `from https to plain HTTP at ${to.host}`;
  const target = classOfHost(to.hostname);
  if (target !== 'name' && to.origin !== from.origin && !mayReach(reach, target))
    return `to ${describeClass(target)}, ${to.host}`;
  return undefined;
}

/** Returns the target of a redirect. @throws HTTP_BAD_REDIRECT */
export function redirectTarget(from: URL, location: string | undefined, reach: AddressClass): URL {
  const to = location === undefined ? null : URL.parse(location, from.href);
  const why = to === null ? 'without a valid http or https address' : refusalOf(from, to, reach);
  if (to === null || why !== undefined)
    throw httpError('HTTP_BAD_REDIRECT', from, `${from.host} redirects ${why ?? ''}`);
  to.hash = '';
  return to;
}

/** The headers that another origin may receive. Credentials and all unknown headers are removed. */
const portable: ReadonlySet<string> = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'if-none-match',
  'range',
  'user-agent',
]);

export function withoutCredentials(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => portable.has(name.toLowerCase())));
}
