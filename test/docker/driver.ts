import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { accepts } from '../fixtures/accepts.ts';
import { portcullisCommand } from '../fixtures/command.ts';

/**
 * `portcullis network docker-driver` as a separate process. A docker in the same namespaces finds it as
 * `portcullis`.
 */
export interface Driver {
  readonly socket: string;
  up(): Promise<void>;
  down(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null>;
  pid(): number;
  isUp(): boolean;
  log(): string;
}

export interface DriverOptions {
  readonly folder: string;
  readonly confDir: string;
  readonly binDir?: string;
  readonly flags?: readonly string[];
}

const patience = 60_000;

export function driverIn({ folder, confDir, binDir = '/usr/lib/cni', flags = [] }: DriverOptions): Driver {
  const at = (name: string): string => join(folder, name);
  mkdirSync(folder, { recursive: true });
  const socket = '/run/docker/plugins/portcullis.sock';
  const [program = '', ...words] = portcullisCommand;
  let child: ChildProcess | undefined;
  const kill = (): void => void child?.kill('SIGKILL');
  process.once('exit', kill);
  const log = (): string => readFileSync(at('driver.log'), 'utf8');
  const isUp = (): boolean => child !== undefined && child.exitCode === null && child.signalCode === null;
  return {
    socket,
    isUp,
    log,
    pid: () => child?.pid ?? 0,
    async up() {
      const output = openSync(at('driver.log'), 'a');
      const places = [
        '--socket',
        socket,
        '--root',
        at('root'),
        '--state',
        at('state'),
        '--conf-dir',
        confDir,
        '--bin-dir',
        binDir,
      ];
      child = spawn(program, [...words, 'network', 'docker-driver', ...places, ...flags], {
        stdio: ['ignore', output, output],
      });
      closeSync(output);
      for (const late = performance.now() + patience; !(await accepts(socket)); await pause(20))
        if (!isUp() || performance.now() > late) throw new Error(`the driver does not listen\n${log()}`);
    },
    async down(signal) {
      if (child === undefined || !isUp()) return child?.exitCode ?? null;
      const ended = once(child, 'exit') as Promise<[number | null]>;
      child.kill(signal);
      return (await ended)[0];
    },
  };
}
