import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync } from 'node:fs';
import { open, statfs } from 'node:fs/promises';
import { isDiskFull } from './failure.ts';
import type { KeptRoom } from './room.ts';

/**
 * A file that only takes space, so that what makes room on a full disk finds the few blocks that it needs itself. It lies on the file system
 * that it is for, is spent a piece at a time, and is filled again when there is room.
 */
export interface Ballast {
  readonly path: string;
  /** Its full size. */
  readonly bytes: number;
}

/** It is spent in this many pieces: whoever writes beside takes what was freed as well. */
const pieces = 8;
const chunkBytes = 256 * 1024;

/** What a database keeps of its own beside it, in bytes: see `keepRoom`. */
export function roomOf({ bytes }: Ballast): number {
  return bytes / 16;
}

/**
 * Frees a piece of it. Blocks until the file system gives the blocks away, so not on a thread that serves.
 * @returns false when nothing was left
 */
export function spendBallast({ path, bytes }: Ballast): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW);
    const { size } = fstatSync(fd);
    if (size === 0) return false;
    ftruncateSync(fd, Math.max(0, size - Math.ceil(bytes / pieces)));
    // A file system with a journal gives freed blocks away once its transaction is written.
    fsyncSync(fd);
    return true;
  } catch {
    return false;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Fills it as far as it is not full, where at least twice as much as is missing stays free.
 * @returns whether it is full
 * @throws what node:fs throws; what was written by then stays
 */
export async function fillBallast({ path, bytes }: Ballast): Promise<boolean> {
  await using file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW, 0o600);
  const { size } = await file.stat();
  const { bavail, bsize } = await statfs(path);
  if (bavail * bsize < 3 * (bytes - size)) return size >= bytes;
  // Bytes that no file system stores in less space.
  const chunk = randomBytes(chunkBytes);
  for (let left = bytes - size; left > 0; left -= chunkBytes) await file.write(chunk, 0, Math.min(left, chunkBytes));
  return true;
}

/**
 * Does what has to succeed on a full disk, such as a start: repeated with a piece of the ballast spent as long as it fails with
 * STORAGE_DISK_FULL. The act is one that can be repeated.
 * @param makeRoom is called once when nothing of the ballast is left; false: it freed nothing
 */
export async function withBallast<T>(
  ballast: Ballast,
  act: () => Promise<T>,
  makeRoom = (): Promise<boolean> => Promise.resolve(false),
): Promise<T> {
  let isLast = false;
  for (;;)
    try {
      return await act();
    } catch (error) {
      if (isLast || !isDiskFull(error)) throw error;
      if (spendBallast(ballast)) continue;
      isLast = true;
      if (!(await makeRoom())) throw error;
    }
}

/** A ballast that is filled again in the background, in whatever thread spends it. */
export interface TendedBallast {
  /** Frees a piece, see {@link spendBallast}; it is filled again when there is room. */
  spend(): boolean;
  /** Fills it in the background, after `inMs`, and again until it is full. */
  fillSoon(inMs: number): void;
  /** Fills no more. */
  close(): void;
}

/** Soon after a removal has freed the disk, before others take the room. Where it is full, this is one look at its figures. */
const refillMs = 2_000;

export function tendBallast(ballast: Ballast): TendedBallast {
  let filling: NodeJS.Timeout | undefined;
  // What hinders it now is tried again: that a disk is full is reported by the calls that it fails.
  const fillSoon = (inMs: number): void => {
    filling ??= setTimeout(() => {
      filling = undefined;
      fillBallast(ballast).then(
        (isFull) => {
          if (!isFull) fillSoon(refillMs);
        },
        () => fillSoon(refillMs),
      );
    }, inMs).unref();
  };
  return {
    spend: () => {
      const spent = spendBallast(ballast);
      if (spent) fillSoon(refillMs);
      return spent;
    },
    fillSoon,
    close: () => clearTimeout(filling),
  };
}

/** {@link withBallast} for what does not wait, in a thread that may block. Also what SQLite says of a full disk counts. @param room is used before */
export function makingRoom<T>(ballast: TendedBallast | undefined, act: () => T, room?: Pick<KeptRoom, 'reuseLog'>): T {
  for (let tries = 0; ; tries += 1)
    try {
      return act();
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      if (tries === 0 && room?.reuseLog() === true) continue;
      if (ballast?.spend() !== true) throw error;
    }
}
