import { createHash } from 'node:crypto';
import { NETLINK_NETFILTER } from '../../base/kernel/index.ts';
import {
  differs,
  equals,
  masked,
  payload,
  register,
  addChain,
  addRule,
  addTable,
  deleteTable,
  getTable,
  listRules,
  readRule,
  transact,
  openNetlink,
} from '../../base/netlink/index.ts';
import type { Chain, Table, NetlinkSocket } from '../../base/netlink/index.ts';
import { bitsOf, ipBytes } from '../../base/addresses/index.ts';
import type { IpFamily, IpPrefix } from '../../base/addresses/index.ts';

/** A table of nf_tables: its chains, and its rules with the chain that each belongs to. */
export interface WantedTable {
  readonly table: Table;
  readonly chains: readonly Chain[];
  readonly rules: readonly { readonly chain: string; readonly expressions: readonly Buffer[] }[];
}

export const tableOf = (family: IpFamily, name: string): Table => ({
  family: family === 4 ? 'ip' : 'ip6',
  name,
});

const offsets = { source: { 4: 12, 6: 8 }, destination: { 4: 16, 6: 24 } } as const;

/** Returns expressions that match whether an end of the packet is in the prefix, or is not. */
export function prefixMatches(
  end: keyof typeof offsets,
  { address, length }: IpPrefix,
  isIn: boolean,
): Buffer[] {
  const { family } = address;
  const bits = bitsOf(family);
  const mask = ipBytes({ family, value: ((1n << BigInt(length)) - 1n) << BigInt(bits - length) });
  return [
    payload('network', offsets[end][family], bits / 8, register(0)),
    masked(register(0), mask),
    (isIn ? equals : differs)(register(0), ipBytes(address)),
  ];
}

/**
 * Brings the tables to the wanted state. Each rule carries a digest of all rules, which reveals a changed
 * set. @returns whether any table differed
 */
export function ensureTables(wanted: readonly WantedTable[]): boolean {
  return withSocket((socket) => {
    const requests = wanted.flatMap(({ table, chains, rules }) => {
      const mark = createHash('sha256')
        .update(Buffer.concat(rules.flatMap(({ expressions }) => expressions)))
        .digest('hex');
      // A dump of a missing table is empty.
      const marks = socket.dump(listRules(table)).map((message) => readRule(message).comment);
      if (marks.length === rules.length && marks.every((each) => each === mark)) return [];
      return [
        addTable(table),
        deleteTable(table),
        addTable(table),
        ...chains.map((chain) => addChain(table, chain)),
        ...rules.map(({ chain, expressions }) => addRule(table, chain, expressions, mark)),
      ];
    });
    transact(socket, requests);
    return requests.length > 0;
  });
}

/** Removes the tables of both families. @returns whether there was one */
export function removeTables(name: string): boolean {
  return withSocket((socket) => {
    const existing = ([4, 6] as const)
      .map((family) => tableOf(family, name))
      .filter((table) => socket.find(getTable(table), 'ENOENT') !== undefined);
    transact(socket, existing.map(deleteTable));
    return existing.length > 0;
  });
}

function withSocket<T>(body: (socket: NetlinkSocket) => T): T {
  using socket = openNetlink(NETLINK_NETFILTER);
  return body(socket);
}
