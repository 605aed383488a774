import { NETLINK_NETFILTER } from '../../base/kernel/index.ts';
import { equals, masked, masquerade, meta, payload, register, differs } from '../netlink/expressions.ts';
import { addChain, addRule, addTable, deleteTable, interfaceKey, listRules, transact } from '../netlink/nftables.ts';
import type { Table } from '../netlink/nftables.ts';
import { isRefusal } from '../netlink/kernel-failure.ts';
import { openNetlink } from '../netlink/socket.ts';
import type { Request } from '../netlink/socket.ts';
import { bitsOf, ipBytes } from '../spec/address.ts';
import type { IpFamily } from '../spec/address.ts';
import { linkName } from './links.ts';
import type { OverlayNetwork } from './settings.ts';

/**
 * Pods of the network see each other's addresses; whom they meet outside sees the host's. What this host sends to pods of others that is not of the network
 * itself, as a connection to a service that came from outside, gets the host's address in its subnet: the answer comes back here.
 */

const chain = { name: 'postrouting', hook: { type: 'nat', number: 4, priority: 100 } } as const;
const tableOf = (family: IpFamily): Table => ({ family: family === 4 ? 'ip' : 'ip6', name: 'portcullis-overlay' });

function prefixMatches(from: 'source' | 'destination', { prefix }: OverlayNetwork, isIn: boolean): Buffer[] {
  const { family } = prefix.address;
  const bits = bitsOf(family);
  const offset = { source: { 4: 12, 6: 8 }, destination: { 4: 16, 6: 24 } }[from][family];
  const mask = ipBytes({ family, value: ((1n << BigInt(prefix.length)) - 1n) << BigInt(bits - prefix.length) });
  return [
    payload('network', offset, bits / 8, register(0)),
    masked(register(0), mask),
    (isIn ? equals : differs)(register(0), ipBytes(prefix.address)),
  ];
}

/** 224.0.0.0/4, ff00::/8. */
const isNoMulticast = (family: IpFamily): Buffer[] => [
  payload('network', family === 4 ? 16 : 24, 1, register(0)),
  masked(register(0), Buffer.of(family === 4 ? 0xf0 : 0xff)),
  differs(register(0), Buffer.of(family === 4 ? 0xe0 : 0xff)),
];

function rulesOf(network: OverlayNetwork): Buffer[][] {
  const { family } = network.prefix.address;
  return [
    [meta('oifname', register(0)), equals(register(0), interfaceKey(linkName)), ...prefixMatches('source', network, false), masquerade()],
    [...prefixMatches('source', network, true), ...prefixMatches('destination', network, false), ...isNoMulticast(family), masquerade()],
  ];
}

/** Brings the tables to what the networks need. @returns whether they were not so */
export function ensureMasquerade(networks: readonly OverlayNetwork[]): boolean {
  const socket = openNetlink(NETLINK_NETFILTER);
  try {
    const missing = networks.filter((network) => {
      try {
        return socket.dump(listRules(tableOf(network.prefix.address.family))).length !== rulesOf(network).length;
      } catch (thrown) {
        if (isRefusal(thrown, 'ENOENT')) return true;
        throw thrown;
      }
    });
    transact(socket, missing.flatMap(rebuilt));
    return missing.length > 0;
  } finally {
    socket.close();
  }
}

function rebuilt(network: OverlayNetwork): Request[] {
  const table = tableOf(network.prefix.address.family);
  return [
    addTable(table),
    deleteTable(table),
    addTable(table),
    addChain(table, chain),
    ...rulesOf(network).map((expressions) => addRule(table, chain.name, expressions)),
  ];
}
