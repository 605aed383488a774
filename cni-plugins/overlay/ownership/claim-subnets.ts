import { createHash } from 'node:crypto';
import { failure } from '../../../base/errors/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';
import { append } from '../../../base/lists/index.ts';
import { contains, parsePrefix } from '../../../base/addresses/index.ts';
import type { IpFamily } from '../../../base/addresses/index.ts';
import type { Comparison, Step } from '../etcd/messages.ts';
import { encode, objectOf, readClaim, readSubnet } from '../records/records.ts';
import type { Claim, OwnClaim } from '../records/records.ts';
import { familyOf, prefixText, subnetAt, subnetCount } from '../records/settings.ts';
import type { OverlayNetwork } from '../records/settings.ts';
import { mostTries, unchanged, unwrittenSince } from './membership.ts';
import type { Member } from './membership.ts';

/** Number of subnets that are tried, and of retries when another write intervenes. */
const attempts = 1000;

/**
 * Claims a subnet of each network that no other host has. Subnets that this host has are kept. The search
 * begins at a position derived from the host, so that hosts that start at once seldom collide. A claim is
 * this host's own key: when two hosts claim one subnet, the older key wins and the other host takes another
 * subnet.
 * @param wanted claimed again if etcd lost them
 * @throws OVERLAY_SUBNETS_EXHAUSTED · OVERLAY_SUBNET_LOST a wanted subnet belongs to another host now ·
 * OVERLAY_ETCD_UNREACHABLE · OVERLAY_ETCD_DENIED
 */
export async function claimSubnets(
  member: Member,
  networks: readonly OverlayNetwork[],
  wanted: readonly string[],
): Promise<string[]> {
  await member.view.reached(0);
  const claimed: string[] = [];
  for (const network of networks)
    claimed.push(await claimOne(member, network, wantedOf(wanted, network.prefix.address.family)));
  return claimed;
}

const wantedOf = (wanted: readonly string[], family: IpFamily): string | undefined =>
  wanted.find((subnet) => familyOf(subnet) === family);

async function claimOne(
  member: Member,
  network: OverlayNetwork,
  wanted: string | undefined,
): Promise<string> {
  const { client, keys, host, id, view } = member;
  const own = keys.own(host);
  const lost = new Set<string>();
  // A subnet that turns out to belong to another host is not a failed attempt: the next one is tried.
  for (let attempt = 0; attempt < mostTries + lost.size; attempt += 1) {
    // Read the current state of etcd, not the watch: an earlier attempt may have succeeded although its
    // answer was lost.
    const listing = await client.list(own.subnets);
    const held = listing.pairs
      .map((pair) => ({ ...pair, subnet: readSubnet(keys.readOwn(pair.key)?.name ?? '') }))
      .filter(({ subnet }) => subnet !== undefined && familyOf(subnet) === network.prefix.address.family)
      .toSorted((one, other) => one.createRevision - other.createRevision);
    const kept = held.find(({ subnet }) => isOf(network, subnet) && !lost.has(subnet ?? ''))?.subnet;
    const subnet = wanted ?? kept ?? formerOf(member, network, lost) ?? findFree(member, network, lost);
    const holder = view.subnetHolder(subnet);
    if (holder !== undefined && holder !== host) {
      if (subnet === wanted) throw await giveUp(member, subnet, holder);
      lost.add(subnet);
    }
    const isTaken = lost.has(subnet);
    const steps: Step[] = held.flatMap((each) =>
      each.subnet === subnet && !isTaken ? [] : [{ deleteRange: { key: each.key } }],
    );
    const existing = held.find((each) => each.key === own.subnet(subnet));
    const compare = [unwrittenSince(own.subnets, listing.revision)];
    if (!isTaken && (existing === undefined || (objectOf(existing.value) ?? {})['id'] !== id)) {
      steps.push({ put: { key: own.subnet(subnet), value: encode({ id } satisfies OwnClaim) } });
      const old = await oldClaim(member, subnet);
      if ('holder' in old) {
        if (subnet === wanted) throw await giveUp(member, subnet, old.holder);
        lost.add(subnet);
        continue;
      }
      append(compare, old.compare);
      append(steps, old.steps);
    }
    const { succeeded, revision } =
      steps.length === 0
        ? { succeeded: true, revision: listing.revision }
        : await client.commit(compare, steps);
    if (!succeeded || isTaken) continue;
    await view.reached(steps.length === 0 ? (existing?.modRevision ?? 0) : revision);
    // An older claim that does not count may count later. A host that has pods in the subnet keeps it.
    const isSafe = subnet === wanted || view.oldestClaimOf(subnet) === host;
    if (view.subnetHolder(subnet) === host && isSafe) return subnet;
    lost.add(subnet);
    if (subnet === wanted) throw await giveUp(member, subnet, view.subnetHolder(subnet) ?? 'somebody');
  }
  throw exhausted(network);
}

/**
 * Claims by the key of the subnet, as hosts of the former version do. Both keys are claimed while such hosts
 * exist.
 * @returns the holder if that key belongs to another host, or cannot be read
 */
async function oldClaim(
  { client, keys, host, id, view }: Member,
  subnet: string,
): Promise<
  { readonly compare: readonly Comparison[]; readonly steps: readonly Step[] } | { readonly holder: string }
> {
  const key = keys.subnet(subnet);
  const existing = await client.get(key);
  const holder = existing === undefined ? host : (readClaim(existing.value)?.host ?? 'somebody');
  if (holder !== host) return { holder };
  return {
    compare: [unchanged(key, existing?.modRevision ?? 0)],
    steps:
      view.oldHosts().length === 0 || existing !== undefined
        ? []
        : [{ put: { key, value: encode({ host, id } satisfies Claim) } }],
  };
}

function isOf({ prefix, hostLength }: OverlayNetwork, subnet: string | undefined): boolean {
  const read = subnet === undefined ? undefined : parsePrefix(subnet);
  return (
    read?.length === hostLength &&
    read.address.family === prefix.address.family &&
    contains(prefix, read.address)
  );
}

/** Returns what a daemon of the former version claimed for this host. */
function formerOf(
  { host, view }: Member,
  network: OverlayNetwork,
  lost: ReadonlySet<string>,
): string | undefined {
  return [...view.subnets()].find(
    ([subnet, holder]) => holder === host && isOf(network, subnet) && !lost.has(subnet),
  )?.[0];
}

function findFree({ host, view }: Member, network: OverlayNetwork, lost: ReadonlySet<string>): string {
  const count = subnetCount(network);
  const start = createHash('sha256').update(host).digest().readUInt32BE(0) % count;
  for (let at = 0; at < count && at < attempts + view.subnets().size; at += 1) {
    const subnet = prefixText(subnetAt(network, (start + at) % count));
    if (view.oldestClaimOf(subnet) === undefined && !lost.has(subnet)) return subnet;
  }
  throw exhausted(network);
}

/**
 * Removes this host's own claim of a subnet that belongs to another host: it would become valid when that
 * host leaves, while this host does not use the subnet.
 */
async function giveUp(
  { client, keys, host }: Member,
  subnet: string,
  holder: string,
): Promise<PortcullisError> {
  await client.transact([], [{ deleteRange: { key: keys.own(host).subnet(subnet) } }]);
  return lostTo(subnet, holder);
}

function lostTo(subnet: string, holder: string): PortcullisError {
  return failure(
    'OVERLAY_SUBNET_LOST',
    'precondition',
    'keep the subnet of this host',
    subnet,
    `etcd says that it belongs to ${holder}: it was released, or etcd was restored`,
    'remove the pods of this host, delete overlay.json in the folder of the overlay below the root, and restart the daemon: this host gets another subnet',
  );
}

function exhausted({ prefix, hostLength }: OverlayNetwork): PortcullisError {
  return failure(
    'OVERLAY_SUBNETS_EXHAUSTED',
    'exhausted',
    'reserve a subnet for this host',
    `${prefixText(prefix)} in subnets of /${hostLength}`,
    'every one of them is claimed',
    'release hosts that are gone: `portcullis network overlay release HOST`',
  );
}
