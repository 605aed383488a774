import {
  differs,
  equals,
  masked,
  masquerade,
  meta,
  payload,
  register,
  interfaceKey,
} from '../../base/netlink/index.ts';
import { parsePrefix } from '../../base/addresses/index.ts';
import type { IpFamily, IpPrefix } from '../../base/addresses/index.ts';
import { ensureTables, prefixMatches, removeTables, tableOf } from './tables.ts';

/**
 * Masquerading of a network that spans hosts. Pods of the network see each other's addresses; peers outside
 * see the host's address.
 */
export interface Masquerade {
  /** Name of the table, in both families. */
  readonly table: string;
  /** The subnets of all hosts are in these. */
  readonly ranges: readonly IpPrefix[];
  /** Subnets of this host. A virtual address of a service is in none of them. */
  readonly subnets: readonly string[];
  /**
   * A link by which other hosts are reached, if it carries only packets of the network. Packets that this
   * host sends by it from outside of the network, such as a connection to a service that came from outside,
   * get the host's address in its subnet, so that the answer comes back to this host.
   */
  readonly link?: string;
}

const chain = { name: 'postrouting', hook: { type: 'nat', number: 4, priority: 100 } } as const;
const families: readonly IpFamily[] = [4, 6];

/** 224.0.0.0/4, ff00::/8. */
const isNoMulticast = (family: IpFamily): Buffer[] => [
  payload('network', family === 4 ? 16 : 24, 1, register(0)),
  masked(register(0), Buffer.of(family === 4 ? 0xf0 : 0xff)),
  differs(register(0), Buffer.of(family === 4 ? 0xe0 : 0xff)),
];

function rulesOf(
  family: IpFamily,
  ranges: readonly IpPrefix[],
  own: readonly IpPrefix[],
  link: string | undefined,
): Buffer[][] {
  const byLink =
    link === undefined
      ? []
      : [
          [
            meta('oifname', register(0)),
            equals(register(0), interfaceKey(link)),
            ...(own.length === 0 ? ranges : own).flatMap((each) => prefixMatches('source', each, false)),
            masquerade(),
          ],
        ];
  const leaving = ranges.map((range) => [
    ...prefixMatches('source', range, true),
    ...ranges.flatMap((each) => prefixMatches('destination', each, false)),
    ...isNoMulticast(family),
    masquerade(),
  ]);
  return [...byLink, ...leaving];
}

/** Brings the tables to the rules of the network. @returns whether anything changed */
export const ensureMasquerade = ({ table, ranges, subnets, link }: Masquerade): boolean =>
  ensureTables(
    families.flatMap((family) => {
      const isOfFamily = ({ address }: IpPrefix): boolean => address.family === family;
      const within = ranges.filter(isOfFamily);
      if (within.length === 0) return [];
      const own = subnets.flatMap((text) => parsePrefix(text) ?? []).filter(isOfFamily);
      const rules = rulesOf(family, within, own, link);
      return {
        table: tableOf(family, table),
        chains: [chain],
        rules: rules.map((expressions) => ({ chain: chain.name, expressions })),
      };
    }),
  );

/** @returns whether there was a table */
export const removeMasquerade = (table: string): boolean => removeTables(table);
