import { PortcullisError } from '../../base/errors/index.ts';
import { genesis, rowHash } from './chain.ts';
import { parseCheckpoint, signCheckpoint } from './checkpoint.ts';
import type { LogHead } from './checkpoint.ts';
import { readNodeKey } from './node-key.ts';
import type { LogSource } from './source.ts';

/** A head that a later verification compares the log with. */
export interface ExportedHead {
  /** A signed checkpoint. */
  readonly note: string;
  /** The number of rows after the checkpoint. The checkpoint does not protect them. */
  readonly behind: number;
}

/**
 * Exports the current head of a log: the latest checkpoint. If rows were added after it and the node's key
 * can be read, signs a new one.
 * @param keyFile the node's key; not created when absent
 * @throws PortcullisError `TRUST_LOG_DAMAGED` when the rows are not a chain, `TRUST_LOG_NO_CHECKPOINT` when
 * there is neither a checkpoint nor a key
 */
export async function exportHead(source: LogSource, keyFile: string, now: Date): Promise<ExportedHead> {
  const head = headOf(source);
  const latest = [...source.checkpoints()].at(-1);
  const signed = latest === undefined ? undefined : parseCheckpoint(latest.note);
  const size = signed === undefined || 'problem' in signed ? 0 : signed.head.size;
  if (latest !== undefined && size === head.size) return { note: latest.note, behind: 0 };
  // The log has fewer rows than were signed: a new checkpoint must not hide this cut.
  const key = size > head.size ? undefined : await readNodeKey(keyFile).catch(() => undefined);
  if (key !== undefined && head.size > 0)
    return { note: signCheckpoint(head, now, key.note, key.privateKey), behind: 0 };
  if (latest !== undefined) return { note: latest.note, behind: Math.max(0, head.size - size) };
  throw failed('TRUST_LOG_NO_CHECKPOINT', source.name, {
    kind: 'precondition',
    why: `no checkpoint was signed yet, and the key ${keyFile} cannot be read`,
    fix: 'try again in a minute: a running daemon signs one after each change',
  });
}

function headOf(source: LogSource): LogHead {
  let head: LogHead = { size: 0, hash: genesis };
  for (const row of source.rows()) {
    if ('problem' in row || row.seq !== head.size + 1 || row.hash !== rowHash(head.hash, row))
      throw failed('TRUST_LOG_DAMAGED', source.name, {
        kind: 'data-loss',
        why: `row ${row.seq} does not follow from the rows before it`,
        fix: 'see what is wrong: portcullis verdicts verify',
      });
    head = { size: row.seq, hash: row.hash };
  }
  return head;
}

function failed(
  code: 'TRUST_LOG_NO_CHECKPOINT' | 'TRUST_LOG_DAMAGED',
  on: string,
  facts: { readonly kind: 'precondition' | 'data-loss'; readonly why: string; readonly fix: string },
): PortcullisError {
  return new PortcullisError({ code, attempted: 'export head of verdict log', on, ...facts });
}
