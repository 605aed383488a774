import { hash } from 'node:crypto';
import { bitsOf, ipBytes, parsePrefix } from '../../../base/addresses/index.ts';
import type { IpPrefix } from '../../../base/addresses/index.ts';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import {
  addChain,
  addRule,
  addTable,
  connection,
  deleteTable,
  destinationIsLocal,
  equals,
  getTable,
  isRefusal,
  listRules,
  masked,
  openNetlink,
  payload,
  readListedRule,
  readRuleComment,
  register,
  transact,
  verdict,
} from '../../../base/netlink/index.ts';
import type { NetlinkSocket, Request, Table } from '../../../base/netlink/index.ts';

/**
 * Drops new connections to cluster addresses that no service has, as kube-proxy does. Without it, the first
 * packet of a client that is quicker than the list of Services leaves the host with the cluster address, and
 * connection tracking sends each repetition after it: the client waits for minutes. A dropped packet leaves
 * no tracked connection, so its repetition is balanced. Acts in the network namespace of the calling thread.
 */
export interface UnservedAddresses {
  /**
   * Drops what goes to these prefixes and is not balanced.
   * @param prefixes canonical; empty: removes the rules
   * @throws NETWORK_KERNEL_<ERRNO>
   */
  set(prefixes: readonly string[]): void;
  /**
   * Writes the rules again if another program changed them, or if they could not be written.
   * @throws NETWORK_KERNEL_<ERRNO>
   */
  repair(): void;
  close(): void;
}

const families = [4, 6] as const;
const tableOf = (family: 4 | 6): Table => ({
  family: family === 4 ? 'ip' : 'ip6',
  name: 'portcullis_service_ranges',
});
/**
 * After every translation of addresses, in both balancers: only packets that no balancer translated are left.
 */
const afterTranslation = 5;
const chains = [
  { name: 'forward', hook: { type: 'filter', number: 2, priority: afterTranslation } },
  { name: 'output', hook: { type: 'filter', number: 3, priority: afterTranslation } },
] as const;
const unserved = 'unserved';

/** The bit of a new connection, as the kernel loads it: in the byte order of the host. */
const isNew = Buffer.of(1 << 3, 0, 0, 0);

function rulesOf(family: 4 | 6, prefixes: readonly IpPrefix[]): readonly (readonly Buffer[])[] {
  const [offset, width] = family === 4 ? [16, 4] : [24, 16];
  const r0 = register(0);
  return [
    [connection('state', undefined, r0), masked(r0, isNew), equals(r0, Buffer.alloc(4)), verdict('return')],
    // IPVS answers at addresses of the host.
    [...destinationIsLocal(r0), verdict('return')],
    ...prefixes.map((prefix) => [
      payload('network', offset, width, r0),
      masked(r0, maskOf(prefix)),
      equals(r0, Buffer.from(ipBytes(prefix.address))),
      verdict('drop'),
    ]),
  ];
}

function maskOf({ address, length }: IpPrefix): Buffer {
  const bits = BigInt(bitsOf(address.family));
  const mask = ((1n << BigInt(length)) - 1n) << (bits - BigInt(length));
  return Buffer.from(mask.toString(16).padStart(Number(bits) / 4, '0'), 'hex');
}

/**
 * Error codes of a kernel without nf_tables, or without nf_tables for a family. Such a kernel has no rules.
 */
const withoutTables = ['EOPNOTSUPP', 'EINVAL', 'EPERM', 'EAFNOSUPPORT', 'EPROTONOSUPPORT'] as const;

/** Whether rules of this module exist in the network namespace of the calling thread. */
export function hasUnservedRules(): boolean {
  let filter: NetlinkSocket | undefined;
  try {
    const socket = (filter = openNetlink(NETLINK_NETFILTER));
    return families.some((family) => hasTable(socket, family));
  } catch (thrown) {
    if (isPortcullisError(thrown)) return false;
    throw thrown;
  } finally {
    filter?.close();
  }
}

function hasTable(filter: NetlinkSocket, family: 4 | 6): boolean {
  return filter.find(getTable(tableOf(family)), 'ENOENT', ...withoutTables) !== undefined;
}

export function openUnservedAddresses(): UnservedAddresses {
  const filter = openNetlink(NETLINK_NETFILTER);
  /** Absent: not known yet. Rules of an earlier process stay until then. */
  let wanted: readonly string[] | undefined;
  let isWritten = false;

  const prefixesOf = (family: 4 | 6): IpPrefix[] =>
    (wanted ?? []).flatMap((text) => {
      const prefix = parsePrefix(text);
      return prefix?.address.family === family ? prefix : [];
    });
  /** The chains and comments of all rules. A rule that another program wrote has no such comment. */
  const rulesIn = (family: 4 | 6): string => {
    try {
      const listed = filter.dump(listRules(tableOf(family)));
      return listed
        .map((message) => `${readListedRule(message).chain} ${readRuleComment(message)}`)
        .toSorted()
        .join();
    } catch (thrown) {
      if (isRefusal(thrown, 'ENOENT')) return '';
      throw thrown;
    }
  };
  const write = (family: 4 | 6): void => {
    const prefixes = prefixesOf(family);
    if (prefixes.length === 0 && !hasTable(filter, family)) return;
    transact(filter, requestsFor(family, prefixes));
  };
  const writeBoth = (): void => {
    families.forEach(write);
    isWritten = true;
  };

  return {
    set(prefixes) {
      if (isWritten && prefixes.join() === wanted?.join()) return;
      isWritten = false;
      wanted = prefixes;
      writeBoth();
    },
    repair() {
      if (wanted === undefined) return;
      if (!isWritten) return writeBoth();
      for (const family of families) {
        const prefixes = prefixesOf(family);
        if (prefixes.length === 0) continue;
        const expected = commentedRules(family, prefixes).map(({ chain, comment }) => `${chain} ${comment}`);
        if (rulesIn(family) !== expected.toSorted().join()) write(family);
      }
    },
    close: () => filter.close(),
  };
}

/** Returns all rules, each with a digest of its content as its comment. */
const commentedRules = (
  family: 4 | 6,
  prefixes: readonly IpPrefix[],
): readonly { readonly chain: string; readonly expressions: readonly Buffer[]; readonly comment: string }[] =>
  [
    ...rulesOf(family, prefixes).map((expressions) => ({ chain: unserved, expressions })),
    ...chains.map(({ name }) => ({ chain: name, expressions: [verdict({ jump: unserved })] })),
  ].map((rule) => ({
    ...rule,
    comment: hash('sha256', Buffer.concat(rule.expressions), 'hex').slice(0, 16),
  }));

/** Replaces the table in one transaction. */
function requestsFor(family: 4 | 6, prefixes: readonly IpPrefix[]): Request[] {
  const table = tableOf(family);
  const away = [addTable(table), deleteTable(table)];
  if (prefixes.length === 0) return away;
  return [
    ...away,
    addTable(table),
    addChain(table, { name: unserved }),
    ...chains.map((chain) => addChain(table, chain)),
    ...commentedRules(family, prefixes).map(({ chain, expressions, comment }) =>
      addRule(table, chain, expressions, comment),
    ),
  ];
}
