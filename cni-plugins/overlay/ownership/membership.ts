import { failure, isPortcullisError } from '../../../base/errors/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';
import type { EtcdClient } from '../etcd/client.ts';
import { endOf } from '../etcd/messages.ts';
import type { Comparison, Step } from '../etcd/messages.ts';
import type { Ownership } from './ownership.ts';
import { encode, identitiesOf, objectOf, readClaim, readHost, readShared } from '../records/records.ts';
import type { HostRecord, Keys, SharedSettings } from '../records/records.ts';

/**
 * Writes this host's own keys into etcd, and no other keys. Each act is one transaction. It succeeds if its
 * change was already made, because the answer may have been lost.
 */

export interface Member {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly host: string;
  readonly id: string;
  /** The claims of all hosts, as this host has seen them. */
  readonly view: Ownership;
}
export const mostTries = 50;

export const unchanged = (key: string, modRevision: number): Comparison => ({
  result: 0,
  target: 2,
  key,
  modRevision,
});
/** True if nothing below the prefix was written after the revision. */
export const unwrittenSince = (prefix: string, revision: number): Comparison => ({
  result: 2,
  target: 2,
  key: prefix,
  rangeEnd: endOf(prefix),
  modRevision: revision + 1,
});

/**
 * Requires that all hosts have the same settings. The network's settings are written by an administrator, or
 * by the first host with permission to write them.
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
 * Removes all keys of this host from etcd, in one transaction: if only some were removed, other hosts could
 * not send to this host. @throws OVERLAY_ETCD_UNREACHABLE
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
 * Writes this host's record also to the key that hosts of the former version read, while there are such
 * hosts. Removes it afterwards.
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
    `etcd has ${theirs}, and this host has ${ours}`,
    'give all hosts the same networks, host prefixes and number, or give this overlay another name',
  );
}

function identityTaken(host: string, why: string): PortcullisError {
  return failure(
    'OVERLAY_IDENTITY_TAKEN',
    'already-exists',
    'join the overlay',
    host,
    why,
    "find the host that has it with `portcullis network overlay status`: give each host its own address and root folder (a copied disk has the other host's keys), or release a host that is gone",
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
