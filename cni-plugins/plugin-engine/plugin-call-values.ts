import { formatIp } from '../../base/addresses/index.ts';
import type { CniResult } from '../spec/result.ts';
import type { PlanInput } from '../plugins/contract/contract.ts';
import type { GivenAddresses } from '../networks/addresses.ts';
import type { Host } from '../namespaces/caller.ts';
import { hostFacts } from '../links/host-facts.ts';
import type { MemberHolder } from '../database/memberships.ts';
import type { PluginAttachment } from '../database/plugin-attachments.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { pluginInterfaceOf } from '../database/record.ts';

/** Values derived from a call of one of our CNI plugins. */

/**
 * Returns the MAC address that the caller chose for the interface in the pod, or undefined if it chose none
 * or leaves it unchanged.
 */
export function chosenMac(
  config: unknown,
  { interfaces }: CniResult,
  before: CniResult | undefined,
): string | undefined {
  const inPod = ({ interfaces: all }: CniResult): readonly string[] =>
    all.flatMap(({ mac, sandbox }) =>
      (sandbox ?? '') === '' || mac === undefined ? [] : [mac.toLowerCase()],
    );
  const [own] = inPod({ interfaces } as CniResult);
  if (own === undefined) return undefined;
  if (before !== undefined) return inPod(before).includes(own) ? undefined : own;
  return (config as { readonly mac?: unknown } | undefined)?.mac === undefined ? undefined : own;
}

/** Returns the name of the host's end of the attachment's link. */
export const linkOf = ({ key }: PluginCall): string =>
  pluginInterfaceOf(key.network, key.containerId, key.interface);

/** Returns the input of a plugin's plan. @param hostInterface the host's end of the link */
export const planInput = (
  call: PluginCall,
  host: Host,
  given: GivenAddresses,
  hostInterface = linkOf(call),
): PlanInput => ({
  key: call.key,
  netns: call.netns,
  hostInterface,
  ...(call.bound === true && { bound: true }),
  args: call.args,
  ...(call.prevResult === undefined ? {} : { prevResult: call.prevResult }),
  addresses: given.addresses,
  ipamRoutes: given.routes,
  dns: given.dns,
  host: hostFacts(host.route),
});

export const memberHolder = (
  { namespaceId }: Host,
  { key, attachment }: PluginAttachment,
  owner: string,
): MemberHolder => ({
  namespaceId,
  owner,
  network: key.network,
  holder: `${key.containerId}/${key.interface}`,
  attachment,
});

/** Returns the answer of an IPAM plugin. */
export function addressResult(given: {
  readonly addresses: PlanInput['addresses'];
  readonly routes: CniResult['routes'];
  readonly dns: CniResult['dns'];
}): CniResult {
  return {
    interfaces: [],
    ips: given.addresses.map(({ address, gateway }) => ({
      address: `${formatIp(address.address)}/${address.length}`,
      ...(gateway === undefined ? {} : { gateway: formatIp(gateway) }),
    })),
    routes: given.routes,
    dns: given.dns,
  };
}
