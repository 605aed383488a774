import { parseJson } from '../../base/json/index.ts';
import type { VirtualServer } from './model.ts';

/**
 * Virtual servers as text. Thousands stand for days and are looked at when they change: as text they take a fifth of what objects take, and whoever
 * packs the same object, or what was unpacked, has the same string.
 */
export type PackedServer = string;

const known = new WeakMap<VirtualServer, PackedServer>();

/** The same for the same fields in the same order. */
export function packServer(server: VirtualServer): PackedServer {
  const before = known.get(server);
  if (before !== undefined) return before;
  const packed = JSON.stringify(server);
  known.set(server, packed);
  return packed;
}

/** @param packed by {@link packServer} */
export function unpackServer(packed: PackedServer): VirtualServer {
  const server = parseJson(packed) as VirtualServer;
  known.set(server, packed);
  return server;
}
