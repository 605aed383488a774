import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import type { ServerCounts, ServerKey } from '../model/model.ts';
import { unpackServer } from '../model/serialized-server.ts';
import { readDenied } from '../source-ranges/denied.ts';
import { keyBytes } from './elements.ts';
import type { TableContent } from './table-content.ts';
import { tableOf } from './rules.ts';

/**
 * Adds the dropped packets to these counts, also for restricted servers without a connection.
 * @param of absent: all
 */
export function withDenied(
  filter: NetlinkSocket,
  { family, restricted, standing: existing }: TableContent,
  counts: readonly ServerCounts[],
  of?: ReadonlySet<ServerKey>,
): readonly ServerCounts[] {
  const keys = [...restricted].filter((key) => of?.has(key) !== false);
  if (keys.length === 0) return counts;
  const denied = readDenied(filter, tableOf(family));
  const reported = new Map(counts.map((each) => [each.key, each]));
  for (const key of keys) {
    const kept = existing.get(key);
    if (kept === undefined) continue;
    const server = unpackServer(kept.packed);
    const idle = {
      key,
      destinations: server.destinations.map(({ address, port }) => ({ address, port, active: 0 })),
    };
    reported.set(key, {
      ...(reported.get(key) ?? idle),
      denied: denied.get(keyBytes(server).toString('hex')) ?? 0n,
    });
  }
  return [...reported.values()];
}
