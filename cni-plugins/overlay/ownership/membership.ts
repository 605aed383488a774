import { createHash } from 'node:crypto';
import { failure, isPortcullisError } from '../../../base/errors/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';
import { append } from '../../../base/lists/index.ts';
import { contains, parsePrefix } from '../../../base/addresses/index.ts';
import type { IpFamily } from '../../../base/addresses/index.ts';
import type { EtcdClient } from '../etcd/client.ts';
import { endOf } from '../etcd/messages.ts';
import type { Comparison, Step } from '../etcd/messages.ts';
import type { Ownership } from './ownership.ts';
import {
  encode,
  identitiesOf,
  objectOf,
  readClaim,
  readHost,
  readShared,
  readSubnet,
} from '../records/records.ts';
import type { Claim, HostRecord, Keys, OwnClaim, SharedSettings } from '../records/records.ts';
import { familyOf, prefixText, subnetAt, subnetCount } from '../records/settings.ts';
import type { OverlayNetwork } from '../records/settings.ts';

/**
 * Writes this host's own keys into etcd, and no others. Each act is one transaction. One that finds its
 * change already made is a success, because its answer may have been lost.
 */

export interface Member {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly host: string;
  readonly id: string;
  /** The claims of all hosts, as this host has seen them. */
  readonly view: Ownership;
}

/** Number of subnets that are tried, and of retries when another write intervenes. */
const attempts = 1000;
const mostTries = 50;

const unchanged = (key: string, modRevision: number): Comparison => ({
  result: 0,
  target: 2,
  key,
  modRevision,
});
/** Holds when nothing below the prefix was written after the revision. */
const unwrittenSince = (prefix: string, revision: number): Comparison => ({
  result: 2,
  target: 2,
  key: prefix,
  rangeEnd: endOf(prefix),
  modRevision: revision + 1,
});

/**
 * Requires that all hosts have the same settings. An administrator writes the network's settings, or the
 * first host that may.
 * @throws OVERLAY_SETTINGS_DIFFER · OVERLAY_ETCD_UNREACHABLE · OVERLAY_ETCD_DENIED when they are not written
 * and this host may not write them
 */
export async function agreeOnNetwork({ client, keys }: Member, shared: SharedSettings): Promise<void> {
  const value = encode(shared);
  let existing = (await client.get(keys.network))?.value;
  if (existing === undefined) {
    if (
      await client.transact(
        [{ result: 0, target: 1, key: keys.network, createRevision: 0 }],
        [{ put: { key: keys.network, value } }],
      )
    )
      return;
    existing = (await client.get(keys.network))?.value;
  }
  if (existing === undefined || textOf(readShared(existing)) !== textOf(shared))
    throw differing(keys.network, value.toString(), existing?.toString() ?? '');
}

const textOf = (shared: SharedSettings | undefined): string | undefined =>
  shared &&
  JSON.stringify({
    networks: shared.networks.map(({ prefix, hostLength }) => [prefix, hostLength]),
    vni: shared.vni,
  });

/**
 * Claims a subnet of each network that no other host has. Subnets that this host has are kept. The search
 * begins at a position derived from the host, so that hosts that start at once seldom collide. A claim is
 * this host's own key: when two hosts claim one subnet, the older key wins and the other host takes another
 * subnet.
 * @param wanted claimed again where etcd lost them
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
      if (subnet === wanted) throw lostTo(subnet, holder);
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
        if (subnet === wanted) throw lostTo(subnet, old.holder);
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
    if (view.subnetHolder(subnet) === host) return subnet;
    lost.add(subnet);
    if (subnet === wanted) throw lostTo(subnet, view.subnetHolder(subnet) ?? 'somebody');
  }
  throw exhausted(network);
}

/**
 * Claims by the key of the subnet, as hosts of the former version do. Both keys are claimed while such hosts
 * exist.
 * @returns the holder where that key belongs to another host, or cannot be read
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
    if (view.subnetHolder(subnet) === undefined && !lost.has(subnet)) return subnet;
  }
  throw exhausted(network);
}

/**
 * Removes everything that this host has in etcd, in one transaction: half of it would be a host that no other
 * host sends to. @throws OVERLAY_ETCD_UNREACHABLE
 */
export async function leaveNetwork({ client, keys, host, id }: Member): Promise<void> {
  const own = keys.own(host);
  for (;;) {
    const { pairs, revision } = await client.list(own.all);
    const idOf = ({ value }: { readonly value: Buffer }): unknown => (objectOf(value) ?? {})['id'];
    const subnets = pairs.filter(({ key }) => key.startsWith(own.subnets));
    // A host that has the name by now keeps its own keys.
    const isOurs = [...pairs.filter(({ key }) => key === own.record), ...subnets].every(
      (pair) => idOf(pair) === id,
    );
    const mine = isOurs ? [] : subnets.filter((pair) => idOf(pair) === id);
    const former = [];
    for (const subnet of [
      keys.host(host),
      ...subnets.flatMap(({ key }) => keys.subnet(keys.readOwn(key)?.name ?? '')),
    ]) {
      const existing = await client.get(subnet);
      if (existing !== undefined && idOf(existing) === id) former.push(existing);
    }
    const steps: Step[] = [
      ...(isOurs ? [{ deleteRange: { key: own.all, rangeEnd: endOf(own.all) } }] : []),
      ...[...mine, ...former].map(({ key }) => ({ deleteRange: { key } })),
    ];
    if (
      await client.transact(
        [
          unwrittenSince(own.all, revision),
          ...former.map(({ key, modRevision }) => unchanged(key, modRevision)),
        ],
        steps,
      )
    )
      return;
  }
}

/** @throws OVERLAY_HOST_NAME_TAKEN another host of this name is alive */
export async function requireName({ client, keys, host, id }: Member): Promise<void> {
  for (const key of [keys.own(host).record, keys.host(host)]) {
    const existing = await client.get(key);
    const other = existing === undefined ? undefined : readHost(existing.value);
    if (other !== undefined && other.id !== id) throw nameTaken(host, other.underlay);
  }
}

/**
 * Writes this host's record for the duration of the lease, and claims the identities in it.
 * @throws OVERLAY_HOST_NAME_TAKEN another host of this name is alive · OVERLAY_IDENTITY_TAKEN another host
 * has this one's address or key
 */
export async function register(member: Member, record: HostRecord, lease: number): Promise<void> {
  const { client, keys, host, id, view } = member;
  const own = keys.own(host);
  const wanted = new Set(identitiesOf(record).map((value) => own.identity(value)));
  for (;;) {
    const existing = await client.get(own.record);
    const other = existing === undefined ? undefined : readHost(existing.value);
    if (other !== undefined && other.id !== id) throw nameTaken(host, other.underlay);
    const claimed = new Set((await client.list(own.identities)).pairs.map(({ key }) => key));
    const { succeeded, revision } = await client.commit(
      [unchanged(own.record, existing?.modRevision ?? 0)],
      [
        { put: { key: own.record, value: encode(record), lease } },
        ...[...wanted].filter((key) => !claimed.has(key)).map((key) => ({ put: { key, value: encode({}) } })),
        ...[...claimed].filter((key) => !wanted.has(key)).map((key) => ({ deleteRange: { key } })),
      ],
    );
    if (!succeeded) continue;
    await view.reached(revision);
    const refusal = view.refusalOf(host);
    if (refusal !== undefined) throw identityTaken(host, refusal);
    return bringFormer(member, record, lease);
  }
}

/**
 * Writes this host's record where hosts of the former version look, while there are any. Removes it
 * afterwards.
 */
async function bringFormer(
  { client, keys, host, view }: Member,
  record: HostRecord,
  lease: number,
): Promise<void> {
  const key = keys.host(host);
  try {
    if (view.oldHosts().length > 0)
      await client.transact([], [{ put: { key, value: encode(record), lease } }]);
    else {
      const own = [];
      for (const name of [
        key,
        ...(await client.list(keys.own(host).subnets)).pairs.map((pair) =>
          keys.subnet(keys.readOwn(pair.key)?.name ?? ''),
        ),
      ]) {
        const existing = await client.get(name);
        if (existing !== undefined && (name === key || readClaim(existing.value)?.host === host))
          own.push(existing);
      }
      if (own.length > 0)
        await client.transact(
          own.map((each) => unchanged(each.key, each.modRevision)),
          own.map((each) => ({ deleteRange: { key: each.key } })),
        );
    }
  } catch (thrown) {
    // The role lets a host write only its own keys: no other host can have written there.
    if (!isPortcullisError(thrown) || thrown.code !== 'OVERLAY_ETCD_DENIED') throw thrown;
  }
}

/**
 * Returns whether the credentials of this host may write keys of other hosts. Probes with a transaction that
 * never applies, because no key has its revision.
 * @throws OVERLAY_ETCD_UNREACHABLE
 */
export async function mayWriteForOthers({ client, keys }: Pick<Member, 'client' | 'keys'>): Promise<boolean> {
  try {
    await client.transact(
      [{ result: 0, target: 1, key: keys.network, createRevision: Number.MAX_SAFE_INTEGER }],
      [{ put: { key: keys.own('(nobody)').record, value: encode({}) } }],
    );
    return true;
  } catch (thrown) {
    if (isPortcullisError(thrown) && thrown.code === 'OVERLAY_ETCD_DENIED') return false;
    throw thrown;
  }
}

function differing(key: string, ours: string, theirs: string): PortcullisError {
  return failure(
    'OVERLAY_SETTINGS_DIFFER',
    'precondition',
    'join the overlay',
    key,
    `etcd says ${theirs}, this host ${ours}`,
    'give all hosts the same networks, host prefixes and number, or this overlay another name',
  );
}

function lostTo(subnet: string, holder: string): PortcullisError {
  return failure(
    'OVERLAY_SUBNET_LOST',
    'precondition',
    'keep the subnet of this host',
    subnet,
    `etcd says that it is ${holder}'s: it was given back, or etcd was restored`,
    'remove the pods of this host, delete overlay.json in its folder below the root, and start it again: it takes another subnet',
  );
}

function exhausted({ prefix, hostLength }: OverlayNetwork): PortcullisError {
  return failure(
    'OVERLAY_SUBNETS_EXHAUSTED',
    'exhausted',
    'take a subnet for this host',
    `${prefixText(prefix)} in parts of /${hostLength}`,
    'every one of them is claimed',
    'give back those of hosts that are gone: `portcullis network overlay release HOST`',
  );
}

function identityTaken(host: string, why: string): PortcullisError {
  return failure(
    'OVERLAY_IDENTITY_TAKEN',
    'already-exists',
    'join the overlay',
    host,
    why,
    "see which host has it by `portcullis network overlay status`: give each host its own address and root folder (a copied disk has the other host's keys), or release a host that is gone",
  );
}

function nameTaken(host: string, underlay: string): PortcullisError {
  return failure(
    'OVERLAY_HOST_NAME_TAKEN',
    'already-exists',
    'join the overlay',
    host,
    `another host of that name is at ${underlay}, or this host was set up again and its former lease has not expired`,
    'give this host another `network.overlay.host`, or wait',
  );
}
