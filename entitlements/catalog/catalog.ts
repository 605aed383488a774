import { closest } from '../../base/lists/index.ts';
import type { Effects, Entitlement } from './entitlement.ts';
import { HOST_ENTITLEMENTS } from './host.ts';
import { KERNEL_ENTITLEMENTS } from './kernel.ts';
import { NETWORK_ENTITLEMENTS } from './network.ts';
import { RESOURCE_ENTITLEMENTS } from './resources.ts';
import { SECURITY_ENTITLEMENTS } from './security.ts';

/**
 * Every entitlement by name: libentitlement's fourteen with their intended meaning
 * (github.com/moby/libentitlement, 2017), its security.fs-read-only and debug that were never registered, and
 * additional ones: resource limits, peer rules, single devices, and the parts of the kernel that the default
 * profile keeps closed.
 */
export const CATALOG: ReadonlyMap<string, Entitlement> = new Map(
  [
    ...NETWORK_ENTITLEMENTS,
    ...SECURITY_ENTITLEMENTS,
    ...HOST_ENTITLEMENTS,
    ...KERNEL_ENTITLEMENTS,
    ...RESOURCE_ENTITLEMENTS,
  ].map((entitlement) => [entitlement.name, entitlement]),
);

/** An entitlement as a profile names it, with its argument parsed. */
export interface NamedEntitlement extends Effects {
  /** The text as written: `network.egress=10.0.0.0/8:5432/tcp`. */
  readonly name: string;
  readonly entry: Entitlement;
}

/**
 * Returns the entitlement of a text such as `network.user` or `resources.pids=100`, or what is wrong with it.
 * Never throws.
 */
export function entitlementNamed(
  text: string,
): NamedEntitlement | { readonly problem: string; readonly fix: string } {
  const [name = '', ...rest] = text.split('=');
  const entry = CATALOG.get(name);
  const near = entry === undefined ? closest(name, [...CATALOG.keys()]) : undefined;
  if (entry === undefined)
    return {
      problem: `there is no entitlement \`${name.slice(0, 80)}\``,
      fix: near === undefined ? 'see docs/profiles.md for the catalog' : `did you mean \`${near}\`?`,
    };
  const { argument } = entry;
  if (argument === undefined) {
    if (rest.length === 0) return { ...entry, name, entry };
    return { problem: `${name} takes no argument`, fix: `write ${name}` };
  }
  const example = `write ${name}=${argument.form}, as in ${name}=${argument.example}`;
  if (rest.length === 0) return { problem: `${name} takes an argument`, fix: example };
  const found = argument.read(rest.join('='));
  return 'problem' in found
    ? { problem: `${text.slice(0, 200)}: ${found.problem}`, fix: example }
    : { ...found, name: text, entry };
}
