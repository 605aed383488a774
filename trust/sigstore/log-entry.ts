import { verifyWith } from '../x509/signature-algorithm.ts';
import type { InclusionProof, LogEntry } from './bundle.ts';
import { isSignedByLog, readCheckpoint } from './checkpoint.ts';
import { rootOfProof } from './merkle.ts';
import { isWithin } from './trusted-root.ts';
import type { TransparencyLog } from './trusted-root.ts';

/** The proof of a log: that it contains the entry, and since when. */
export interface LogFinding {
  readonly log: TransparencyLog;
  /** Milliseconds since 1970, when the log has signed a time. */
  readonly time?: number;
}

/**
 * Checks that a trusted log contains the entry: by its promise (SET), if there is one, and by its inclusion
 * proof under a signed checkpoint. Everything that is present must be valid. Only bundles of version 0.1 and
 * cosign's older form may rely on a promise alone. The entry's body is not checked here.
 * @param moments milliseconds since 1970, when the signature existed, for an entry without a signed time: a
 * log that is listed more than once counts as it was trusted then
 */
export function checkInclusion(
  entry: LogEntry,
  logs: readonly TransparencyLog[],
  promiseSuffices: boolean,
  moments: readonly number[],
): LogFinding | { readonly problem: string } {
  const named = logs.filter(({ id, checkpointId }) => entry.logId === id || entry.logId === checkpointId);
  if (named.length === 0) return { problem: 'the log that it names is not in the trusted root' };
  if (entry.promise === undefined && entry.proof === undefined)
    return { problem: 'it has neither an inclusion proof nor a promise' };
  if (entry.proof === undefined && !promiseSuffices) return { problem: 'it has no inclusion proof' };
  let problem = '';
  let untrusted: LogFinding | undefined;
  // A log may be listed twice under one id: with another key, or for another period.
  for (const log of named) {
    const flaw = promiseFlaw(entry, log) ?? proofFlaw(entry, log);
    if (flaw !== undefined) {
      problem = flaw;
      continue;
    }
    // Without the log's own signature, the time is unproven.
    const time =
      entry.promise !== undefined && entry.integratedTime > 0 ? entry.integratedTime * 1000 : undefined;
    const finding = time === undefined ? { log } : { log, time };
    if ((time === undefined ? moments : [time]).some((moment) => isWithin(moment, log.validFor)))
      return finding;
    untrusted ??= finding;
  }
  return untrusted ?? { problem };
}

/**
 * Checks the signed entry timestamp, which covers the canonical JSON (RFC 8785) of body, time, log and index.
 */
function promiseFlaw(entry: LogEntry, log: TransparencyLog): string | undefined {
  if (entry.promise === undefined) return undefined;
  const body = JSON.stringify(entry.body.toString('base64'));
  const id = Buffer.from(entry.logId, 'base64').toString('hex');
  const signed = `{"body":${body},"integratedTime":${entry.integratedTime},"logID":"${id}","logIndex":${entry.logIndex}}`;
  return verifyWith(log.digest, Buffer.from(signed), log.key, entry.promise)
    ? undefined
    : "the log's promise (SET) does not match the entry";
}

function proofFlaw({ proof, body }: LogEntry, log: TransparencyLog): string | undefined {
  return proof === undefined ? undefined : inclusionFlaw(proof, body, log);
}

/**
 * Checks that an inclusion proof leads to the root of its checkpoint.
 * @param log must have signed the checkpoint. Absent: its signature is not checked
 */
export function inclusionFlaw(
  { checkpoint: note, index, size, root, hashes }: InclusionProof,
  body: Uint8Array,
  log?: TransparencyLog,
): string | undefined {
  let checkpoint;
  try {
    checkpoint = readCheckpoint(note);
  } catch (error) {
    return (error as Error).message;
  }
  if (log !== undefined && !isSignedByLog(checkpoint, log)) return 'the log has not signed the checkpoint';
  if (checkpoint.size !== size || root?.equals(checkpoint.root) === false)
    return 'the checkpoint and the inclusion proof are of different trees';
  return rootOfProof(body, index, size, hashes)?.equals(checkpoint.root) === true
    ? undefined
    : 'the inclusion proof does not lead to the root of the checkpoint';
}
