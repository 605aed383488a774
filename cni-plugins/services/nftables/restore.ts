import { getTable, transact } from '../../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import type { VirtualServer } from '../model/model.ts';
import { keyOf } from '../model/model.ts';
import { isInsideKey } from '../model/planes.ts';
import type { PlaneServer } from '../model/planes.ts';
import { unpackServer } from '../model/serialized-server.ts';
import { insideChanges, insideElements } from '../source-ranges/inside-sources.ts';
import { standingOf } from './compact-server.ts';
import { forgetStale } from './connections.ts';
import {
  addressBytes,
  elementRequests,
  keyBytes,
  rangeElements,
  sharedElements,
  unread,
} from './elements.ts';
import { createElementMessages, encodedServer } from './encoded-server.ts';
import { createTable, makeMode } from './readout.ts';
import { tableOf } from './rules.ts';
import { families } from './seen-state.ts';
import type { Holdings } from './seen-state.ts';
import { putServers, countAddress, hold } from './table-content.ts';
import type { TableContent } from './table-content.ts';

/** A transaction of this many bytes takes the kernel some 10 ms, in which no other program changes rules. */
const bytesAtOnce = 512 * 1024;
/** Servers whose elements are not kept, in one transaction. */
const serversAtOnce = 250;

/**
 * Returns the servers that are held now, unpacked one at a time. What happens to the holdings later, also a
 * restoration that fails halfway, does not change them.
 */
export function serversIn(holdings: Holdings): Iterable<VirtualServer> {
  const all = families.flatMap((family) =>
    [...holdings[family].standing].flatMap(([key, { packed }]) => (isInsideKey(key) ? [] : [packed])),
  );
  return {
    *[Symbol.iterator]() {
      for (const packed of all) yield unpackServer(packed);
    },
  };
}

/** Returns whether the family's table is missing. */
export const isMissing = (filter: NetlinkSocket, { family }: Pick<TableContent, 'family'>): boolean =>
  filter.find(getTable(tableOf(family)), 'ENOENT') === undefined;

/**
 * Creates the missing table with everything that it held, from the elements that are kept: until then no
 * connection reaches a service.
 * @returns the number of servers, and one for the table
 * @throws NETWORK_KERNEL_…; the holding is useless then
 */
export function restore(filter: NetlinkSocket, holding: TableContent): number {
  const { family, modes, standing: existing } = holding;
  const servers = existing.size;
  const notRead = takeNotRead(holding);
  makeTable(filter, holding);
  const messages = createElementMessages(tableOf(family));
  const udp: VirtualServer[] = [];
  for (const [key, kept] of existing) {
    if (key.startsWith('udp ', 2) && !isInsideKey(key)) udp.push(unpackServer(kept.packed));
    const encoded = kept.encoded ?? encodedServer(standingOf(kept, modes));
    const kind = key.includes(' * ') ? 'nodes' : 'servers';
    messages.add(encoded, kind, modes.modeOf(kept.mode)?.size);
    if (messages.bytes() > bytesAtOnce) transact(filter, messages.take());
  }
  transact(filter, messages.take());
  // Last: until then, a client of a server that is not restored yet repeats its first packet. Otherwise it
  // would be refused.
  for (const address of holding.addresses.keys()) messages.addKey('addresses', addressBytes(address));
  transact(filter, messages.take());
  forgetStale(filter, family, udp, holding.own);
  for (let from = 0; from < notRead.length; from += serversAtOnce)
    putServers(filter, holding, notRead.slice(from, from + serversAtOnce));
  return servers + 1;
}

/** Takes the servers out whose slots were only in the kernel. They are new again. */
function takeNotRead(holding: TableContent): VirtualServer[] {
  const found: VirtualServer[] = [];
  const { standing: existing } = holding;
  for (const [key, kept] of existing) {
    if (kept.slots !== '' || kept.encoded !== undefined) continue;
    const { server, plan } = standingOf(kept, holding.modes);
    if (plan?.slots !== unread) continue;
    // The inside plane comes back with its server.
    const whole = server.plane === undefined ? server : existing.get(keyOf(server));
    if (whole !== undefined) found.push('packed' in whole ? unpackServer(whole.packed) : whole);
    holding.modes.release(kept.mode);
    countAddress(holding, server, -1);
    hold(holding, key, undefined);
  }
  return found;
}

/** Source ranges and the sources of inside are there before a server needs them. */
function makeTable(
  filter: NetlinkSocket,
  { family, modes, restricted, standing, insides, shared, own }: TableContent,
): void {
  const memories = [...shared].flatMap((key) => {
    const server: PlaneServer = unpackServer(standing.get(key)?.packed ?? '');
    return sharedElements({ server, key: keyBytes(server) });
  });
  const ranges = [...restricted].flatMap((key) => {
    const server = unpackServer(standing.get(key)?.packed ?? '');
    return rangeElements(server, keyBytes(server), own);
  });
  transact(filter, [
    ...createTable(family),
    ...modes.all().flatMap(([number, mode]) => makeMode(family, number, mode)),
    ...elementRequests(tableOf(family), [...ranges, ...memories]),
    ...insideChanges(tableOf(family), [], insideElements(insides.sources(), family)),
  ]);
}
