import type { Resource, ResourceKernel } from '../plugins/contract/contract.ts';
import { kindOf } from '../plugins/registry.ts';
import type { CniResult } from '../spec/result.ts';
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
  const reported = plugin?.role === 'chained' ? [] : resultDifferences(pluginAttachment, call.prevResult);
  if (plugin === undefined || kernel === undefined) return reported;
  const later = chain.slice(at + 1).flatMap(({ resources }) => resources);
  const { key, resources } = amendedPart(pluginAttachment, later);
  return [
    ...reported,
    ...resources.flatMap((resource) => kindOf(resource).differences(resource, kernel, key)),
  ];
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
 * Compares what the caller believes about the attachment's interface with the result of ADD. Later plugins
 * may have added to it.
 */
function resultDifferences({ key, result: own }: PluginAttachment, believed: CniResult): string[] {
  const at = own.interfaces.findIndex(
    ({ name, sandbox }) => name === key.interface && (sandbox ?? '') !== '',
  );
  const mine = own.interfaces[at];
  if (mine === undefined) return [];
  return [
    ...(believed.interfaces.some(({ name, sandbox }) => name === mine.name && sandbox === mine.sandbox)
      ? []
      : [`prevResult has no interface ${mine.name} in ${mine.sandbox ?? ''}`]),
    ...own.ips
      .filter(
        ({ interface: index, address }) =>
          index === at && !believed.ips.some((other) => other.address === address),
      )
      .map(({ address }) => `prevResult has no address ${address}`),
  ];
}
