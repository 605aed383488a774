import { canonicalPrefix, formatIp, ipFromBytes } from '../../base/addresses/index.ts';
import { findLink, listAddresses } from '../../base/netlink/index.ts';
import type { Resource, ResourceKernel } from '../plugins/contract/contract.ts';
import { withLink } from '../plugins/interface/amended.ts';
import { createsInterface, kindOf } from '../plugins/registry.ts';
import type { CniInterface, CniResult } from '../spec/result.ts';
import type { Host } from '../namespaces/caller.ts';
import type { PluginAttachment, PluginAttachmentStore } from '../database/plugin-attachments.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { addResultMissing, differs, notAttached } from '../calls/plugin-errors.ts';
import type { Reading } from '../networks/plugin-configuration.ts';

/**
 * CHECK: compares the kernel's state of an attachment with the record and with what the caller believes.
 * Changes nothing.
 */

/** A CHECK whose configuration has been read. */
export interface Check {
  readonly call: PluginCall;
  readonly reading: Reading;
}

/** The records of attachments. */
export interface ComparedRecords extends Pick<PluginAttachmentStore, 'chain'> {
  /** Returns why the attachment has lost its DHCP lease. */
  lost(part: PluginAttachment): string | undefined;
}

/**
 * Compares the results of the plugins of one chain for one attachment. The namespace is entered once, and
 * each kernel query that several plugins need runs once.
 * @param checks at least one, all of the same attachment and namespace, in the order of the chain
 * @param locked runs a read of the records while no other process acts
 * @throws NETWORK_PREVIOUS_RESULT_MISSING · NETWORK_NOT_ATTACHED · NETWORK_NETNS_* · NETWORK_DIFFERS, of the
 * first plugin that finds a difference
 */
export function compareChecks(
  checks: readonly Check[],
  host: Host,
  records: ComparedRecords,
  locked: <T>(body: () => T) => T,
): void {
  const [first] = checks;
  if (first === undefined) return;
  for (const { call, reading } of checks)
    if (call.prevResult === undefined) throw addResultMissing(call.key, reading.type);
  const chain = locked(() => records.chain(host.namespaceId, first.call.key));
  for (const { call, reading } of checks)
    if (!chain.some(({ type }) => type === reading.type)) throw notAttached(call.key, reading.type);
  const compare = (kernel: ResourceKernel | undefined): void => {
    for (const { call, reading } of checks) {
      const part = chain.find(({ type }) => type === reading.type);
      const lost = part === undefined ? undefined : records.lost(part);
      const found = [
        ...(lost === undefined ? [] : [`the DHCP lease is lost: ${lost}`]),
        ...foundDifferences(chain, call, reading, kernel),
      ];
      if (found.length > 0) throw differs(call.key, reading.type, found);
    }
  };
  // An IPAM plugin that is called alone has no state in the kernel.
  if (checks.every(({ reading }) => reading.plugin === undefined)) return compare(undefined);
  const { netns, netnsOverride } = first.call;
  host.withPod(netns, { ownAllowed: netnsOverride === true, onlyRead: true }, (kernel) =>
    kernel.host.route.askingOnce(() => kernel.host.filter.askingOnce(() => compare(kernel))),
  );
}

function foundDifferences(
  chain: readonly PluginAttachment[],
  call: PluginCall,
  { type, plugin }: Reading,
  kernel: ResourceKernel | undefined,
): string[] {
  const at = chain.findIndex((each) => each.type === type);
  const pluginAttachment = chain[at];
  if (pluginAttachment === undefined || call.prevResult === undefined) return [];
  const last = chain.at(-1)?.result ?? pluginAttachment.result;
  const reported =
    plugin?.role === 'chained' ? [] : resultDifferences(pluginAttachment, last, call.prevResult, kernel);
  if (plugin === undefined || kernel === undefined) return reported;
  const later = chain.slice(at + 1).flatMap(({ resources }) => resources);
  const { key, resources } = changedLater(amendedPart(pluginAttachment, later), call.prevResult, kernel);
  return [
    ...reported,
    ...resources.flatMap((resource) => kindOf(resource).differences(resource, kernel, key)),
  ];
}

/**
 * Returns the part with what a third-party plugin later in the chain may have changed (CNI specification 1.1,
 * section 4): a MAC address that its result has, and a smaller MTU, which the results of upstream's plugins
 * do not have.
 */
function changedLater(
  part: PluginAttachment,
  { interfaces }: CniResult,
  { pod }: ResourceKernel,
): PluginAttachment {
  const { key, resources } = part;
  const link = pod === undefined ? undefined : findLink(pod.route, { name: key.interface });
  if (link === undefined) return part;
  const mac = interfaces.find(({ name, sandbox }) => name === key.interface && (sandbox ?? '') !== '')?.mac;
  const change = (resource: Resource): Resource => {
    const { mtu = 0 } = resource as { readonly mtu?: number };
    return withLink(resource, key.interface, {
      ...(link.mac === mac?.toLowerCase() && { mac: link.mac }),
      ...(createsInterface(part) && link.mtu < mtu && { mtu: link.mtu }),
    });
  };
  return { ...part, resources: resources.map(change) };
}

/** Returns the plugin attachment with the changes that later plugins of the chain made on purpose. */
export function amendedPart(
  pluginAttachment: PluginAttachment,
  later: readonly Resource[],
): PluginAttachment {
  if (later.length === 0) return pluginAttachment;
  const amend = (resource: Resource): Resource =>
    later.reduce((existing, change) => kindOf(change).amend?.(change, existing) ?? existing, resource);
  return { ...pluginAttachment, resources: pluginAttachment.resources.map(amend) };
}

/**
 * Compares what the caller believes about the attachment's interfaces with the result of ADD. Later plugins
 * may have added to it, and may have changed the pod's interface.
 */
function resultDifferences(
  { key, result: own }: PluginAttachment,
  last: CniResult,
  believed: CniResult,
  kernel: ResourceKernel | undefined,
): string[] {
  const isMine = ({ name, sandbox }: CniInterface): boolean =>
    name === key.interface && (sandbox ?? '') !== '';
  const at = own.interfaces.findIndex(isMine);
  const mine = own.interfaces[at];
  if (mine === undefined) return [];
  const route = kernel?.pod?.route;
  const link = route === undefined ? undefined : findLink(route, { name: mine.name });
  const macs = [link?.mac, last.interfaces.find(isMine)?.mac];
  const present = [
    ...own.ips.map(({ address }) => address),
    ...(route === undefined || link === undefined
      ? []
      : listAddresses(route, link.index).map(
          ({ address, length }) => `${formatIp(ipFromBytes(address))}/${length}`,
        )),
  ];
  return [
    ...own.interfaces.flatMap((each) =>
      interfaceDifferences(each, each === mine ? macs : [each.mac], believed),
    ),
    ...own.ips
      .filter(
        ({ interface: index, address }) =>
          index === at && !believed.ips.some((other) => other.address === address),
      )
      .map(({ address }) => `prevResult has no address ${address}`),
    ...addressesOn(mine, believed)
      .filter((address) => link !== undefined && !present.includes(address))
      .map((address) => `prevResult has the address ${address}, but ${mine.name} does not`),
  ];
}

/** @param macs of the link and of the record. The plugin itself compares these with each other. */
function interfaceDifferences(
  { name, sandbox = '' }: CniInterface,
  macs: readonly (string | undefined)[],
  believed: CniResult,
): string[] {
  const same = believed.interfaces.find((each) => each.name === name && (each.sandbox ?? '') === sandbox);
  if (same === undefined)
    return [`prevResult has no interface ${name} ${sandbox === '' ? 'of the host' : `in ${sandbox}`}`];
  const mac = (same.mac ?? '').toLowerCase();
  const known = macs.filter((each) => each !== undefined);
  return mac === '' || known.length === 0 || known.includes(mac)
    ? []
    : [`prevResult has the MAC address ${mac} for ${name}, which has ${known[0]}`];
}

/** Returns the addresses that a result assigns to an interface, in canonical form. */
const addressesOn = ({ name, sandbox }: CniInterface, { interfaces, ips }: CniResult): string[] =>
  ips
    .filter(({ interface: index }) => {
      const owner = index === undefined ? undefined : interfaces[index];
      return owner?.name === name && owner.sandbox === sandbox;
    })
    .map(({ address }) => canonicalPrefix(address) ?? address);
