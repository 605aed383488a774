import { concatenated } from '../../../base/netlink/index.ts';
import type { Element } from '../../../base/netlink/index.ts';
import { ipBytes, networkOf } from '../../../base/addresses/index.ts';
import type { VirtualServer } from '../model/model.ts';
import { sourcesOf } from './ranges.ts';
import { bitOf, deniedSet, lengthKey, rangesSet, restrictedMap } from './rules.ts';

/**
 * Returns the elements of a restricted virtual server for the sets of rules.ts. An unrestricted server has
 * none. Pure.
 * @param key the server's key: address, protocol and port, each padded
 * @param own the host's address of the server's family
 */
export function rangeElementsOf(
  server: VirtualServer,
  key: Buffer,
  own: Uint8Array | undefined,
): readonly (readonly [set: string, element: Element & { readonly value?: Buffer }])[] {
  if (server.sourceRanges === undefined) return [];
  const sources = sourcesOf(server, own);
  const bits = Buffer.alloc(4);
  bits.writeUInt32LE(sources.reduce((all, { length }) => all | bitOf(server.family, length), 0) >>> 0);
  return [
    // The ranges come first: without them no client may connect.
    ...sources.map(
      (prefix) =>
        [
          rangesSet,
          { key: concatenated(key, lengthKey(prefix.length), ipBytes(networkOf(prefix))) },
        ] as const,
    ),
    [deniedSet, { key }],
    [restrictedMap, { key, value: bits }],
  ];
}
