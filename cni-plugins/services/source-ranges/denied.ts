import { listElements, readElements } from '../../../base/netlink/index.ts';
import type { Table, NetlinkSocket } from '../../../base/netlink/index.ts';
import { deniedSet } from './rules.ts';

/** Returns how many packets were dropped for each restricted server, by its key as hexadecimal digits. */
export function readDenied(filter: NetlinkSocket, table: Table): ReadonlyMap<string, bigint> {
  const listed = filter.dump(listElements(table, deniedSet)).flatMap(readElements);
  return new Map(listed.map(({ key, packets }) => [Buffer.from(key).toString('hex'), packets]));
}
