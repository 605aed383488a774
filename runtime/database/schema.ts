import type { Migration } from '../../base/storage/index.ts';
import { verdictLogMigrations } from '../../trust/verdict-log/index.ts';
import { imageMigrations } from '../images/index.ts';
import { heartbeatSchema } from '../observability/heartbeat.ts';
import { recordsSchema } from '../state/records.ts';

/**
 * One database holds sandboxes, containers, images and verdicts, so that an admission and the change that it
 * allows are one transaction. Append only: a step's version is its position in this list, and a released step
 * never changes. Each module appends its steps at the end, whichever module the steps before belong to.
 */
export const stateMigrations: readonly Migration[] = [
  recordsSchema,
  verdictLogMigrations[0],
  imageMigrations[0],
  heartbeatSchema,
  verdictLogMigrations[1],
  verdictLogMigrations[2],
].map((sql, index) => ({ version: index + 1, sql }));
