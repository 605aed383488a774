import {
  differs,
  equals,
  masked,
  masquerade,
  meta,
  payload,
  register,
  interfaceKey,
} from '../../../base/netlink/index.ts';
import { parsePrefix } from '../../../base/addresses/index.ts';
import type { IpFamily, IpPrefix } from '../../../base/addresses/index.ts';
import type { Own } from './entries.ts';
import type { OverlayNetwork } from '../records/settings.ts';
import { ensureTables, prefixMatches, removeTables, tableOf } from './tables.ts';

/**
 * Masquerading of the overlay. Pods of the network see each other's addresses; peers outside see the host's
 * address. Packets that this host sends to pods of other hosts from outside of the network, such as a
 * connection to a service that came from outside, get the host's address in its subnet, so that the answer
 * comes back to this host.
 */

const name = 'portcullis-overlay';
const chain = { name: 'postrouting', hook: { type: 'nat', number: 4, priority: 100 } } as const;

/** 224.0.0.0/4, ff00::/8. */
const isNoMulticast = (family: IpFamily): Buffer[] => [
  payload('network', family === 4 ? 16 : 24, 1, register(0)),
  masked(register(0), Buffer.of(family === 4 ? 0xf0 : 0xff)),
  differs(register(0), Buffer.of(family === 4 ? 0xe0 : 0xff)),
];

/**
 * @param own subnets of this host. A virtual address of a service is in none of them, and no host answers for
 * it on the link
 */
function rulesOf({ prefix }: OverlayNetwork, own: readonly IpPrefix[], link: string): Buffer[][] {
  return [
    [
      meta('oifname', register(0)),
      equals(register(0), interfaceKey(link)),
      ...(own.length === 0 ? [prefix] : own).flatMap((each) => prefixMatches('source', each, false)),
      masquerade(),
    ],
    [
      ...prefixMatches('source', prefix, true),
      ...prefixMatches('destination', prefix, false),
      ...isNoMulticast(prefix.address.family),
      masquerade(),
    ],
  ];
}

/**
 * Brings the tables to the rules of the networks. @param link by which other hosts are reached @returns
 * whether anything changed
 */
export const ensureMasquerade = (
  { networks, subnets }: Pick<Own, 'networks' | 'subnets'>,
  link: string,
): boolean =>
  ensureTables(
    networks.map((network) => {
      const { family } = network.prefix.address;
      const own = subnets
        .flatMap((text) => parsePrefix(text) ?? [])
        .filter(({ address }) => address.family === family);
      return {
        table: tableOf(family, name),
        chains: [chain],
        rules: rulesOf(network, own, link).map((expressions) => ({ chain: chain.name, expressions })),
      };
    }),
  );

/** @returns whether there was a table */
export const removeMasquerade = (): boolean => removeTables(name);
