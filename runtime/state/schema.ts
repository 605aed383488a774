import type { Migration } from '../../base/storage/index.ts';
import { verdictLogMigrationSql } from '../../trust/index.ts';
import { imageSchema } from '../images/schema.ts';
import { recordsSchema } from './records.ts';

/** One database holds sandboxes, containers, images and verdicts, so that an admission and what it allows are one transaction. */
export const stateMigrations: readonly Migration[] = [{ version: 1, sql: `${recordsSchema}\n${verdictLogMigrationSql}\n${imageSchema}` }];
