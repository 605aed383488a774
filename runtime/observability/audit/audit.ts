import { PortcullisError, reasonOf, statusName } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { CallObserver, CallOutcome, StartedCall } from '../../cri/observe.ts';
import { createLineFile } from './line-file.ts';
import { auditResult, auditSubject } from './subject.ts';
import type { AuditSubject } from './subject.ts';

export interface Audit {
  readonly calls: CallObserver;
  /** The number of lines that could not be written since the start. */
  failures(): number;
  /** Call this after a rotation. */
  reopen(): void;
  close(): Promise<void>;
}

/**
 * Opens the log of callers: one JSON object per line for each call that changes state (and, with `reads`,
 * each read-only call), written once its outcome is known. With `required`, a line `"phase":"asked"` is also
 * written before a call that changes state, and the call is refused if that line cannot be written. So no
 * change happens without a line. A line that cannot be written is counted and reported in the daemon's log;
 * otherwise it never delays or fails a call.
 */
export function openAudit(options: {
  readonly path: string;
  readonly reads: boolean;
  readonly required: boolean;
  readonly log: Logger;
  readonly now?: () => Date;
}): Audit {
  const { path, reads, required, log, now = () => new Date() } = options;
  const file = createLineFile(path);
  let failures = 0;
  /** The count when the present period of failures began. Undefined: lines can be written. */
  let failingSince: number | undefined;

  const write = async (line: object): Promise<void> => {
    try {
      await file.append(JSON.stringify({ time: now().toISOString(), ...line }));
      if (failingSince !== undefined)
        log.warn(
          { path, lost: failures - failingSince },
          'the audit log can be written again; the lines in between are lost',
        );
      failingSince = undefined;
    } catch (cause) {
      // Reported once for each period of failures: a message for each call would fill a full disk further.
      if (failingSince === undefined)
        log.error(
          { path, code: 'RUNTIME_AUDIT_UNWRITABLE', cause: reasonOf(cause) },
          'the audit log cannot be written',
        );
      failingSince ??= failures;
      failures += 1;
      throw cause;
    }
  };
  const head = (call: StartedCall): object => ({
    request: call.requestId,
    peer: call.peer === undefined ? null : { pid: call.peer.pid, uid: call.peer.uid, gid: call.peer.gid },
    method: call.rpc,
  });

  return {
    calls: {
      begin: (call) => {
        if (call.readsOnly && !reads) return { end: () => undefined };
        let subject: AuditSubject = {};
        return {
          admit: async (request) => {
            subject = auditSubject(request);
            if (!required || call.readsOnly) return;
            await write({ ...head(call), phase: 'asked', subject }).catch((cause: unknown) => {
              throw unwritable(call.rpc, path, cause);
            });
          },
          end: (outcome) => {
            const line = {
              ...head(call),
              phase: 'done',
              subject: { ...subject, ...auditResult(outcome.response) },
              ...outcomeOf(outcome),
            };
            write(line).catch(() => undefined);
          },
        };
      },
    },
    failures: () => failures,
    reopen: file.reopen,
    close: file.close,
  };
}

/** The message of a failure is not written, because it may quote what the caller sent. */
function outcomeOf({ code, failure, milliseconds }: CallOutcome): object {
  const verdictId = failure?.failure.details?.verdictId;
  return {
    status: statusName(code),
    ...(failure !== undefined && { code: failure.code }),
    ...(typeof verdictId === 'string' && { verdictId }),
    milliseconds,
  };
}

function unwritable(rpc: string, path: string, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_AUDIT_UNWRITABLE',
    kind: 'unavailable',
    attempted: 'write to the audit log before',
    on: rpc,
    why: `${path}: ${reasonOf(cause)}`,
    fix: 'free space on the disk or correct audit.path; without audit.required calls are served without the log',
    cause,
  });
}
