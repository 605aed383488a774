import { differs, equals, masked, masquerade, meta, payload, register } from '../netlink/expressions.ts';
import { interfaceKey } from '../netlink/nftables.ts';
import { parsePrefix } from '../spec/address.ts';
import type { IpFamily, IpPrefix } from '../spec/address.ts';
import type { Own } from './entries.ts';
import type { OverlayNetwork } from './settings.ts';
import { ensureTables, prefixMatches, removeTables, tableOf } from './tables.ts';

/**
 * Pods of the network see each other's addresses; whom they meet outside sees the host's. What this host sends to pods of others that is not of the network
 * itself, as a connection to a service that came from outside, gets the host's address in its subnet: the answer comes back here.
 */

const name = 'portcullis-overlay';
const chain = { name: 'postrouting', hook: { type: 'nat', number: 4, priority: 100 } } as const;

/** 224.0.0.0/4, ff00::/8. */
const isNoMulticast = (family: IpFamily): Buffer[] => [
  payload('network', family === 4 ? 16 : 24, 1, register(0)),
  masked(register(0), Buffer.of(family === 4 ? 0xf0 : 0xff)),
  differs(register(0), Buffer.of(family === 4 ? 0xe0 : 0xff)),
];

/** @param own subnets of this host: a virtual address of a service is in none, and nobody answers it by the link */
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

/** Brings the tables to what the networks need. @param link by which others are reached @returns whether they were not so */
export const ensureMasquerade = ({ networks, subnets }: Pick<Own, 'networks' | 'subnets'>, link: string): boolean =>
  ensureTables(
    networks.map((network) => {
      const { family } = network.prefix.address;
      const own = subnets.flatMap((text) => parsePrefix(text) ?? []).filter(({ address }) => address.family === family);
      return {
        table: tableOf(family, name),
        chains: [chain],
        rules: rulesOf(network, own, link).map((expressions) => ({ chain: chain.name, expressions })),
      };
    }),
  );

/** @returns whether there was one */
export const removeMasquerade = (): boolean => removeTables(name);
