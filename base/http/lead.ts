import { classOfHost } from './address.ts';
import type { AddressClass } from './address.ts';
import { httpError } from './failure.ts';

/**
 * Which addresses a request may connect to. `any`: the caller named the address. Else a server named it, by a redirect or in its answer,
 * and the class is that of the server itself.
 */
export type Reach = 'any' | AddressClass;

/** The rule of addresses (docs/decisions/0046): a server leads to no address that is nearer to this machine than the server itself is. */
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

/** For messages: `a loopback address`. */
export function describeClass(target: AddressClass): string {
  return described[target] ?? 'no readable address';
}

/**
 * The rule for an address that a server names: http or https, no user in it, never from https to plain HTTP, and not nearer than the server
 * ({@link mayReach}). What a name resolves to is judged when it is connected to.
 * @param reach the class of the server that names it
 * @returns why not; undefined where it is allowed
 */
export function refusalOf(from: URL, to: URL, reach: AddressClass): string | undefined {
  if (to.protocol !== 'http:' && to.protocol !== 'https:') return 'to no web address';
  if (to.username !== '' || to.password !== '') return `to an address that holds a user, at ${to.host}`;
  if (from.protocol === 'https:' && to.protocol === 'http:') return `from https to plain HTTP at ${to.host}`;
  const target = classOfHost(to.hostname);
  if (target !== 'name' && to.origin !== from.origin && !mayReach(reach, target)) return `to ${describeClass(target)}, ${to.host}`;
  return undefined;
}

/** Where a redirect leads. @throws HTTP_BAD_REDIRECT */
export function redirectTarget(from: URL, location: string | undefined, reach: AddressClass): URL {
  const to = location === undefined ? null : URL.parse(location, from.href);
  const why = to === null ? 'to no web address' : refusalOf(from, to, reach);
  if (to === null || why !== undefined) throw httpError('HTTP_BAD_REDIRECT', from, `${from.host} redirects ${why ?? ''}`);
  to.hash = '';
  return to;
}

/** What another origin may see of a request; credentials and all that is not known stay behind. */
const portable: ReadonlySet<string> = new Set(['accept', 'accept-encoding', 'accept-language', 'if-none-match', 'range', 'user-agent']);

export function withoutCredentials(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => portable.has(name.toLowerCase())));
}
