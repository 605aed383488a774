import {
  bitsOf,
  contains,
  formatIp,
  ipBytes,
  ipFromBytes,
  lastOf,
  networkOf,
  parseIp,
  parsePrefix,
} from '../../../base/addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../../base/addresses/index.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import { unusableIn } from '../../spec/unusable-ranges.ts';
import { poolFailure } from '../protocol/failures.ts';
import { gatewayAddress, netLabels } from '../protocol/protocol.ts';
import type {
  ReleaseAddressRequest,
  ReleasePoolRequest,
  RequestAddressReply,
  RequestAddressRequest,
  RequestPoolReply,
  RequestPoolRequest,
} from '../protocol/protocol.ts';

/**
 * The pools and addresses of the IPAM driver, in the database. A pool's id describes the pool completely. If
 * a pool was lost while the engine still knows it, the next request recreates it. Synchronous, for a Worker.
 */
export interface Pools {
  /**
   * @param inUse networks of the host's routes, which a pool of our choice must not overlap
   * @param held pools of networks that this driver made
   */
  requestPool(
    request: Required<RequestPoolRequest>,
    inUse: readonly IpPrefix[],
    held: readonly string[],
  ): RequestPoolReply;
  /** Succeeds if the pool is already gone. */
  releasePool(request: ReleasePoolRequest): void;
  requestAddress(request: Required<RequestAddressRequest>): RequestAddressReply;
  /** Succeeds if the address is already free. */
  releaseAddress(request: ReleaseAddressRequest): void;
}

interface Pool {
  readonly id: string;
  readonly pool: IpPrefix;
  /** The range from which addresses are chosen if none is requested. */
  readonly range: IpPrefix;
}

/**
 * The ranges from which we choose pools: a /24 within RFC 1918 that docker does not choose, and a /64 of
 * unique local addresses (RFC 4193).
 */
const choices = {
  4: { from: '10.212.0.0/14', length: 24 },
  6: { from: 'fd70:6f72:7463::/48', length: 64 },
} as const;

const text = ({ address, length }: IpPrefix): string => `${formatIp(address)}/${length}`;
const overlaps = (a: IpPrefix, b: IpPrefix): boolean =>
  contains(a, networkOf(b)) || contains(b, networkOf(a));
const idOf = (space: string, pool: string, range: string): string =>
  [space, pool, ...(range === pool ? [] : [range])].join('|');

/** Returns undefined if the id is not one of ours. */
function poolOf(id: string): Pool | undefined {
  const [, poolText = '', rangeText = poolText, ...more] = id.split('|');
  const [pool, range] = [parsePrefix(poolText), parsePrefix(rangeText)];
  return pool === undefined ||
    range === undefined ||
    more.length > 0 ||
    !contains(pool, range.address) ||
    range.length < pool.length
    ? undefined
    : { id, pool, range };
}

/** @returns the pool @throws PortcullisError if no container could be reached through its addresses */
function usable(pool: IpPrefix | undefined): IpPrefix | undefined {
  const kind = pool === undefined ? undefined : unusableIn(pool);
  if (pool === undefined || kind === undefined) return pool;
  throw poolFailure(
    'invalid',
    'use the pool',
    text(pool),
    `addresses of it are ${kind}: no container could be reached through them`,
    'give another --subnet',
  );
}

/** Returns the first block of our own ranges that overlaps none of these. */
function choosePool(family: 4 | 6, taken: readonly IpPrefix[]): IpPrefix {
  const { from, length } = choices[family];
  const whole = parsePrefix(from);
  if (whole === undefined) throw new Error(`${from} is no prefix`);
  const step = 1n << BigInt(bitsOf(family) - length);
  for (let value = whole.address.value; value <= lastOf(whole).value; value += step) {
    const candidate = { address: { family, value }, length };
    if (!taken.some((other) => overlaps(other, candidate))) return candidate;
  }
  throw poolFailure(
    'exhausted',
    'choose a pool',
    from,
    'all of its blocks are in use',
    'give a pool with --subnet',
  );
}

/**
 * Returns the first and the last address that a container can have. The first address is the network's own
 * (IPv6: the subnet-router anycast address); the last one of IPv4 is the broadcast address. Links with two
 * addresses have neither.
 */
function usableOf(pool: IpPrefix): readonly [first: bigint, last: bigint] {
  const { family } = pool.address;
  const [low, high] = [networkOf(pool).value, lastOf(pool).value];
  return bitsOf(family) - pool.length <= 1 ? [low, high] : [low + 1n, family === 4 ? high - 1n : high];
}

/**
 * Returns the first address that is not leased.
 * @param leasedFrom returns the leased addresses of the pool from an address on, in order
 */
function firstFree(
  { pool, range }: Omit<Pool, 'id'>,
  gateway: boolean,
  leasedFrom: (low: IpAddress) => Iterable<IpAddress>,
): IpAddress {
  const { family } = pool.address;
  const [first, last] = usableOf(pool);
  const of = gateway ? pool : range;
  let next = networkOf(of).value < first ? first : networkOf(of).value;
  const end = lastOf(of).value > last ? last : lastOf(of).value;
  for (const { value } of leasedFrom({ family, value: next })) {
    if (value > next) break;
    next = value + 1n;
  }
  if (next > end)
    throw poolFailure(
      'exhausted',
      'lease an address of the pool',
      text(of),
      'every address is leased',
      'use a larger pool',
    );
  return { family, value: next };
}

export function createPools({ db, transaction }: NetworkDatabase): Pools {
  const selectPools = db.prepare('SELECT id FROM cnm_pool ORDER BY id');
  const insertPool = db.prepare(
    'INSERT INTO cnm_pool (id, pool, range) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
  );
  const deletePool = db.prepare('DELETE FROM cnm_pool WHERE id = ?');
  const countAddresses = db.prepare('SELECT count(*) AS count FROM cnm_address WHERE pool = ?');
  const selectTaken = db.prepare('SELECT 1 FROM cnm_address WHERE pool = ? AND address = ?');
  const selectAddresses = db.prepare(
    'SELECT address FROM cnm_address WHERE pool = ? AND address >= ? ORDER BY address',
  );
  const insertAddress = db.prepare('INSERT INTO cnm_address (pool, address) VALUES (?, ?)');
  const deleteAddress = db.prepare('DELETE FROM cnm_address WHERE pool = ? AND address = ?');

  function* leasedFrom(pool: string, low: IpAddress): Generator<IpAddress> {
    for (const row of selectAddresses.iterate(pool, ipBytes(low)))
      yield ipFromBytes(Buffer.from((row as { address: Uint8Array }).address));
  }
  const existing = (): Pool[] =>
    (selectPools.all() as { id: string }[]).flatMap(({ id }) => poolOf(id) ?? []);
  const put = ({ id, pool, range }: Pool): void => void insertPool.run(id, text(pool), text(range));
  const isEmpty = (id: string): boolean => (countAddresses.get(id) as { count: number }).count === 0;

  /** A pool that only the engine remembers is recorded again. */
  const require = (id: string): Pool => {
    const pool = poolOf(id);
    if (pool === undefined)
      throw poolFailure(
        'not-found',
        'find the pool',
        id.slice(0, 100),
        'this driver did not assign this id',
        'create the network again',
      );
    const known = existing();
    if (known.some((each) => each.id === id)) return pool;
    const other = known.find((each) => overlaps(each.pool, pool.pool));
    if (other !== undefined) throw taken(pool, other);
    put(pool);
    return pool;
  };

  return {
    requestPool: ({ AddressSpace, Pool: wanted, SubPool, V6 }, inUse, held) =>
      transaction(() => {
        const known = existing();
        const prefix = wanted === '' ? undefined : parsePrefix(wanted);
        const whole =
          prefix === undefined ? undefined : { address: networkOf(prefix), length: prefix.length };
        const pool = usable(whole) ?? choosePool(V6 ? 6 : 4, [...known.map((each) => each.pool), ...inUse]);
        const sub = parsePrefix(SubPool);
        if (sub !== undefined && (!contains(pool, sub.address) || sub.length < pool.length))
          throw poolFailure(
            'invalid',
            'use the pool',
            text(pool),
            `${SubPool} is not within the pool`,
            'correct --ip-range',
          );
        const range = sub === undefined ? pool : { address: networkOf(sub), length: sub.length };
        const made = {
          id: idOf(AddressSpace === '' ? 'portcullis' : AddressSpace, text(pool), text(range)),
          pool,
          range,
        };
        const other = known.find((each) => overlaps(each.pool, pool));
        // The pool was requested and never used: the engine crashed during the request, and asks again.
        if (other !== undefined && (!isEmpty(other.id) || held.includes(text(other.pool))))
          throw taken(made, other);
        if (other !== undefined) deletePool.run(other.id);
        put(made);
        return { PoolID: made.id, Pool: text(pool), Data: {} };
      }),
    releasePool: ({ PoolID }) => void deletePool.run(PoolID),
    requestAddress: ({ PoolID, Address, Options }) =>
      transaction(() => {
        const found = require(PoolID);
        const wanted = Address === '' ? undefined : parseIp(Address);
        if (wanted !== undefined && !contains(found.pool, wanted))
          throw poolFailure(
            'invalid',
            `lease the address ${Address} of the pool`,
            text(found.pool),
            'it is not in this pool',
            'ask for another one',
          );
        const [first, last] = usableOf(found.pool);
        if (wanted !== undefined && (wanted.value < first || wanted.value > last))
          throw poolFailure(
            'invalid',
            `lease the address ${Address} of the pool`,
            text(found.pool),
            `it is the ${wanted.value < first ? 'address of the network itself' : 'broadcast address'}`,
            'ask for another one',
          );
        const address =
          wanted ??
          firstFree(found, Options[netLabels.requestAddressType] === gatewayAddress, (low) =>
            leasedFrom(PoolID, low),
          );
        if (selectTaken.get(PoolID, ipBytes(address)) !== undefined)
          throw poolFailure(
            'already-exists',
            `lease the address ${Address} of the pool`,
            text(found.pool),
            'it is leased',
            'ask for another one',
          );
        insertAddress.run(PoolID, ipBytes(address));
        return { Address: `${formatIp(address)}/${found.pool.length}`, Data: {} };
      }),
    releaseAddress: ({ PoolID, Address }) =>
      transaction(() => {
        const address = parseIp(Address);
        if (address !== undefined) deleteAddress.run(PoolID, ipBytes(address));
      }),
  };
}

function taken({ pool }: Pool, other: Pool): Error {
  return poolFailure(
    'already-exists',
    'use the pool',
    text(pool),
    `it overlaps ${text(other.pool)}, which another network uses`,
    'give another --subnet, or remove that network',
  );
}
