import { setTimeout as sleep } from 'node:timers/promises';
import { parseJson } from '../json/index.ts';
import { isPortcullisError } from '../errors/index.ts';
import { calmly, isBusy, isStumble, stumbleLimit } from './calmly.ts';
import { record } from './descriptor.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import type { FetchedManifest, SharedList } from './types.ts';

/** Writes before it is given up: each one was overwritten by somebody else. */
const writeLimit = 32;
/** A read that is older than this is read again before it is written over, in milliseconds. */
const freshFor = 40;
const settleLimit = 3_000;
/** Writes that a busy registry may put off. */
const busyLimit = 2;
/** The list is watched anew so many times at most because this process was stopped while it watched. */
const renewalLimit = 5;

/** What happens under one tag. */
export interface TagAccess {
  /** undefined when there is no such tag. */
  read(): Promise<FetchedManifest | undefined>;
  /**
   * Writes if the tag still stands as it was read, where the registry checks that; false when it refuses because it does not.
   * @param over the entity tag that was read, empty when there was none; undefined: there was no such tag
   */
  write(bytes: Uint8Array, mediaType: string, over: string | undefined): Promise<boolean>;
}

/**
 * Adds an entry to a list under a tag that others may be changing at the same moment. The distribution protocol has no
 * compare-and-swap, so nobody's entry is believed to be in before the list has stood unchanged, with the entry in it, for longer
 * than any writer holds on to what it has read (`settle`): a write after that comes from a read that saw the entry. Whatever was
 * seen meanwhile and vanishes is put back too, so that writers repair what one of them drops. Where a registry honours
 * If-Match, a lost race is refused at once.
 * @returns the digest of the manifest that has the entry
 * @throws PortcullisError DISTRIBUTION_REFUSED when others overwrite it again and again
 */
export async function addToSharedTag(
  access: TagAccess,
  list: SharedList,
  settle: number,
  task: Task,
  signal?: AbortSignal,
): Promise<string> {
  const seen = new Map<string, unknown>([[list.keyOf(list.entry), list.entry]]);
  let stood: { readonly digest: string; readonly since: number } | undefined;
  let window = settle;
  let wrote = 0;
  let stumbles = 0;
  let putOff = 0;
  let renewals = 0;
  const calm = calmly(signal);
  /**
   * Tries once. A registry that fails while two write the tag is not asked to take the same bytes again: what they were made from is older
   * then, and somebody's entry would be dropped. They may have been written all the same.
   */
  const write = async (bytes: Uint8Array, over: string | undefined): Promise<boolean> => {
    try {
      return await access.write(bytes, list.mediaType, over);
    } catch (error) {
      if (isBusy(error) && putOff < busyLimit) {
        putOff += 1;
        await sleep(200 * 2 ** putOff * (0.75 + Math.random() / 2), undefined, { signal });
        return false;
      }
      stumbles += 1;
      if (!isStumble(error) || stumbles > stumbleLimit) throw error;
      return true;
    }
  };
  for (;;) {
    const readAt = performance.now();
    const current = await calm(() => access.read());
    const entries = current === undefined ? [] : list.entriesOf(current);
    const present = new Set(entries.map((entry) => list.keyOf(entry)));
    for (const entry of entries) seen.set(list.keyOf(entry), entry);
    const missing = [...seen].filter(([key]) => !present.has(key)).map(([, entry]) => entry);
    if (current !== undefined && missing.length === 0) {
      const { digest } = current;
      if (wrote === 0 || window === 0) return digest;
      // Since the answer came: a registry may read the list at any moment before it.
      const now = performance.now();
      if (stood?.digest !== digest) stood = { digest, since: now };
      const left = stood.since + window - now;
      if (left <= 0) {
        // This comes late where the machine was stopped or busy. Other writers on it may have been stopped between a read and a write.
        if (-left <= window / 2 || renewals === renewalLimit) return digest;
        renewals += 1;
        stood = { digest, since: now };
        continue;
      }
      await sleep(left, undefined, { signal });
      continue;
    }
    // What is written again may have the same digest: it has to stand anew.
    stood = undefined;
    if (wrote >= writeLimit) {
      throw distributionError('DISTRIBUTION_REFUSED', task, `the list was overwritten by others ${writeLimit} times`, {
        fix: 'try again when fewer write to it',
      });
    }
    const bytes = await list.build([...entries, ...missing], current === undefined ? {} : fieldsOf(current));
    // Preparing took its time: what was read may be old, and somebody's entry would be dropped.
    const stale = performance.now() - readAt > freshFor && (await calm(() => access.read()))?.digest !== current?.digest;
    if (!stale && (await write(bytes, current === undefined ? undefined : (current.etag ?? '')))) wrote += 1;
    window = window === 0 ? 0 : Math.min(settleLimit, Math.max(window, 2 * (performance.now() - readAt)));
    // After a lost race: apart from the others, and before reading, so that what is read is fresh when it is written over.
    if (stale || wrote > 1) await sleep(Math.random() * 20 * 2 ** Math.min(wrote, 5), undefined, { signal });
  }
}

function fieldsOf({ bytes }: FetchedManifest): Readonly<Record<string, unknown>> {
  return record(parseJson(Buffer.from(bytes).toString('utf8'))) ?? {};
}

/** The answer that there is no such tag, as undefined. */
export async function orAbsent<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isPortcullisError(error) && error.code === 'DISTRIBUTION_NOT_FOUND') return undefined;
    throw error;
  }
}
