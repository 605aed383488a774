import type { NetworkDatabase } from '../../database/database.ts';
import { createNameStore } from '../../database/endpoint-names.ts';
import type { NameStore } from '../../database/endpoint-names.ts';

/** Reports when the first endpoint has a name, so that name servers are started only if they are needed. */
export interface NameReport {
  /** Checks for names of any origin, because plugins without the daemon write names as well. */
  reportNames(database: NetworkDatabase): void;
}

/** @param report is called once */
export function createNameReport(report: () => void): NameReport {
  let names: NameStore | undefined;
  let isReported = false;
  return {
    reportNames(database) {
      names ??= createNameStore(database);
      if (isReported || names.isEmpty()) return;
      isReported = true;
      report();
    },
  };
}
