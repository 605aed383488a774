import { isIP } from 'node:net';
import { contains, parseIp } from '../../base/addresses/index.ts';
import type { IpPrefix } from '../../base/addresses/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { readClaims, readSubnets } from './claims.ts';
import {
  rangeTaken,
  serverInRange,
  subnetChanged,
  subnetChanging,
  subnetRefused,
  subnetUnknown,
} from './errors.ts';
import type { HeldSubnets } from './recorded-subnets.ts';
import type { NodeKernel } from './kernel.ts';
import type { NodeObjects } from './node-objects.ts';
import type { HostAddress } from './routes.ts';
import { prefixText } from './settings.ts';
import type { NodeNetworkSettings } from './settings.ts';

export interface AssignmentDeps {
  readonly settings: NodeNetworkSettings;
  readonly ranges: readonly IpPrefix[];
  readonly held: HeldSubnets;
  readonly kernel: Pick<NodeKernel, 'pods' | 'removeBridge'>;
  /** Removes the configuration: no further pod is attached. Returns how long it has been gone, in ms. */
  readonly withdraw: () => Promise<number>;
  readonly log: { info(fields: object, message: string): void };
}

/**
 * Refuses ranges that hold an address of this host or of the API server. A pod subnet is in the ranges, so no
 * route can ever lead to these addresses.
 * @param server the host of the API server's URL
 * @throws NODE_NETWORK_RANGE_TAKEN
 */
export function requireFreeRanges(
  ranges: readonly IpPrefix[],
  host: readonly HostAddress[],
  server: string,
): void {
  const api = isIP(server) === 0 ? undefined : parseIp(server);
  for (const range of ranges) {
    const taken = host.find(({ address }) => contains(range, address));
    if (taken !== undefined) throw rangeTaken(prefixText(range), taken);
    if (api !== undefined && contains(range, api)) throw serverInRange(prefixText(range), server);
  }
}

/**
 * Takes the subnets that the cluster assigned to this node, or returns why it cannot. While nothing is known,
 * the node keeps what it has.
 * @param sent what the kubelet sent; undefined: nothing yet
 */
export async function takeAssigned(
  deps: AssignmentDeps,
  nodes: NodeObjects | undefined,
  sent: readonly string[] | undefined,
): Promise<PortcullisError | undefined> {
  const { held } = deps;
  try {
    await take(deps, assigned(deps, nodes, sent));
    return undefined;
  } catch (thrown) {
    const isUnknown = isPortcullisError(thrown) && thrown.code === 'NODE_NETWORK_SUBNET_UNKNOWN';
    if (isUnknown && held.current.length > 0) return undefined;
    if (isPortcullisError(thrown)) return thrown;
    throw thrown;
  }
}

/** @throws the reason why no valid subnet is assigned */
function assigned(
  { settings, ranges, held }: AssignmentDeps,
  nodes: NodeObjects | undefined,
  sent: readonly string[] | undefined,
): readonly IpPrefix[] {
  const { from, nodeName } = settings;
  // Before all nodes are known, an older node with the same subnet may be unknown.
  const texts = from === 'runtimeConfig' ? sent : nodes?.came() ? nodes.all().get(nodeName)?.subnets : [];
  if (texts === undefined || texts.length === 0) throw subnetUnknown(settings, nodes?.away());
  const { valid, problems } = readSubnets(texts, ranges);
  const [problem] = problems;
  if (problem !== undefined) throw subnetRefused({ node: nodeName, ...problem });
  const mine = valid.map(prefixText);
  if (sameTexts(mine, held.current.map(prefixText))) return valid;
  const rules = { ranges, held: held.current, wanted: valid, nodeName };
  const conflict = readClaims(nodes?.all().values() ?? [], rules).refused.find(
    ({ node, what }) => node === nodeName && mine.includes(what),
  );
  if (conflict !== undefined) throw subnetRefused(conflict);
  return valid;
}

/** Longer than a plugin takes from the configuration that it got to the link that it makes. */
const usualSettleMs = 10_000;

/**
 * Takes other subnets only while no pod has an address of the current ones, and none can get one any more: a
 * pod that is being attached has read the configuration, and has no link yet.
 * @throws NODE_NETWORK_SUBNET_CHANGED · STORAGE_… · NETWORK_KERNEL_…
 */
async function take(
  { settings, held, kernel, withdraw, log }: AssignmentDeps,
  wanted: readonly IpPrefix[],
): Promise<void> {
  const [before, now] = [held.current.map(prefixText), wanted.map(prefixText)];
  if (sameTexts(before, now)) return;
  if (before.length > 0) {
    const pods = kernel.pods();
    if (pods > 0) throw subnetChanged(settings.nodeName, before, now, pods);
    if ((await withdraw()) < (settings.settleMs ?? usualSettleMs))
      throw subnetChanging(settings.nodeName, now);
    const late = kernel.pods();
    if (late > 0) throw subnetChanged(settings.nodeName, before, now, late);
    kernel.removeBridge();
  }
  await held.hold(wanted);
  log.info({ subnets: now, before }, 'the pods of this node get addresses of the subnets of the node');
}

const sameTexts = (a: readonly string[], b: readonly string[]): boolean =>
  a.toSorted().join() === b.toSorted().join();
