import { deleteChain, deleteElements, flushChain, transact } from '../../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import { chainsOf, modeMap, tableOf } from './rules.ts';
import type { TableContent } from './table-content.ts';

/** Drops chains that no server's connections use any more. */
export function dropUnusedModes(
  filter: NetlinkSocket,
  { family, modes }: Pick<TableContent, 'family' | 'modes'>,
): boolean {
  const table = tableOf(family);
  const unused = modes.takeUnused();
  transact(
    filter,
    unused.flatMap(([number, mode]) => {
      const key = Buffer.alloc(4);
      key.writeUInt32LE(number);
      return [
        ...deleteElements(table, modeMap(mode), [{ key }]),
        ...chainsOf(mode).map((chain) => flushChain(table, chain)),
        ...chainsOf(mode).map((chain) => deleteChain(table, chain)),
      ];
    }),
  );
  return unused.length > 0;
}
