import { listElements, readElements } from '../../../base/netlink/index.ts';
import type { Element, Table, NetlinkSocket } from '../../../base/netlink/index.ts';
import { backendMilliseconds, backendsSet } from './rules.ts';

/**
 * Returns the backends that a table remembers, as elements for the table that replaces it. Their timeouts
 * start again.
 */
export function readBackends(filter: NetlinkSocket, table: Table): readonly Element[] {
  const listed = filter.dump(listElements(table, backendsSet)).flatMap(readElements);
  return listed.map(({ key }) => ({ key, milliseconds: backendMilliseconds }));
}
