/**
 * Loaded before the daemon (`NODE_OPTIONS=--import=…/inject.ts`), and so in each of its threads: puts a fault
 * point at every function through which the product writes, starts programs, mounts and sends: node:fs,
 * node:sqlite, node:child_process, and the functions of glibc that base/kernel binds. The product itself
 * contains no fault points, and a new write gets one without any additional code.
 */
import childProcess from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { DatabaseSync } from 'node:sqlite';
import { parentPort } from 'node:worker_threads';
import { koffi as loadKoffi } from '../../../base/process/index.ts';
import { errorsOf, lookUpThread, readErrorsOf } from './kinds.ts';
import { folderVariable, threadVariable } from './orders.ts';
import {
  databaseError,
  endThread,
  errnoOf,
  fileError,
  killProcess,
  openPoints,
  sleepHere,
  withFault,
  withLaterFault,
} from './thread.ts';
import type { Points } from './thread.ts';

// Loaded as the product loads it: a thread that is ended during the load aborts the whole daemon.
const koffi = loadKoffi();

type Call = (this: unknown, ...values: unknown[]) => unknown;
type Calls = Record<string, unknown>;

const ordered = process.env[folderVariable] ?? '';
const points: Points = ordered === '' ? { pass: () => undefined } : openPoints(ordered);
const textOf = (value: unknown): string =>
  typeof value === 'string' ? value : typeof value === 'number' ? `fd ${value}` : '';

/** Functions of node:fs that change or read something, by their names in node:fs/promises. */
const wrapped = Object.keys({ ...errorsOf, ...readErrorsOf })
  .filter((point) => point.startsWith('fs.'))
  .map((point) => point.slice('fs.'.length));

/** `open` is a fault point when the file is opened for writing. */
function opensToWrite(flags: unknown): boolean {
  if (typeof flags === 'number')
    return (flags & (fs.constants.O_WRONLY | fs.constants.O_RDWR | fs.constants.O_CREAT)) !== 0;
  return typeof flags === 'string' && !/^rs?$/.test(flags);
}

const pointOfFile = (name: string, values: readonly unknown[]): string =>
  name === 'open' && !opensToWrite(values[1] ?? 'r') ? 'fs.openToRead' : `fs.${name}`;

/** Node reads the program through the same functions. */
const isProgram = (name: string, values: readonly unknown[]): boolean =>
  pointOfFile(name, values) in readErrorsOf &&
  (values[0] instanceof URL || /\/(?:dist|node_modules)\//.test(textOf(values[0])));

function injectSync(name: string): void {
  const owner = fs as unknown as Calls;
  const real = owner[`${name}Sync`] as Call | undefined;
  if (real === undefined) return;
  owner[`${name}Sync`] = function faulty(this: unknown, ...values: unknown[]): unknown {
    if (isProgram(name, values)) return real.apply(this, values);
    const path = textOf(values[0]);
    const fail = (error: string): never => {
      throw fileError(error, name, path);
    };
    return withFault<unknown>(
      points.pass(pointOfFile(name, values), path),
      () => real.apply(this, values),
      fail,
    );
  };
}

const ofHandles = [
  'write',
  'writev',
  'writeFile',
  'appendFile',
  'truncate',
  'sync',
  'datasync',
  'chmod',
  'chown',
  'utimes',
];

/** Writes through a FileHandle have the points of the functions that take a path. */
function injectHandle(handle: fs.promises.FileHandle, path: string): void {
  const methods = handle as unknown as Calls;
  for (const name of ofHandles) {
    const real = methods[name] as Call;
    const point = `fs.${name === 'writev' ? 'write' : name}`;
    Object.defineProperty(handle, name, {
      value: (...values: unknown[]) =>
        withLaterFault(
          points.pass(point, path),
          () => real.apply(handle, values) as Promise<unknown>,
          (error) => fileError(error, name, path),
        ),
    });
  }
}

function injectLater(name: string): void {
  const owner = fs.promises as unknown as Calls;
  const real = owner[name] as Call | undefined;
  if (real === undefined) return;
  owner[name] = async (...values: unknown[]): Promise<unknown> => {
    const path = textOf(values[0]);
    const call = (): Promise<unknown> => real(...values) as Promise<unknown>;
    const fault = points.pass(pointOfFile(name, values), path);
    const result = await withLaterFault(fault, call, (error) => fileError(error, name, path));
    if (name === 'open') injectHandle(result as fs.promises.FileHandle, path);
    return result;
  };
}

/** `fs.write`, the callback form: the log is written with it. */
function injectWrite(): void {
  const owner = fs as unknown as Calls;
  const real = owner['write'] as Call;
  owner['write'] = (...values: unknown[]): unknown => {
    const fault = points.pass('fs.write', textOf(values[0]));
    if (fault?.kind === 'delay') return setTimeout(() => real(...values), fault.delayMs);
    const fail = (error: string): unknown =>
      setImmediate(() => (values.at(-1) as Call)(fileError(error, 'write', '')));
    return withFault<unknown>(
      fault?.kind === 'after' ? { ...fault, kind: 'error' } : fault,
      () => real(...values),
      fail,
    );
  };
}

/**
 * `exec` of node:sqlite is identified by its first word; statements that end or open a savepoint never fail.
 */
function injectDatabase(): void {
  const database = DatabaseSync.prototype as unknown as Calls;
  const exec = database['exec'] as Call;
  const fail = (error: string): never => {
    throw databaseError(Number(error));
  };
  database['exec'] = function faulty(this: unknown, sql: unknown): unknown {
    const word = /^\s*(\w+)/.exec(textOf(sql))?.[1]?.toUpperCase() ?? '';
    const point = `sqlite.${word}`;
    return withFault(
      errorsOf[point] === undefined ? undefined : points.pass(point, textOf(sql)),
      () => exec.call(this, sql),
      fail,
    );
  };
  const prepare = database['prepare'] as Call;
  let isKnown = false;
  database['prepare'] = function known(this: unknown, ...values: unknown[]): unknown {
    const statement = prepare.apply(this, values);
    if (!isKnown) injectStatements(Object.getPrototypeOf(statement) as Calls, fail);
    isKnown = true;
    return statement;
  };
}

function injectStatements(statements: Calls, fail: (error: string) => never): void {
  for (const name of ['run', 'all']) {
    const real = statements[name] as Call;
    statements[name] = function faulty(this: { readonly sourceSQL?: string }, ...values: unknown[]): unknown {
      const sql = this.sourceSQL ?? '';
      // A query changes nothing.
      if (/^\s*(?:SELECT|PRAGMA|WITH)\b/i.test(sql)) return real.apply(this, values);
      return withFault(points.pass(`sqlite.${name}`, sql.slice(0, 80)), () => real.apply(this, values), fail);
    };
  }
}

/** Node starts a program through the handle of its ChildProcess, which answers with an errno. */
function injectSpawn(): void {
  const prototype = childProcess.ChildProcess.prototype as unknown as Calls;
  const real = prototype['spawn'] as Call;
  prototype['spawn'] = function faulty(this: { _handle: { spawn: unknown } }, ...values: unknown[]): unknown {
    const file = textOf((values[0] as { readonly file?: unknown }).file);
    const fault = points.pass('spawn', file);
    if (fault?.kind === 'error')
      Object.defineProperty(this._handle, 'spawn', { value: () => -errnoOf(fault.error) });
    return withFault(
      fault?.kind === 'error' ? undefined : fault,
      () => real.apply(this, values),
      () => real.apply(this, values),
    );
  };
}

/** Functions of glibc that return an errno; all others return -1 and set it. */
const answersErrno = /^posix_spawn$/;
const AF_NETLINK = 16;
/** syscall(2) by number, if the point has another name than `syscall`: pidfd_open. */
const bySystemCall: Readonly<Record<number, string>> = { 434: 'pidfd_open', 437: 'openat2' };
const netlinkSockets = new Set<number>();
/** Sockets whose next answer is lost. */
const unanswered = new Set<number>();

function pointOf(name: string, values: readonly unknown[]): string | undefined {
  if (name === 'send' || name === 'sendto' || name === 'sendmmsg')
    return netlinkSockets.has(Number(values[0])) ? 'netlink.send' : 'socket.send';
  if (name === 'syscall') return bySystemCall[Number(values[0])];
  return name in errorsOf || name in readErrorsOf ? name : undefined;
}

/** A process that resolves paths gets its own environment: the points are added to it. */
function letLookUpsIn(values: readonly unknown[]): void {
  const [argv, environment] = [values[4] as unknown[], values[5] as unknown[]];
  if (!String(argv[0]).startsWith('portcullis-look-up')) return;
  const more = [
    `NODE_OPTIONS=${process.env['NODE_OPTIONS'] ?? ''}`,
    `${folderVariable}=${ordered}`,
    `${threadVariable}=${lookUpThread}`,
  ];
  environment.unshift(...more.map((text) => (typeof argv[0] === 'string' ? text : Buffer.from(`${text}\0`))));
}

function injectFunction(name: string, real: Call): Call {
  const failed = (error: string): number => {
    const errno = errnoOf(error);
    if (answersErrno.test(name)) return errno;
    koffi.errno(errno);
    return -1;
  };
  return (...values) => {
    if (name === 'epoll_wait' && points.pass('epoll_wait', '')?.kind === 'end')
      throw new Error('this thread ends by a fault');
    if (name === 'recv' && unanswered.delete(Number(values[0]))) {
      real(...values);
      return failed('ENOBUFS');
    }
    const point = pointOf(name, values);
    if (name === 'posix_spawn') letLookUpsIn(values);
    const fault =
      point === undefined
        ? undefined
        : points.pass(point, values.filter((value) => typeof value === 'string').join(' '));
    if (fault?.kind === 'after' && point === 'netlink.send') {
      // The kernel carries out the request, and its answer finds no room: netlink(7), ENOBUFS.
      unanswered.add(Number(values[0]));
      return real(...values);
    }
    const result = withFault<unknown>(fault, () => real(...values), failed);
    if (name === 'socket' && values[0] === AF_NETLINK && typeof result === 'number')
      netlinkSockets.add(result);
    if (name === 'close') for (const set of [netlinkSockets, unanswered]) set.delete(Number(values[0]));
    return result;
  };
}

/** A call in libuv's pool: its last argument is called back with an error and a result. */
function injectApart(name: string, real: Call): Call {
  return (...values) => {
    const point = pointOf(name, values);
    const fault = point === undefined ? undefined : points.pass(point, '');
    if (fault?.kind === 'delay') return setTimeout(() => real(...values), fault.delayMs);
    if (fault?.kind === 'error') return setImmediate(() => (values.at(-1) as Call)(null, -1));
    return withFault<unknown>(
      fault,
      () => real(...values),
      () => undefined,
    );
  };
}

function injectKernel(): void {
  const owner = koffi as unknown as {
    load: (...values: unknown[]) => { func: (...values: unknown[]) => unknown };
  };
  const load = owner.load;
  owner.load = (...given) => {
    const library = load(...given);
    if (given[0] !== 'libc.so.6') return library;
    const func = library.func.bind(library);
    // Its properties cannot be replaced; the product calls nothing else of it.
    return {
      func: (...values) => {
        const bound = func(...values) as Call & { readonly async: Call };
        const name = textOf(values[0]);
        return Object.assign(injectFunction(name, bound), { async: injectApart(name, bound.async) });
      },
    };
  };
}

/** A Worker that receives a message may be late with it, or end instead. */
function injectMessages(): void {
  const port = parentPort as unknown as Calls | null;
  if (port === null) return;
  const on = port['on'] as Call;
  port['on'] = function faulty(this: unknown, event: unknown, listener: unknown): unknown {
    if (event !== 'message') return on.call(this, event, listener);
    return on.call(this, event, (...values: unknown[]) => {
      const fault = points.pass('message', '');
      if (fault?.kind === 'end') endThread();
      if (fault?.kind === 'kill') killProcess();
      if (fault?.kind === 'delay') sleepHere(fault.delayMs);
      return (listener as Call)(...values);
    });
  };
}

if (ordered !== '') {
  for (const name of wrapped) {
    injectSync(name);
    injectLater(name);
  }
  injectWrite();
  injectDatabase();
  injectSpawn();
  injectKernel();
  injectMessages();
  syncBuiltinESMExports();
}
