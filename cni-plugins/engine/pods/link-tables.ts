import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { Request, Table } from '../../../base/netlink/index.ts';
import type { AttachmentRecord } from '../../database/record.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { keptSubnets, outlineOf, rebuild, removeTables } from '../../links/rules/ruleset.ts';
import type { PodSubnets } from '../../links/rules/ruleset.ts';
import { routedTables, tables } from '../../links/rules/rules.ts';
import { policyTables } from '../../policy/index.ts';
import type { RuleRequests } from '../../policy/index.ts';
import { copyNames } from '../../table-copies/table-copies.ts';

/** The tables that deny the traffic of links, without those of peer rules. */
export interface LinkTables {
  /**
   * Recreates the tables for the records.
   * @param more subnets that the tables contain beside those of the records
   * @param ofPeers requests that recreate the tables of peer rules at the same time; absent: those stay
   */
  rebuild(records: readonly AttachmentRecord[], more?: readonly PodSubnets[], ofPeers?: RuleRequests): void;
  /** Removes the tables. @param send gets the requests for it */
  remove(send: (requests: readonly Request[]) => void): void;
  /** Returns whether the tables exist. */
  exist(): boolean;
  /** Returns whether the tables have what a link of the record needs. */
  contain(record: AttachmentRecord): boolean;
  tables(): readonly Table[];
  /** Returns the subnets that the tables contain, by network, including those of networks without pods. */
  subnets(): readonly PodSubnets[];
}

interface Deps {
  readonly kernel: Pick<HostKernel, 'hasTable'>;
  readonly replacements: Pick<Replacements, 'apply'>;
}

/** Changes nothing before the first call. */
export function createLinkTables({ kernel, replacements }: Deps): LinkTables {
  /** The attachments that the current tables contain. Undefined: there are no tables. */
  let outline: ReadonlySet<string> | undefined;
  let subnets: readonly PodSubnets[] = [];
  const exists = (table: Table): boolean => kernel.hasTable(table) || kernel.hasTable(copyNames(table));
  const routedStand = (): boolean => routedTables.some(exists);
  return {
    rebuild(records, more = [], ofPeers) {
      const kept = keptSubnets(more, records);
      const ofLinks = rebuild(records, routedStand(), kept);
      const replaced = [...tables, ...routedTables, ...(ofPeers === undefined ? [] : policyTables)];
      const isReplaced = replaced.some(exists);
      const both = (part: keyof RuleRequests): Request[] => [...ofLinks[part], ...(ofPeers?.[part] ?? [])];
      replacements.apply({
        get preparation() {
          return isReplaced ? both('preparation') : [];
        },
        get requests() {
          return both('requests');
        },
        cleanup: isReplaced ? both('cleanup') : [],
      });
      outline = new Set(outlineOf(records, kept));
      subnets = distinct([...kept, ...records.map(({ spec }) => spec)]);
    },
    remove(send) {
      send(removeTables(routedStand()));
      [outline, subnets] = [undefined, []];
    },
    exist: () => outline !== undefined,
    contain: (record) =>
      outline !== undefined && outlineOf([record]).every((entry) => outline?.has(entry) === true),
    tables: () => [...tables, ...(outline?.has('routed') === true ? routedTables : [])],
    subnets: () => subnets,
  };
}

/** Applies replacements of tables. */
interface Replacements {
  apply(replacement: RuleRequests): void;
  /** Deletes copies that could not be deleted before. */
  retry(): void;
}

/** Applies replacements of tables, and deletes each copy, also when the kernel refuses at first. */
export function createReplacements({
  kernel,
  log,
}: {
  readonly kernel: Pick<HostKernel, 'rules'>;
  readonly log: Pick<Logger, 'warn'>;
}): Replacements {
  let copies: readonly Request[] = [];
  /** The tables are in force when this fails. Copies that stay would deny what the tables grant later. */
  const deleteCopies = (): void => {
    try {
      kernel.rules(copies);
      copies = [];
    } catch (thrown) {
      log.warn({ why: reasonOf(thrown) }, 'copies of network rules could not be deleted; it is tried again');
    }
  };
  return {
    apply(replacement: RuleRequests): void {
      // Each request once, however often the kernel refuses.
      copies = [
        ...new Map(
          [...copies, ...replacement.cleanup].map((each) => [`${each.what} ${each.on}`, each]),
        ).values(),
      ];
      try {
        kernel.rules(replacement.preparation);
        kernel.rules(replacement.requests);
      } finally {
        deleteCopies();
      }
    },
    retry(): void {
      if (copies.length > 0) deleteCopies();
    },
  };
}

/** One entry for each network, however many pods it has. */
function distinct(networks: readonly PodSubnets[]): PodSubnets[] {
  const byText = new Map(
    networks.map(({ subnets, masquerade }) => [
      `${masquerade} ${subnets.join(' ')}`,
      { subnets, masquerade },
    ]),
  );
  return [...byText.values()];
}
