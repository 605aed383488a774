import { PortcullisError } from '../../base/errors/index.ts';
import type { Database, Statement } from '../../base/storage/index.ts';
import type { Dossier, Verdict } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { appendStatement, verdictLogStatements } from './append.ts';
import type { AdjustmentEntry } from './entry.ts';
import { parseCheckpoint, signCheckpoint } from './checkpoint.ts';
import { openNodeKey } from './node-key.ts';
import { dropOldTexts } from './retention.ts';
import { takeOldRows } from './upgrade.ts';

export interface VerdictLogOptions {
  /** An open database whose migrations include all steps of the log's schema. */
  readonly database: Database;
  /** The node's key; created when absent. */
  readonly keyFile: string;
  readonly now?: () => Date;
  /** A checkpoint is signed after this many rows. */
  readonly checkpointRows?: number;
  /** Milliseconds: a checkpoint is signed at the latest this long after a row. */
  readonly checkpointMs?: number;
  /** Days after which texts of verdicts are dropped; 0 means never. */
  readonly retentionDays: number;
  /** Verdicts whose texts are kept, whatever their age. */
  readonly verdictsInUse: () => readonly string[];
  /** A SELECT of the dossier ids to keep. */
  readonly dossiersInUse: string;
  /**
   * Called when a checkpoint or a retention run fails, which is tried again later, and at the start when rows
   * are missing (`TRUST_LOG_CUT_OFF`).
   */
  readonly onFailure: (what: string, error: unknown) => void;
}

/** The verdict log, as the daemon writes it. */
export interface VerdictLog {
  /**
   * Returns the statements that make a verdict durable, for the transaction of the action that it is about.
   * @throws PortcullisError `TRUST_POLICY_NOT_PORTABLE`
   */
  statements(verdict: Verdict, dossier: Dossier, policy: TrustPolicy): readonly Statement[];
  /** Appends what plugins of the node changed for a container. */
  adjusted(entry: Omit<AdjustmentEntry, 'kind' | 'time'>): Promise<void>;
  /**
   * Begins to drop old texts, in the background: the first time after a minute, then daily. Call it once the
   * verdicts in use are known.
   */
  beginRetention(): void;
  /** Signs the current head if rows were added since the last checkpoint. */
  checkpoint(): Promise<void>;
  /** Signs a last checkpoint. The database stays open. */
  close(): Promise<void>;
}

const day = 86_400_000;

/**
 * Opens the log of a daemon: adopts the rows of older versions, creates or reads the node's key, and logs
 * which key signs from here on.
 * @throws PortcullisError `TRUST_LOG_KEY_UNREADABLE`, and the errors of base/storage
 */
export async function openVerdictLog(options: VerdictLogOptions): Promise<VerdictLog> {
  const {
    database,
    now = () => new Date(),
    checkpointRows = 100,
    checkpointMs = 60_000,
    onFailure,
  } = options;
  await takeOldRows(database);
  const key = await openNodeKey(options.keyFile);
  const cut = await cutOff(database);
  if (cut !== undefined) onFailure('start', cut);
  const announced = await database.get<{ key: string }>(
    "SELECT entry ->> '$.key' AS key FROM verdict_log WHERE kind = 'key' ORDER BY seq DESC LIMIT 1",
  );
  if (announced?.key !== key.note.text)
    await database.write([appendStatement({ kind: 'key', time: now().toISOString(), key: key.note.text })]);
  const last = await database.get<{ size: number | null }>(
    'SELECT max(size) AS size FROM verdict_checkpoint',
  );
  // After a cut, the remaining rows are signed again. The old checkpoints stay, so that verification shows
  // the cut.
  let signed = cut === undefined ? (last?.size ?? 0) : 0;
  let fresh = 0;
  let timer: NodeJS.Timeout | undefined;
  let tail: Promise<void> = Promise.resolve();

  async function sign(): Promise<void> {
    const head = await database.get<{ seq: number; hash: string }>(
      'SELECT seq, hash FROM verdict_log ORDER BY seq DESC LIMIT 1',
    );
    if (head === undefined || head.seq <= signed) return;
    const note = signCheckpoint({ size: head.seq, hash: head.hash }, now(), key.note, key.privateKey);
    await database.write([
      {
        sql: 'INSERT INTO verdict_checkpoint (size, note) VALUES (?, ?) ON CONFLICT DO NOTHING',
        params: [head.seq, note],
      },
    ]);
    signed = head.seq;
  }
  /** Signs checkpoints one at a time, in order. A failure is reported and does not stop the next one. */
  function checkpoint(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    fresh = 0;
    tail = tail.then(sign).catch((error: unknown) => onFailure('checkpoint', error));
    return tail;
  }
  const drop = (): Promise<void> =>
    dropOldTexts(database, {
      days: options.retentionDays,
      now: now(),
      verdictsInUse: options.verdictsInUse(),
      dossiersInUse: options.dossiersInUse,
    }).then(
      (count) => {
        if (count > 0) schedule();
      },
      (error: unknown) => onFailure('retention', error),
    );
  function schedule(): void {
    fresh += 1;
    // The rows counted here may not be written yet. Rows that miss this checkpoint are in the next one.
    if (fresh >= checkpointRows) void checkpoint();
    else timer ??= setTimeout(() => void checkpoint(), checkpointMs).unref();
  }
  await checkpoint();
  let daily: NodeJS.Timeout | undefined;
  let first: NodeJS.Timeout | undefined;

  return {
    statements(verdict, dossier, policy) {
      schedule();
      return verdictLogStatements(verdict, { dossier, policy, time: now() });
    },
    async adjusted(entry) {
      schedule();
      await database.write([appendStatement({ ...entry, kind: 'adjustment', time: now().toISOString() })]);
    },
    beginRetention() {
      daily ??= setInterval(() => void drop(), day).unref();
      first ??= setTimeout(() => void drop(), 60_000).unref();
    },
    checkpoint,
    async close() {
      clearInterval(daily);
      clearTimeout(first);
      await checkpoint();
    },
  };
}

/**
 * Reports rows that a checkpoint has covered and that are missing or changed. Checks from the end only:
 * `verifyLog` checks the whole log.
 */
async function cutOff(database: Database): Promise<PortcullisError | undefined> {
  const last = await database.get<{ note: string }>(
    'SELECT note FROM verdict_checkpoint ORDER BY size DESC LIMIT 1',
  );
  if (last === undefined) return undefined;
  const checkpoint = parseCheckpoint(last.note);
  const row =
    'problem' in checkpoint
      ? undefined
      : await database.get<{ hash: string }>('SELECT hash FROM verdict_log WHERE seq = ?', [
          checkpoint.head.size,
        ]);
  if (!('problem' in checkpoint) && row?.hash === checkpoint.head.hash) return undefined;
  return new PortcullisError({
    code: 'TRUST_LOG_CUT_OFF',
    kind: 'data-loss',
    attempted: 'open verdict log',
    on: 'its latest checkpoint',
    why:
      'problem' in checkpoint
        ? checkpoint.problem
        : `row ${checkpoint.head.size} ${row === undefined ? 'is missing' : 'is different'}: the database was changed`,
    fix: 'see what is left: portcullis verdicts verify',
  });
}
