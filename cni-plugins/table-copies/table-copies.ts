import { addTable, deleteTable } from '../../base/netlink/index.ts';
import type { Element, Request, Table } from '../../base/netlink/index.ts';

/**
 * Tables that are in force while other tables are replaced by one transaction. Pure.
 *
 * A packet passes the base chains of a hook in turn, and the kernel decides in each of them which rules are
 * active. A packet that is judged while the transaction is applied can meet the new chain before its rules
 * are active, and the old chain after its rules are gone. Neither drops it. So a copy with the new rules is
 * created first and deleted last, each in a transaction of its own: either the old tables or the copy are
 * complete for every packet, and then either the copy or the new tables.
 */
export type TableNames = (table: Table) => Table;

/** The names of the tables themselves. */
export const ownNames: TableNames = (table) => table;

/** The names of copies. */
export const copyNames: TableNames = ({ family, name }) => ({ family, name: `${name}_copy` });

/** Elements by table and set. */
export type Elements = readonly (readonly [table: Table, set: string, element: Element])[];

/**
 * Returns the requests that add or delete elements: a call of `request` for each set, in the tables of these
 * names.
 */
export function elementRequests(
  request: (table: Table, set: string, entries: readonly Element[]) => Request[],
  elements: Elements,
  names: TableNames = ownNames,
): Request[] {
  const groups = Map.groupBy(elements, ([{ family }, set]) => `${family} ${set}`);
  return [...groups.values()].flatMap((group) =>
    group.slice(0, 1).flatMap(([table, set]) =>
      request(
        names(table),
        set,
        group.map(([, , element]) => element),
      ),
    ),
  );
}

/**
 * Requests of three transactions, in turn. Large ones are made when they are read, because those of a node
 * with many rules need a gigabyte: read each once, and let go of it before the next.
 */
export interface Replacement {
  /** Creates the copies. Empty if nothing needs them. */
  readonly preparation: readonly Request[];
  readonly requests: readonly Request[];
  /** Deletes the copies. Succeeds whether they exist or not, and is also sent when `requests` fail. */
  readonly cleanup: readonly Request[];
}

/**
 * Returns the requests that replace tables.
 * @param create returns the requests that create the tables by these names; they do not exist before
 */
export function replaceTables(
  tables: readonly Table[],
  create: (names: TableNames) => readonly Request[],
): Replacement {
  const cleanup = deleteTables(tables.map(copyNames));
  return {
    get preparation() {
      return [...cleanup, ...create(copyNames)];
    },
    get requests() {
      return [...deleteTables(tables), ...create(ownNames)];
    },
    cleanup,
  };
}

/** Succeeds whether the tables exist or not: each is added, if missing, and then deleted. */
export const deleteTables = (tables: readonly Table[]): Request[] =>
  tables.flatMap((table) => [addTable(table), deleteTable(table)]);
