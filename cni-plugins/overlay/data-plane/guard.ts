import { differs, meta, register, verdict, interfaceKey } from '../../../base/netlink/index.ts';
import { parsePrefix } from '../../../base/addresses/index.ts';
import type { Own } from './entries.ts';
import type { OverlayNetwork } from '../records/settings.ts';
import { ensureTables, prefixMatches, removeTables, tableOf } from '../../spanned-network/tables.ts';
import type { WantedTable } from '../../spanned-network/tables.ts';

/**
 * The guard that is in force where encryption is configured, whatever the routes are. A packet to a pod of
 * another host leaves by WireGuard or not at all. A packet with the source address of such a pod arrives by
 * WireGuard or is dropped. No other interface of the host may have addresses of the network.
 */

const name = 'portcullis-overlay-guard';
/** `coming` runs before connection tracking (NF_IP_PRI_RAW), `leaving` after the last translation. */
const coming = { name: 'coming', hook: { type: 'filter', number: 0, priority: -300 } } as const;
const leaving = { name: 'leaving', hook: { type: 'filter', number: 4, priority: 300 } } as const;

function guardOf({ prefix }: OverlayNetwork, subnets: readonly string[], link: string): WantedTable {
  const { family } = prefix.address;
  const own = subnets.flatMap((text) => {
    const subnet = parsePrefix(text);
    return subnet?.address.family === family ? [subnet] : [];
  });
  const rule = (
    chain: string,
    key: 'iifname' | 'oifname',
    end: 'source' | 'destination',
  ): WantedTable['rules'][number] => ({
    chain,
    expressions: [
      meta(key, register(0)),
      differs(register(0), interfaceKey(link)),
      ...prefixMatches(end, prefix, true),
      ...own.flatMap((subnet) => prefixMatches(end, subnet, false)),
      verdict('drop'),
    ],
  });
  return {
    table: tableOf(family, name),
    chains: [coming, leaving],
    rules: [rule(coming.name, 'iifname', 'source'), rule(leaving.name, 'oifname', 'destination')],
  };
}

/** Brings the guard to these networks and this link. @returns whether anything changed */
export const ensureGuard = (
  { networks, subnets }: Pick<Own, 'networks' | 'subnets'>,
  link: string,
): boolean => ensureTables(networks.map((network) => guardOf(network, subnets, link)));

/** @returns whether there was a guard */
export const removeGuard = (): boolean => removeTables(name);
