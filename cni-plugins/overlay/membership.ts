import { createHash } from 'node:crypto';
import { PortcullisError } from '../../base/errors/index.ts';
import type { IpFamily } from '../spec/address.ts';
import type { EtcdClient } from './etcd/client.ts';
import { encode, readClaim, readHost } from './records.ts';
import type { HostRecord, Keys, SharedSettings } from './records.ts';
import { familyOf, prefixText, subnetAt, subnetCount } from './settings.ts';
import type { OverlayNetwork } from './settings.ts';

/** What this host writes into etcd. Each act is one transaction, and one that finds itself done is success. */

export interface Member {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly host: string;
  readonly id: string;
}

const attempts = 1000;

/** The first host says what the network is; the others must say the same. @throws OVERLAY_SETTINGS_DIFFER · OVERLAY_ETCD_UNREACHABLE */
export async function agreeOnNetwork({ client, keys }: Member, shared: SharedSettings): Promise<void> {
  const value = encode(shared);
  if (await client.transact([{ result: 0, target: 1, key: keys.network, createRevision: 0 }], [{ put: { key: keys.network, value } }]))
    return;
  const standing = (await client.get(keys.network))?.value;
  if (standing === undefined || !standing.equals(value)) throw differing(keys.network, value.toString(), standing?.toString() ?? '');
}

/**
 * A subnet of each network that no other host has. Those that this host has are kept; the search begins at a place of the host's own, so that hosts that
 * come at once seldom meet.
 * @param wanted claimed again where etcd forgot about them
 * @throws OVERLAY_SUBNETS_EXHAUSTED · OVERLAY_SUBNET_LOST a wanted one is another host's by now
 */
export async function claimSubnets(member: Member, networks: readonly OverlayNetwork[], wanted: readonly string[]): Promise<string[]> {
  const { client, keys, host, id } = member;
  const folder = `${keys.all}subnets/`;
  const claims = new Map(
    (await client.list(folder)).pairs.flatMap(({ key, value, modRevision }) => {
      const read = keys.read(key);
      return read.kind === 'subnet' ? [[read.subnet, { claim: readClaim(value), modRevision }] as const] : [];
    }),
  );
  const claimed: string[] = [];
  for (const network of networks) {
    const family = network.prefix.address.family;
    claimed.push(wantedOf(wanted, family) ?? ownOf(claims, host, network) ?? (await claimFree(member, network, new Set(claims.keys()))));
  }
  for (const subnet of claimed) await confirm(subnet);
  return claimed;

  /** Ours by this id; taken over from an earlier life of this host, and written again where it is missing. */
  async function confirm(subnet: string): Promise<void> {
    const key = keys.subnet(subnet);
    for (;;) {
      const standing = await client.get(key);
      const claim = standing === undefined ? undefined : readClaim(standing.value);
      if (claim?.host === host && claim.id === id) return;
      if (standing !== undefined && claim?.host !== host) throw lost(subnet, claim?.host ?? 'somebody');
      const revision = standing?.modRevision ?? 0;
      if (await client.transact([{ result: 0, target: 2, key, modRevision: revision }], [{ put: { key, value: encode({ host, id }) } }]))
        return;
    }
  }
}

const wantedOf = (wanted: readonly string[], family: IpFamily): string | undefined => wanted.find((subnet) => familyOf(subnet) === family);

function ownOf(
  claims: ReadonlyMap<string, { readonly claim: { host: string } | undefined }>,
  host: string,
  network: OverlayNetwork,
): string | undefined {
  const suffix = `/${network.hostLength}`;
  return [...claims].find(
    ([subnet, { claim }]) => claim?.host === host && subnet.endsWith(suffix) && familyOf(subnet) === network.prefix.address.family,
  )?.[0];
}

async function claimFree({ client, keys, host, id }: Member, network: OverlayNetwork, taken: Set<string>): Promise<string> {
  const count = subnetCount(network);
  const start = createHash('sha256').update(host).digest().readUInt32BE(0) % count;
  let tried = 0;
  for (let at = 0; at < count && tried < attempts; at += 1) {
    const subnet = prefixText(subnetAt(network, (start + at) % count));
    if (taken.has(subnet)) continue;
    tried += 1;
    const key = keys.subnet(subnet);
    if (await client.transact([{ result: 0, target: 1, key, createRevision: 0 }], [{ put: { key, value: encode({ host, id }) } }]))
      return subnet;
  }
  throw exhausted(network);
}

/** Takes out what this host has in etcd, all of it in one act: half of it would be a host that nobody sends to. @throws OVERLAY_ETCD_UNREACHABLE */
export async function leaveNetwork({ client, keys, host, id }: Member, subnets: readonly string[]): Promise<void> {
  const keyNames = [keys.host(host), ...subnets.map((subnet) => keys.subnet(subnet))];
  for (;;) {
    const own: { readonly key: string; readonly modRevision: number }[] = [];
    for (const key of keyNames) {
      const standing = await client.get(key);
      const holder = standing && (key === keys.host(host) ? readHost(standing.value) : readClaim(standing.value));
      // Whoever has the name or the subnet by now keeps it.
      if (standing !== undefined && holder?.id === id) own.push({ key, modRevision: standing.modRevision });
    }
    const compare = own.map(({ key, modRevision }) => ({ result: 0, target: 2, key, modRevision }) as const);
    if (
      await client.transact(
        compare,
        own.map(({ key }) => ({ deleteRange: { key } })),
      )
    )
      return;
  }
}

/** @throws OVERLAY_HOST_NAME_TAKEN another host of this name is alive */
export async function requireName({ client, keys, host, id }: Member): Promise<void> {
  const standing = await client.get(keys.host(host));
  const other = standing === undefined ? undefined : readHost(standing.value);
  if (other !== undefined && other.id !== id) throw nameTaken(host, other.underlay);
}

/**
 * Says what this host is, for as long as the lease lasts.
 * @throws OVERLAY_HOST_NAME_TAKEN another host of this name is alive
 */
export async function register({ client, keys, host, id }: Member, record: HostRecord, lease: number): Promise<void> {
  const key = keys.host(host);
  for (;;) {
    const standing = await client.get(key);
    const other = standing === undefined ? undefined : readHost(standing.value);
    if (other !== undefined && other.id !== id) throw nameTaken(host, other.underlay);
    const compare = { result: 0, target: 2, key, modRevision: standing?.modRevision ?? 0 } as const;
    if (await client.transact([compare], [{ put: { key, value: encode(record), lease } }])) return;
  }
}

function failure(code: string, kind: PortcullisError['kind'], attempted: string, on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code, kind, attempted, on, why, fix });
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

function lost(subnet: string, holder: string): PortcullisError {
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

function nameTaken(host: string, underlay: string): PortcullisError {
  return failure(
    'OVERLAY_HOST_NAME_TAKEN',
    'already-exists',
    'join the overlay',
    host,
    `another host of that name is at ${underlay}; one that was set up anew waits until the lease of its former life has ended`,
    'give this host another `network.overlay.host`, or wait',
  );
}
