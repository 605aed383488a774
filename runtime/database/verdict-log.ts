import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Database } from '../../base/storage/index.ts';
import { openVerdictLog } from '../../trust/verdict-log/index.ts';
import type { VerdictLog } from '../../trust/verdict-log/index.ts';
import { withRoom } from './open-database.ts';

/**
 * Opens the daemon's verdict log. A verdict that a container or an image refers to is kept, whatever its age.
 */
export function openDaemonVerdictLog(
  database: Database,
  config: { readonly root: string; readonly verdicts: { readonly retentionDays: number } },
  inUse: readonly { list(): readonly { readonly verdictId: string }[] }[],
  log: Logger,
): Promise<VerdictLog> {
  const options = {
    database,
    keyFile: join(config.root, 'verdict-log.key'),
    retentionDays: config.verdicts.retentionDays,
    verdictsInUse: () => inUse.flatMap((records) => records.list().map(({ verdictId }) => verdictId)),
    dossiersInUse: 'SELECT dossier_id FROM image_name',
    onFailure: (what: string, cause: unknown) =>
      log.error(
        { what, cause: reasonOf(cause) },
        'the maintenance of the verdict log failed; it is repeated later',
      ),
  };
  return withRoom(config.root, () => openVerdictLog(options));
}
