import { slotMap } from '../../../cni-plugins/services/nftables/rules.ts';
import type { Service, ServicePort } from '../../../cni-plugins/services/model/model.ts';
import type { Declared } from './declared.ts';
import type { Element, NfTables, Table } from './nf-tables.ts';

/**
 * The required contents of the kernel for the declared services, specified independently of the product's own
 * plans: an element for each address and port that leads to its own chain, and slots that lead to the
 * backends by their weights.
 */

const protocolNumbers = { tcp: 6, udp: 17, sctp: 132 } as const;
const families = [4, 6] as const;
type Family = (typeof families)[number];

const isOf = (family: Family, address: string): boolean => address.includes(':') === (family === 6);

function addressHex(address: string): string {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number)).toString('hex');
  const [before = '', after = ''] = address.split('::');
  const words = (text: string): string[] =>
    text === '' ? [] : text.split(':').map((word) => word.padStart(4, '0'));
  const [head, tail] = [words(before), words(after)];
  return [...head, ...Array<string>(8 - head.length - tail.length).fill('0000'), ...tail].join('');
}

const numberHex = (value: number, bytes: number): string => value.toString(16).padStart(2 * bytes, '0');
/** Each part of a key has four bytes, or a multiple of them. */
const protocolHex = (protocol: ServicePort['protocol']): string =>
  `${numberHex(protocolNumbers[protocol], 1)}000000`;
const portHex = (port: number): string => `${numberHex(port, 2)}0000`;

interface Expected {
  readonly set: 'servers' | 'nodes';
  readonly service: Service;
  /** Slots by their target, as `10.0.0.1 8080` in hexadecimal digits: the weight of each. */
  readonly weights: ReadonlyMap<string, number>;
}

/** Returns the expected servers by the key with which their slots begin. */
function expectedOf(declared: Iterable<Declared>, family: Family): Map<string, Expected> {
  const expected = new Map<string, Expected>();
  for (const { service, drained } of declared)
    for (const port of service.ports) {
      const weights = new Map(
        service.backends
          .filter(
            ({ address, weight, draining }) =>
              isOf(family, address) && weight !== 0 && draining !== true && !drained.has(address),
          )
          .map(({ address, weight = 1 }) => [`${addressHex(address)}${portHex(port.targetPort)}`, weight]),
      );
      const own = service.addresses.filter((address) => isOf(family, address));
      for (const address of own)
        expected.set(`${addressHex(address)}${protocolHex(port.protocol)}${portHex(port.port)}`, {
          set: 'servers',
          service,
          weights,
        });
      const none = family === 4 ? '0'.repeat(8) : '0'.repeat(32);
      if (port.nodePort !== undefined && own.length > 0)
        expected.set(`${none}${protocolHex(port.protocol)}${portHex(port.nodePort)}`, {
          set: 'nodes',
          service,
          weights,
        });
    }
  return expected;
}

const slotHex = (slot: number): string => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(slot);
  return bytes.toString('hex');
};

/** Returns the problem in the slots of one server; undefined: none. */
function wrongSlots(
  table: Table,
  key: string,
  chain: string,
  { service, weights }: Expected,
): string | undefined {
  const size = /^pick_(?:address|node)_(\d+)_/.exec(chain)?.[1];
  if (size === undefined) return `it leads to ${chain}`;
  const rules = table.chains.get(chain)?.rules.length ?? 0;
  if (rules === 0) return `${chain} has no rule`;
  const slots = table.sets.get(slotMap(Number(size))) ?? new Map<string, Element>();
  // A table of consistent hashing has a prime number of slots.
  const count = service.scheduler === 'maglev' ? 251 : Number(size);
  const found = new Map<string, number>();
  for (let slot = 0; slot < count; slot += 1) {
    const to = slots.get(`${key}${slotHex(slot)}`)?.value?.toString('hex');
    if (to === undefined) return `slot ${slot} of ${count} is empty`;
    found.set(to, (found.get(to) ?? 0) + 1);
  }
  for (const to of found.keys())
    if (!weights.has(to)) return `a slot leads to ${to}, which takes no connections`;
  const total = [...weights.values()].reduce((sum, weight) => sum + weight, 0);
  for (const [to, weight] of weights) {
    const share = found.get(to) ?? 0;
    if (share === 0) return `no slot leads to ${to}`;
    const due = service.scheduler === 'rr' ? count / weights.size : (count * weight) / total;
    const isExact = service.scheduler === 'rr' || service.scheduler === 'wrr';
    if (isExact && Math.abs(share - due) > 1)
      return `${to} has ${share} of ${count} slots, and ${due} are its due`;
  }
  return undefined;
}

function wrongIn(
  table: Table | undefined,
  family: Family,
  declared: readonly Declared[],
  { mayEnd, mayHaveSlots }: Allowed,
): string[] {
  const expected = expectedOf(declared, family);
  // A family without services needs no table.
  if (table === undefined) return expected.size === 0 ? [] : [`IPv${family} has no table`];
  const wrong: string[] = [];
  const setOf = (name: string): ReadonlyMap<string, Element> => table.sets.get(name) ?? new Map();
  const chainOf = (mode: string): string => {
    const verdict = setOf('modes').get(mode)?.verdict;
    return typeof verdict === 'object' && 'goto' in verdict ? verdict.goto : 'no chain';
  };
  const leads = new Map<string, Set<string>>([
    ['servers', new Set(setOf('servers').keys())],
    ['nodes', new Set(setOf('nodes').keys())],
  ]);
  const slotsLeft = new Set(['16', '64', '256'].flatMap((size) => [...setOf(`slots${size}`).keys()]));
  for (const [key, one] of expected) {
    const lead = one.set === 'nodes' ? key.slice(-16) : key;
    leads.get(one.set)?.delete(lead);
    const mode = setOf(one.set).get(lead)?.value?.toString('hex');
    const chain = mode === undefined ? undefined : chainOf(mode);
    const name = `IPv${family}: ${one.service.name} at ${key}`;
    if (chain === undefined) wrong.push(`${name} is not there`);
    else if (one.weights.size > 0) {
      const why = wrongSlots(table, key, chain, one);
      if (why !== undefined) wrong.push(`${name}: ${why}`);
      for (const slot of slotsLeft) if (slot.startsWith(key)) slotsLeft.delete(slot);
    } else if (chain !== 'refuse') wrong.push(`${name} has no backend, and leads to ${chain}`);
  }
  const ending = new Set<string>();
  for (const [set, keys] of leads)
    for (const key of keys) {
      const chain = chainOf(setOf(set).get(key)?.value?.toString('hex') ?? '');
      if (mayEnd && chain === 'refuse') ending.add(key.slice(0, -16));
      else wrong.push(`IPv${family}: ${key} is left in ${set}, and leads to ${chain}`);
    }
  if (slotsLeft.size > 0 && !mayHaveSlots)
    wrong.push(`IPv${family}: ${slotsLeft.size} slots that belong to no service are left`);
  const addresses = new Set(
    declared.flatMap(({ service }) => service.addresses.filter((one) => isOf(family, one)).map(addressHex)),
  );
  const refused = setOf('addresses');
  for (const address of addresses)
    if (!refused.has(address)) wrong.push(`IPv${family}: other ports are not refused at ${address}`);
  for (const address of refused.keys())
    if (!addresses.has(address) && !ending.has(address))
      wrong.push(`IPv${family}: all ports are refused at ${address}`);
  return wrong;
}

export interface Allowed {
  /** Removed services may still exist for their connections, and accept no new ones. */
  readonly mayEnd: boolean;
  /**
   * Another program removed a server and left its slots: they do no harm, and the product does not look for
   * them.
   */
  readonly mayHaveSlots: boolean;
}

/**
 * Returns the objects of the kernel that no source declared, or that differ from a declaration; empty: no
 * problem.
 */
export function wrongServices(kernel: NfTables, declared: readonly Declared[], allowed: Allowed): string[] {
  return families.flatMap((family) =>
    wrongIn(kernel.tables.get(`${family === 4 ? 2 : 10} portcullis_services`), family, declared, allowed),
  );
}
