import { PortcullisError } from '../../base/errors/index.ts';
import { formatIp, ipBytes } from '../../base/addresses/index.ts';
import type { IpAddress, IpFamily } from '../../base/addresses/index.ts';
import { hostIpOf, overlap } from '../spec/host-ports.ts';
import type { RangeSet } from '../spec/network-config.ts';
import type { PortMapping } from '../types.ts';
import type { NetworkDatabase } from './database.ts';
import { hostPortHolderText } from './host-port-holder.ts';
import type { HostPortHolder } from './host-port-holder.ts';
import { chooseAddress, rangeOf, successorOf } from './ipam.ts';
import type { Choice } from './ipam.ts';

/**
 * Addresses and host ports in the database, for pods of our runtime and for CNI plugins alike. Methods that
 * allocate something must be called inside a transaction.
 */
export interface Leases {
  /**
   * Chooses one address from each set. A set that contains a requested address yields that one.
   * @param taken addresses that a foreign store holds
   * @throws NETWORK_ADDRESSES_EXHAUSTED · NETWORK_ADDRESS_TAKEN · NETWORK_ADDRESS_OUT_OF_RANGE
   */
  choose(wanted: LeaseRequest): Choice[];
  /** Records the chosen addresses. */
  lease(request: LeaseRequest, choices: readonly Choice[], holder: Holder): void;
  /** @throws NETWORK_HOST_PORT_TAKEN */
  takeHostPorts(namespaceId: string, mappings: readonly PortMapping[], holder: Holder): void;
  /** Returns whether the holder leases the address. */
  holds(address: IpAddress, holder: Holder): boolean;
  /** Returns the addresses that the holder leases. */
  of(holder: Holder): IpAddress[];
  /**
   * Frees the ports of a detached pod. Unlike its addresses, they may be used again at once, because no rule
   * leads to the pod any more.
   */
  freeHostPorts(holder: Holder): void;
  free(holder: Holder): void;
}

export interface LeaseRequest {
  readonly namespaceId: string;
  /**
   * The scope in which addresses are unique: empty for networks that the host routes, otherwise the network's
   * name.
   */
  readonly scope: string;
  readonly network: string;
  readonly rangeSets: readonly RangeSet[];
  readonly wanted?: readonly IpAddress[];
  readonly taken?: ReadonlySet<string>;
}

export interface Holder {
  /** `attachment.number` */
  readonly attachment: number | bigint;
  /** Type of the plugin. Empty: the attachment itself. */
  readonly part: string;
}

/** 16 bytes in network order, IPv4 as ::ffff:a.b.c.d: a single key space that sorts like the numbers. */
const mappedPrefix = 0xffffn << 32n;
const keyOf = (family: IpFamily, value: bigint): Buffer =>
  ipBytes({ family: 6, value: family === 4 ? mappedPrefix | value : value });
function addressOf(key: Uint8Array): IpAddress {
  const numbers = new DataView(key.buffer, key.byteOffset, key.byteLength);
  if (numbers.getBigUint64(0) === 0n && numbers.getUint32(8) === 0xffff)
    return { family: 4, value: BigInt(numbers.getUint32(12)) };
  return { family: 6, value: (numbers.getBigUint64(0) << 64n) | numbers.getBigUint64(8) };
}

function prepareStatements(db: NetworkDatabase['db']) {
  return {
    leasedBetween: db.prepare(
      'SELECT address FROM lease WHERE realm = ? AND scope = ? AND address BETWEEN ? AND ? ORDER BY address',
    ),
    holderOf: db.prepare(
      `SELECT network, container_id FROM lease JOIN attachment ON number = attachment
     WHERE lease.realm = ? AND scope = ? AND address = ?`,
    ),
    isLeased: db.prepare('SELECT 1 FROM lease WHERE realm = ? AND scope = ? AND address = ?'),
    insertLease: db.prepare(
      'INSERT INTO lease (realm, scope, address, attachment, part) VALUES (?, ?, ?, ?, ?)',
    ),
    selectLast: db.prepare(
      'SELECT address FROM last_lease WHERE realm = ? AND network = ? AND range_set = ?',
    ),
    upsertLast: db.prepare(
      `INSERT INTO last_lease (realm, network, range_set, address) VALUES (?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET address = excluded.address`,
    ),
    portHolders: db.prepare(
      `SELECT container_id, spec, origin, host_ip AS hostIp FROM host_port JOIN attachment ON number = attachment
     WHERE host_port.realm = ?1 AND protocol = ?2 AND port = ?3
       AND (host_port.attachment <> ?4 OR part <> ?5)`,
    ),
    nodePortService: db.prepare(
      'SELECT service FROM service_node_port WHERE port = ? AND protocol = ? AND realm = ? LIMIT 1',
    ),
    insertPort: db.prepare(
      `INSERT INTO host_port (realm, protocol, port, host_ip, attachment, part) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT DO NOTHING`,
    ),
    deletePorts: db.prepare('DELETE FROM host_port WHERE attachment = ? AND part = ?'),
    deleteLeases: db.prepare('DELETE FROM lease WHERE attachment = ? AND part = ?'),
    selectHeld: db.prepare('SELECT address FROM lease WHERE attachment = ? AND part = ? ORDER BY address'),
  };
}

export function createLeases({ db }: NetworkDatabase): Leases {
  const {
    leasedBetween,
    holderOf,
    isLeased,
    insertLease,
    selectLast,
    upsertLast,
    portHolders,
    nodePortService,
    insertPort,
    deletePorts,
    deleteLeases,
    selectHeld,
  } = prepareStatements(db);

  const of = ({ attachment, part }: Holder): IpAddress[] =>
    (selectHeld.all(attachment, part) as unknown as { address: Uint8Array }[]).map(({ address }) =>
      addressOf(address),
    );

  const isHeld = (namespaceId: string, scope: string, { family, value }: IpAddress): boolean =>
    isLeased.get(namespaceId, scope, keyOf(family, value)) !== undefined;

  const chooseFrom = (
    request: LeaseRequest,
    set: RangeSet,
    index: number,
    wanted: IpAddress | undefined,
  ): Choice => {
    const { namespaceId, scope, network, taken } = request;
    if (wanted !== undefined) {
      const range = rangeOf(set, wanted);
      if (range === undefined) throw outOfRange(network, wanted, true);
      const holder = holderOf.get(namespaceId, scope, keyOf(wanted.family, wanted.value)) as
        | { container_id: string }
        | undefined;
      if (holder !== undefined || taken?.has(formatIp(wanted)) === true)
        throw addressTaken(network, wanted, holder?.container_id);
      return { address: wanted, range };
    }
    const lastKey = (selectLast.get(namespaceId, network, index) as { address: Uint8Array } | undefined)
      ?.address;
    const last = lastKey === undefined ? undefined : addressOf(lastKey).value;
    const isTaken =
      taken === undefined || taken.size === 0
        ? undefined
        : (address: IpAddress): boolean => taken.has(formatIp(address));
    const next = last === undefined ? undefined : successorOf(set, last);
    if (next !== undefined && isTaken?.(next.address) !== true && !isHeld(namespaceId, scope, next.address))
      return next;
    const leased = function* (low: bigint, high: bigint): Generator<bigint> {
      const family = set[0]?.start.family ?? 4;
      for (const row of leasedBetween.iterate(namespaceId, scope, keyOf(family, low), keyOf(family, high)))
        yield addressOf((row as { address: Uint8Array }).address).value;
    };
    const choice = chooseAddress(set, last, leased, isTaken);
    if (choice === undefined) throw exhausted(network, set);
    return choice;
  };

  return {
    choose(request) {
      const wanted = [...(request.wanted ?? [])];
      const choices = request.rangeSets.map((set, index) => {
        const at = wanted.findIndex((address) => inSet(set, address));
        return chooseFrom(request, set, index, at === -1 ? undefined : wanted.splice(at, 1)[0]);
      });
      if (wanted[0] !== undefined) throw outOfRange(request.network, wanted[0], false);
      return choices;
    },
    lease({ namespaceId, scope, network }, choices, { attachment, part }) {
      choices.forEach(({ address }, index) => {
        const key = keyOf(address.family, address.value);
        insertLease.run(namespaceId, scope, key, attachment, part);
        upsertLast.run(namespaceId, network, index, key);
      });
    },
    takeHostPorts(namespaceId, mappings, { attachment, part }) {
      for (const mapping of mappings) {
        const hostIp = hostIpOf(mapping);
        const { protocol, hostPort } = mapping;
        // One holder may have a port at every address and at some: the rules of the exact address come first.
        const holders = portHolders.all(namespaceId, protocol, hostPort, attachment, part);
        const holder = (holders as unknown as (HostPortHolder & { readonly hostIp: string })[]).find((held) =>
          overlap(held.hostIp, hostIp),
        );
        if (holder !== undefined)
          throw portTaken(
            mapping,
            holder.container_id,
            `${hostPortHolderText(holder)} holds it`,
            'remove that pod or choose another host port',
          );
        const service = nodePortService.get(mapping.hostPort, mapping.protocol, namespaceId)?.['service'];
        if (typeof service === 'string')
          throw portTaken(
            mapping,
            service,
            `the service ${service} uses it as a node port`,
            'give one of the two another port',
          );
        insertPort.run(namespaceId, mapping.protocol, mapping.hostPort, hostIp, attachment, part);
      }
    },
    of,
    holds: (address, holder) =>
      of(holder).some((held) => held.family === address.family && held.value === address.value),
    freeHostPorts: ({ attachment, part }) => void deletePorts.run(attachment, part),
    free({ attachment, part }) {
      deleteLeases.run(attachment, part);
      deletePorts.run(attachment, part);
    },
  };
}

/**
 * Returns whether one of the set's subnets contains the address. A requested address outside of all subnets
 * is refused.
 */
const inSet = (set: RangeSet, address: IpAddress): boolean =>
  set.some(
    ({ start, end }) =>
      start.family === address.family && start.value <= address.value && address.value <= end.value,
  );

function exhausted(network: string, set: RangeSet): PortcullisError {
  const ranges = set.map(({ start, end }) => `${formatIp(start)}-${formatIp(end)}`).join(', ');
  return new PortcullisError({
    code: 'NETWORK_ADDRESSES_EXHAUSTED',
    kind: 'exhausted',
    attempted: 'lease an address of the network',
    on: network,
    why: `every address of ${ranges} is leased`,
    fix: 'remove pods that are not needed, or give the network a larger range',
    details: { network, ranges },
  });
}

function addressTaken(network: string, address: IpAddress, holder: string | undefined): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_ADDRESS_TAKEN',
    kind: 'already-exists',
    attempted: `lease the address ${formatIp(address)} of the network`,
    on: network,
    why:
      holder === undefined
        ? 'a store of the host-local plugin has leased it'
        : `it is leased to container ${holder}`,
    fix: 'ask for another address, or for none',
    details: { address: formatIp(address) },
  });
}

/** @param isReserved whether the address is in a range, but never leased */
function outOfRange(network: string, address: IpAddress, isReserved: boolean): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_ADDRESS_OUT_OF_RANGE',
    kind: 'invalid',
    attempted: `lease the address ${formatIp(address)} of the network`,
    on: network,
    why: isReserved
      ? 'it is the gateway, or the first or last address of its subnet'
      : 'it is in no range of the network, or in a set of ranges that already gives another address',
    fix: isReserved
      ? 'ask for another address, or for none'
      : 'request at most one address of each set of ranges',
    details: { address: formatIp(address) },
  });
}

function portTaken(
  { hostPort, protocol }: PortMapping,
  holder: string,
  why: string,
  fix: string,
): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_HOST_PORT_TAKEN',
    kind: 'already-exists',
    attempted: 'take the host port',
    on: `${hostPort}/${protocol}`,
    why,
    fix,
    details: { port: hostPort, protocol, holder },
  });
}
