/** A thread's side of the orders: counts the calls of points, and finds the call that must fail. */
import { appendFileSync, closeSync, openSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { getSystemErrorMessage } from 'node:util';
import { isMainThread, threadName } from 'node:worker_threads';
import { firedFile, generationDigits, hitsFile, ordersFile, ordersSize, threadVariable } from './orders.ts';
import type { Fault, Orders } from './orders.ts';

// Bound before they are replaced.
const [append, close, open, read] = [appendFileSync, closeSync, openSync, readSync];

export const ownThread = isMainThread ? (process.env[threadVariable] ?? 'main') : (threadName ?? 'worker');

export interface Points {
  /** Counts a call. @returns the fault of this call, if it has one */
  pass(point: string, subject: string): Fault | undefined;
}

export function openPoints(folder: string): Points {
  const fd = open(ordersFile(folder), 'r');
  const buffer = Buffer.alloc(ordersSize);
  const counts = new Map<string, number>();
  let known = '';
  let orders: Orders = { mode: 'off' };
  /** Calls that this side makes itself are not fault points. */
  let isInside = false;

  const refresh = (): void => {
    read(fd, buffer, 0, ordersSize, 0);
    const generation = buffer.toString('latin1', 0, generationDigits);
    if (generation === known) return;
    orders = JSON.parse(buffer.toString('utf8', generationDigits)) as Orders;
    known = generation;
    counts.clear();
  };
  const isFirst = (): boolean => {
    try {
      const mark = open(firedFile(folder, Number(known)), 'wx', 0o600);
      append(mark, `${ownThread}\n`);
      close(mark);
      return true;
    } catch {
      return false;
    }
  };
  const look = (point: string, subject: string): Fault | undefined => {
    refresh();
    if (orders.mode === 'off') return undefined;
    if (orders.mode === 'record') {
      append(
        hitsFile(folder),
        `${JSON.stringify({ thread: ownThread, point, subject: subject.slice(0, 200) })}\n`,
      );
      return undefined;
    }
    const { fault } = orders;
    if (fault.thread !== ownThread || fault.point !== point) return undefined;
    const count = (counts.get(point) ?? 0) + 1;
    counts.set(point, count);
    return count === fault.nth && isFirst() ? fault : undefined;
  };
  return {
    pass(point, subject) {
      if (isInside) return undefined;
      isInside = true;
      try {
        return look(point, subject);
      } finally {
        isInside = false;
      }
    },
  };
}

export function sleepHere(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Ends this process as a loss of power or the kernel does. */
export function killProcess(): never {
  process.kill(process.pid, 'SIGKILL');
  for (;;) sleepHere(1_000);
}

/** Ends this Worker at once, so that it runs no more code. */
export function endThread(): never {
  process.exit(1);
}

export function errnoOf(name: string): number {
  return (constants.errno as Partial<Record<string, number>>)[name] ?? constants.errno.EIO;
}

/** Returns an error of node:fs. */
export function fileError(code: string, syscall: string, path: string): Error {
  const errno = errnoOf(code);
  const said = `${code}: ${getSystemErrorMessage(-errno)}, ${syscall}${path === '' ? '' : ` '${path}'`}`;
  return Object.assign(new Error(said), { errno: -errno, code, syscall, ...(path !== '' && { path }) });
}

/** Returns an error of node:sqlite. */
export function databaseError(result: number): Error {
  const said =
    (result & 0xff) === 13
      ? 'database or disk is full'
      : (result & 0xff) === 5
        ? 'database is locked'
        : 'disk I/O error';
  return Object.assign(new Error(said), { code: 'ERR_SQLITE_ERROR', errcode: result, errstr: said });
}

/** Calls with the fault that the point has. @param undo runs after a call whose result no caller gets */
export function withFault<T>(
  fault: Fault | undefined,
  call: () => T,
  fail: (error: string) => T,
  undo: (result: T) => void = () => undefined,
): T {
  if (fault === undefined) return call();
  if (fault.kind === 'delay') sleepHere(fault.delayMs);
  if (fault.kind === 'delay') return call();
  if (fault.kind === 'error') return fail(fault.error);
  if (fault.kind === 'kill') killProcess();
  if (fault.kind === 'end') endThread();
  const result = call();
  if (fault.kind === 'kill-after') killProcess();
  if (fault.kind === 'end-after') endThread();
  undo(result);
  return fail(fault.error);
}

/** The same for a call that resolves later: a delay blocks no other call. */
export async function withLaterFault<T>(
  fault: Fault | undefined,
  call: () => Promise<T>,
  fail: (error: string) => Error,
  undo: (result: T) => Promise<void> = () => Promise.resolve(),
): Promise<T> {
  if (fault === undefined) return call();
  if (fault.kind === 'delay') await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
  if (fault.kind === 'delay') return call();
  if (fault.kind === 'error') throw fail(fault.error);
  if (fault.kind === 'kill') killProcess();
  if (fault.kind === 'end') endThread();
  const result = await call();
  if (fault.kind === 'kill-after') killProcess();
  if (fault.kind === 'end-after') endThread();
  await undo(result);
  throw fail(fault.error);
}
