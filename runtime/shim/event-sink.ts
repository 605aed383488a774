import { readFileSync } from 'node:fs';
import { chmod, readdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { failure, meansGone } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { processIdentity, sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { endProcessesWithArgument, signalProcess } from '../processes/processes.ts';
import { eventSinkProgram } from './event-sink-program.ts';

/** The service to which all shims of a node send their events. Its process outlives the daemon. */
export interface EventSink {
  /** Absolute path of its socket. */
  readonly socket: string;
  /**
   * Starts the process unless it runs.
   * @throws PortcullisError SHIM_EVENTS_UNSERVED
   */
  ensure(): Promise<void>;
  /** Ends the process if no pod has a shim. @returns whether no pod has one */
  close(): Promise<boolean>;
}

const longestSocketPath = 107;
const startMs = 5_000;
const SIGKILL = 9;

/**
 * Opens the event sink of a daemon.
 * @param stateDir the state folder of the daemon
 * @param shims the folder of pods that have a shim
 */
export function openEventSink(startProgram: StartProgram, stateDir: string, shims: string): EventSink {
  const inside = (name: string): string => join(stateDir, `shim-events${name}`);
  const [socket, program, record] = [inside('.sock'), inside(''), inside('.json')];
  const running = (): ProcessIdentity | undefined => {
    try {
      const identity = parseJson(readFileSync(record, 'utf8')) as ProcessIdentity;
      return sameProcess(identity) ? identity : undefined;
    } catch (cause) {
      // Not written yet, or not to its end.
      if (meansGone(cause) || cause instanceof SyntaxError) return undefined;
      throw cause;
    }
  };
  const start = async (): Promise<void> => {
    if (running() !== undefined && (await answers(socket))) return;
    await end();
    if (Buffer.byteLength(socket) > longestSocketPath) throw unserved(socket, 'its path is too long');
    const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
    await rm(program, { force: true });
    await writeFile(program, eventSinkProgram(socket, machine), { mode: 0o700 });
    await chmod(program, 0o700);
    const child = await startProgram({
      path: program,
      argv: [program],
      env: {},
      descriptors: [null, null, null],
    });
    const identity = processIdentity(child.pid);
    await writeFile(record, JSON.stringify(identity), { mode: 0o600 });
    for (let waited = 0; waited < startMs; waited += 10) {
      if (await answers(socket)) return;
      if (running() === undefined) break;
      await pause(10);
    }
    throw unserved(socket, 'the process that serves it ended');
  };
  const end = async (): Promise<void> => {
    const identity = running();
    if (identity !== undefined) signalProcess(identity, SIGKILL);
    // One that a killed daemon started and did not record has its own path among its arguments.
    await endProcessesWithArgument(program);
    for (const file of [socket, record, program]) await rm(file, { force: true });
  };
  let last: Promise<void> = Promise.resolve();
  return {
    socket,
    ensure: () => (last = last.catch(() => undefined).then(start)),
    close: async () => {
      await last.catch(() => undefined);
      const isIdle = await readdir(shims).then((names) => names.length === 0, meansGone);
      if (isIdle) await end();
      return isIdle;
    },
  };
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function unserved(socket: string, why: string): Error {
  return failure(
    'SHIM_EVENTS_UNSERVED',
    'precondition',
    'serve the events of shims at',
    socket,
    why,
    'use a state folder with a shorter path that is not mounted noexec',
  );
}
