import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { peers } from '../conformance/endpoint.ts';

/** The program of `test/peers/cnm-driver`. */
export const driverProgram = join(peers, 'bin/cnm-driver');

export const whyNoDriver = existsSync(driverProgram)
  ? false
  : 'no cnm-driver: build it with test/peers/get cnm-driver';

interface DriverState {
  readonly Networks: Readonly<
    Record<string, { readonly Endpoints: Readonly<Record<string, { readonly Joined: boolean }>> }>
  >;
  readonly Pools: Readonly<Record<string, { readonly Taken: Readonly<Record<string, boolean>> }>>;
}

export interface RemoteDriver {
  readonly name: string;
  /** The folder of its sockets. */
  readonly sockets: string;
  /** Returns descriptions of what it holds; empty: everything was released. */
  held(): readonly string[];
  /** Returns the verbs of its calls since the last time. */
  verbs(): readonly string[];
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** @param netns the namespace of its links: a pinned one; absent: our own */
export function createRemoteDriver(
  folder: string,
  name: string,
  { netns, delayMs = 0 }: { netns?: string; delayMs?: number } = {},
): RemoteDriver {
  const sockets = join(folder, 'plugins');
  mkdirSync(sockets, { recursive: true });
  const [state, log] = [join(folder, `${name}.json`), join(folder, `${name}.log`)];
  let child: ChildProcess | undefined;
  let read = 0;
  return {
    name,
    sockets,
    held() {
      if (!existsSync(state)) return [];
      const { Networks, Pools } = JSON.parse(readFileSync(state, 'utf8')) as DriverState;
      return [
        ...Object.entries(Networks).flatMap(([id, { Endpoints }]) => [
          `network ${id}`,
          ...Object.keys(Endpoints).map((each) => `endpoint ${each}`),
        ]),
        ...Object.entries(Pools).flatMap(([id, { Taken }]) => [
          id,
          ...Object.keys(Taken).map((each) => `address ${each}`),
        ]),
      ];
    },
    verbs() {
      const all = existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : [];
      const fresh = all.slice(read);
      read = all.length;
      return fresh.map((line) => line.replace(/ .*$/u, ''));
    },
    async start() {
      const args = [
        '--name',
        name,
        '--sockets',
        sockets,
        '--state',
        state,
        '--log',
        log,
        '--delay',
        String(delayMs),
      ];
      const [program, own] =
        netns === undefined ? [driverProgram, args] : ['nsenter', [`--net=${netns}`, driverProgram, ...args]];
      child = spawn(program, own, { stdio: ['ignore', 'ignore', 'inherit'] });
      for (let waited = 0; !existsSync(join(sockets, `${name}.sock`)); waited += 20) {
        if (waited > 20_000) throw new Error('the driver does not listen');
        await pause(20);
      }
    },
    async stop() {
      const ending = child;
      child = undefined;
      if (ending === undefined) return;
      const ended = new Promise((resolve) => ending.once('exit', resolve));
      ending.kill('SIGKILL');
      await ended;
      for (const socket of [`${name}.sock`, `${name}-ipam.sock`])
        rmSync(join(sockets, socket), { force: true });
    },
  };
}
