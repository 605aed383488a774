import { setTimeout as pause } from 'node:timers/promises';
import { askAdmin } from '../options/admin-socket.ts';
import type { AdminFlags } from '../options/admin-socket.ts';
import type { ReportProgress } from '../output/progress.ts';

/** How often the daemon is asked, and how long it may take to answer, in ms. */
const everyMs = 250;
const answerMs = 1_000;

/**
 * Reports how far the daemon is with a pull or an import, until the request ends. A daemon that does not
 * answer this question, or another runtime, pulls the image without a report.
 * @param reference as the request has it
 * @param request the pull itself
 */
export async function followPull<T>(
  flags: AdminFlags,
  reference: string,
  report: ReportProgress,
  request: Promise<T>,
): Promise<T> {
  const ended = new AbortController();
  const following = follow(flags, reference, report, ended.signal).catch(() => undefined);
  try {
    return await request;
  } finally {
    ended.abort();
    await following;
  }
}

async function follow(
  flags: AdminFlags,
  reference: string,
  report: ReportProgress,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await pause(everyMs, undefined, { signal });
    const { pulls } = await askAdmin(flags, 'images/pulls', {}, answerMs);
    signal.throwIfAborted();
    const pull = pulls.find((each) => each.reference === reference);
    if (pull === undefined) continue;
    const { bytes, bytesReceived } = pull;
    report({ bytes: bytesReceived, totalBytes: bytes }, bytesReceived === bytes ? 'unpacking' : reference);
  }
}
