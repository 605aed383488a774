import type { LoadedNetwork } from '../spec/conf-folder.ts';
import type { RangeSet } from '../spec/network-config.ts';
import type { NetworkFigures } from '../types.ts';
import type { NetworkDatabase } from './database.ts';

/** Link counts, which are not in the database. */
export type LinkCounts = Pick<NetworkFigures, 'repairs' | 'linksLost' | 'linksAltered'>;

/** Counts the records of a host network namespace in the database. */
export function figuresOf(
  { db }: NetworkDatabase,
  namespaceId: string,
  networks: readonly LoadedNetwork[],
  counts: LinkCounts,
): Omit<NetworkFigures, 'policies'> {
  // Records of further plugins for a pod of our own are not additional attachments.
  const attachments = db
    .prepare(
      `SELECT network, state, count(DISTINCT container_id || '/' || interface) AS count FROM attachment WHERE realm = ?
       GROUP BY network, state ORDER BY network, state`,
    )
    .all(namespaceId) as unknown as NetworkFigures['attachments'];
  const used = db
    .prepare(
      'SELECT network, count(*) AS used FROM lease JOIN attachment ON number = attachment WHERE lease.realm = ? GROUP BY network',
    )
    .all(namespaceId) as unknown as readonly { readonly network: string; readonly used: number }[];
  const own = networks.flatMap(({ name, network }) =>
    network === undefined ? [] : [{ network: name, size: leaseCount(network.rangeSets) }],
  );
  const names = [...new Set([...own, ...used].map(({ network }) => network))];
  return {
    attachments: attachments.map((row) => ({ ...row })),
    leases: names.map((network) => {
      const size = own.find((each) => each.network === network)?.size;
      return {
        network,
        used: used.find((each) => each.network === network)?.used ?? 0,
        ...(size !== undefined && { size }),
      };
    }),
    ...counts,
  };
}

/** Returns how many addresses can be leased. */
export function leaseCount(rangeSets: readonly RangeSet[]): number {
  const gatewayIn = ({ start, end, gateway }: RangeSet[number]): bigint =>
    gateway.value >= start.value && gateway.value <= end.value ? 1n : 0n;
  return Number(
    rangeSets
      .flat()
      .reduce((sum, range) => sum + range.end.value - range.start.value + 1n - gatewayIn(range), 0n),
  );
}
