import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync } from 'node:fs';
import { open, statfs } from 'node:fs/promises';
import { isDiskFull } from './failure.ts';
import type { KeptRoom } from './room.ts';

/**
 * A file that only occupies space, so that code that frees space on a full disk can get the few blocks that
 * it needs itself. It is on the file system that it protects, is spent one piece at a time, and is refilled
 * when there is space.
 */
export interface Ballast {
  readonly path: string;
  /** Its full size. */
  readonly bytes: number;
}

/** The number of pieces in which it is spent. Other writers take freed space as well. */
const pieces = 8;
const chunkBytes = 256 * 1024;

/** Returns the space that a database reserves for itself in addition, in bytes: see `keepRoom`. */
export function roomOf({ bytes }: Ballast): number {
  return bytes / 16;
}

/**
 * Frees a piece of the ballast. Blocks until the file system releases the blocks, so do not call it on a
 * thread that serves requests.
 * @returns false when nothing was left
 */
export function spendBallast({ path, bytes }: Ballast): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW);
    const { size } = fstatSync(fd);
    if (size === 0) return false;
    ftruncateSync(fd, Math.max(0, size - Math.ceil(bytes / pieces)));
    // A file system with a journal releases freed blocks once its transaction is written.
    fsyncSync(fd);
    return true;
  } catch {
    return false;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Fills the missing part of the ballast if at least twice the missing amount stays free.
 * @returns whether it is full
 * @throws the error of node:fs; bytes that were written by then stay
 */
export async function fillBallast({ path, bytes }: Ballast): Promise<boolean> {
  await using file = await open(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW,
    0o600,
  );
  const { size } = await file.stat();
  const { bavail, bsize } = await statfs(path);
  if (bavail * bsize < 3 * (bytes - size)) return size >= bytes;
  // Random bytes, which no file system can compress.
  const chunk = randomBytes(chunkBytes);
  for (let left = bytes - size; left > 0; left -= chunkBytes)
    await file.write(chunk, 0, Math.min(left, chunkBytes));
  return true;
}

/**
 * Runs an action that has to succeed on a full disk, such as a start. It repeats the action, and spends a
 * piece of the ballast each time, as long as the action fails with STORAGE_DISK_FULL. The action must be
 * repeatable.
 * @param makeRoom called once when nothing of the ballast is left; false: it freed nothing
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

/** A ballast that is refilled in the background, in the thread that spends it. */
export interface TendedBallast {
  /** Frees a piece (see {@link spendBallast}). It is refilled when there is space. */
  spend(): boolean;
  /** Fills it in the background, after `inMs`, and repeats this until it is full. */
  fillSoon(inMs: number): void;
  /** Stops filling it. */
  close(): void;
}

/**
 * Soon after a removal has freed space, before other processes take it. On a full disk, an attempt only reads
 * the free space.
 */
const refillMs = 2_000;

/**
 * Creates the keeper of a ballast: it spends the ballast on a full disk, and fills it again as soon as the
 * disk has room.
 */
export function tendBallast(ballast: Ballast): TendedBallast {
  let filling: NodeJS.Timeout | undefined;
  // A failure is retried. A full disk is reported by the calls that fail because of it.
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

/**
 * Does the same as {@link withBallast} for a synchronous action, in a thread that may block. SQLite's errors
 * about a full disk count too.
 * @param room used before the ballast
 * @throws the error of `act`, if it is another error or if nothing is left to spend
 */
export function makingRoom<T>(
  ballast: TendedBallast | undefined,
  act: () => T,
  room?: Pick<KeptRoom, 'reuseLog'>,
): T {
  for (let tries = 0; ; tries += 1)
    try {
      return act();
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      if (tries === 0 && room?.reuseLog() === true) continue;
      if (ballast?.spend() !== true) throw error;
    }
}
