import { setTimeout as sleep } from 'node:timers/promises';
import { parseJson } from '../json/index.ts';
import { codeIs, tolerate } from '../errors/index.ts';
import {
  isBusy,
  isFailedCondition,
  isWriteConflict,
  retryWriteConflicts,
  writeConflictLimit,
} from './write-conflicts.ts';
import { record } from './descriptor.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import type { FetchedManifest, SharedList } from './types.ts';

/** The number of writes after which it gives up, because other clients overwrote each one. */
const writeLimit = 32;
/** A read older than this number of milliseconds is repeated before the list is overwritten. */
const freshFor = 40;
const settleLimit = 3_000;
/** The number of writes that a busy registry may delay. */
const busyLimit = 2;
/**
 * The number of conditional writes over one state of the list that a registry may refuse. After that, a
 * rule of the registry is the reason: Harbor answers 412 when a tag is immutable.
 */
const refusalLimit = 4;
/**
 * The maximum number of times that the watch of the list restarts because this process was stopped during it.
 */
const renewalLimit = 5;

/** Reads and writes one tag. */
export interface TagAccess {
  /** undefined if the tag does not exist. */
  read(): Promise<FetchedManifest | undefined>;
  /**
   * Writes if the tag still has the state that was read, if the registry checks that.
   * @param over the entity tag that was read, empty if there was none; undefined: the tag did not exist
   * @throws PortcullisError with the status 412 when the registry refuses because the tag has changed
   */
  write(bytes: Uint8Array, mediaType: string, over: string | undefined): Promise<void>;
}

/**
 * Adds entries to a list under a tag that other clients may be changing at the same moment. The distribution
 * protocol has no compare-and-swap. Therefore an entry counts as added only after the list, with the entry in
 * it, has not changed for longer than any writer keeps a list that it has read (`settle`): a write after that
 * is based on a read that saw the entry. Entries of others that were seen in the meantime and then disappear
 * are added again too, so that writers repair what one of them drops. If a registry honours If-Match, a lost
 * race is refused at once.
 * @returns the digest of the manifest that contains the entries
 * @throws PortcullisError DISTRIBUTION_REFUSED when others overwrite it again and again, or when the registry
 * refuses every write although the list stays the same
 */
export async function addToSharedTag(
  access: TagAccess,
  list: SharedList,
  settle: number,
  task: Task,
  signal?: AbortSignal,
): Promise<string> {
  const seen = new Map(list.added.map((entry) => [list.keyOf(entry), entry]));
  let stood: { readonly digest: string; readonly since: number } | undefined;
  let window = settle;
  let wrote = 0;
  let stumbles = 0;
  let putOff = 0;
  let renewals = 0;
  let refusals = 0;
  let before: string | undefined;
  const whileConflicting = retryWriteConflicts(signal);
  /**
   * Tries once. If a registry fails while two clients write the tag, the same bytes are not sent again: the
   * list they are based on is older then, and another client's entry would be dropped. The registry may have
   * stored the bytes despite the failure.
   */
  const write = async (bytes: Uint8Array, over: string | undefined): Promise<boolean> => {
    try {
      await access.write(bytes, list.mediaType, over);
      return true;
    } catch (error) {
      if (isFailedCondition(error) && refusals < refusalLimit) {
        refusals += 1;
        return false;
      }
      if (isBusy(error) && putOff < busyLimit) {
        putOff += 1;
        await sleep(200 * 2 ** putOff * (0.75 + Math.random() / 2), undefined, { signal });
        return false;
      }
      stumbles += 1;
      if (!isWriteConflict(error) || stumbles > writeConflictLimit) throw error;
      return true;
    }
  };
  for (;;) {
    const readAt = performance.now();
    const current = await whileConflicting(() => access.read());
    if (current?.digest !== before) refusals = 0;
    before = current?.digest;
    const entries = current === undefined ? [] : list.entriesOf(current);
    const present = new Set(entries.map((entry) => list.keyOf(entry)));
    for (const entry of entries) seen.set(list.keyOf(entry), entry);
    const missing = [...seen].filter(([key]) => !present.has(key)).map(([, entry]) => entry);
    if (current !== undefined && missing.length === 0) {
      const { digest } = current;
      if (wrote === 0 || window === 0) return digest;
      // Measured from the arrival of the answer: a registry may read the list at any moment before it.
      const now = performance.now();
      if (stood?.digest !== digest) stood = { digest, since: now };
      const left = stood.since + window - now;
      if (left <= 0) {
        // This timer fires late if the machine was stopped or busy. Other writers on it may have been stopped
        // between a read and a write.
        if (-left <= window / 2 || renewals === renewalLimit) return digest;
        renewals += 1;
        stood = { digest, since: now };
        continue;
      }
      await sleep(left, undefined, { signal });
      continue;
    }
    // A list that is written again may have the same digest: its time starts again.
    stood = undefined;
    if (wrote >= writeLimit) {
      throw distributionError(
        'DISTRIBUTION_REFUSED',
        task,
        `other clients overwrote the list ${writeLimit} times`,
        {
          fix: 'try again when fewer clients write to it',
        },
      );
    }
    const bytes = await list.build([...entries, ...missing], current === undefined ? {} : fieldsOf(current));
    // The preparation takes time. The list may be out of date, and another client's entry would be dropped.
    const stale =
      performance.now() - readAt > freshFor &&
      (await whileConflicting(() => access.read()))?.digest !== current?.digest;
    if (!stale && (await write(bytes, current === undefined ? undefined : (current.etag ?? '')))) wrote += 1;
    window = window === 0 ? 0 : Math.min(settleLimit, Math.max(window, 2 * (performance.now() - readAt)));
    // After a lost race, wait a random time, and before the read, so that the list is fresh when it is
    // overwritten.
    const lost = wrote + refusals;
    if (stale || lost > 1) await sleep(Math.random() * 20 * 2 ** Math.min(lost, 5), undefined, { signal });
  }
}

function fieldsOf({ bytes }: FetchedManifest): Readonly<Record<string, unknown>> {
  return record(parseJson(Buffer.from(bytes).toString('utf8'))) ?? {};
}

/** Returns undefined if the answer is that the tag does not exist. */
export async function orAbsent<T>(answer: Promise<T>): Promise<T | undefined> {
  return tolerate(codeIs('DISTRIBUTION_NOT_FOUND'), () => answer);
}
