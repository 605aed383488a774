import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { pluginOfBundle } from '../../test/fixtures/bundled-workers-flag.ts';
import { closeFd, listenUnix } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { openPluginEngine } from '../engine/engine.ts';
import type { PluginEngine } from '../engine/engine.ts';
import { shell, tried } from '../engine/engine.fixture.ts';
import { installPlugins } from '../cni/client/install.ts';

/**
 * Shared by the tests of the installed programs: a folder of them, a daemon's socket, and a host namespace
 * that is not the daemon's.
 */
export interface InstalledFixture {
  readonly folder: string;
  readonly binDir: string;
  readonly socket: string;
  readonly engine: PluginEngine;
  /** Pins a network namespace, and returns its path. */
  pin(name: string): string;
  inside(netns: string, command: string): string | undefined;
  /** Starts the daemon's side. Before that, and after `down`, plugins work alone. */
  up(): Promise<void>;
  down(): Promise<void>;
  /** Runs a program in the host namespace. */
  run(
    program: readonly string[],
    environment: Readonly<Record<string, string>>,
    input?: string | Buffer,
  ): Promise<Run>;
  /** Returns the number of attachments in the database. */
  attachments(): number;
  /** Returns the number of rows of each table of the database, without empty tables. */
  rows(): Readonly<Record<string, number>>;
  end(): Promise<void>;
}

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function createInstalledFixture(): InstalledFixture {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-cni-'));
  const [namespaces, binDir, data] = ['netns', 'bin', 'data'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(namespaces);
  const socket = join(folder, 'cni.sock');
  installPlugins({ binDir, socket, data, version: 'test', ...pluginOfBundle() });
  const log = createLogger({ level: 'error' });
  const engine = openPluginEngine({ databasePath: join(data, 'network.db'), log });
  let server: { close(): Promise<void> } | undefined;
  const pin = (name: string): string => {
    const path = join(namespaces, name);
    shell(`touch ${path} && unshare --net=${path} ip link set lo up`);
    return path;
  };
  const host = pin('host');
  const down = async (): Promise<void> => {
    const closing = server;
    server = undefined;
    await closing?.close();
  };
  const removeAll = (): void => {
    tried(`umount ${namespaces}/*`);
    rmSync(folder, { recursive: true, force: true });
  };
  const rows = (): Record<string, number> => {
    const db = new DatabaseSync(join(data, 'network.db'), { readOnly: true });
    try {
      const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all() as {
        name: string;
      }[];
      const counts = tables.map(
        ({ name }) =>
          [name, (db.prepare(`SELECT count(*) AS n FROM "${name}"`).get() as { n: number }).n] as const,
      );
      return Object.fromEntries(counts.filter(([, count]) => count > 0));
    } finally {
      db.close();
    }
  };
  process.once('exit', removeAll);
  return {
    folder,
    binDir,
    socket,
    engine,
    pin,
    inside: (netns, command) => tried(`nsenter --net=${netns} ${command}`),
    async up() {
      const fd = listenUnix(socket);
      const listening = await engine.servePlugins(fd);
      server = {
        async close() {
          rmSync(socket);
          closeFd(fd);
          await listening.close();
        },
      };
    },
    down,
    run([program = '', ...args], environment, input = '') {
      return new Promise((resolve, reject) => {
        const child = spawn('nsenter', [`--net=${host}`, program, ...args], {
          env: { PATH: process.env['PATH'] ?? '', ...environment },
        });
        const [out, err]: [Buffer[], Buffer[]] = [[], []];
        child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
        child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
        child.stdin.on('error', () => undefined);
        child.on('error', reject);
        child.on('close', (code) =>
          resolve({ code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
        );
        child.stdin.end(input);
      });
    },
    attachments: () => rows()['attachment'] ?? 0,
    rows,
    async end() {
      await down();
      await engine.close();
      process.off('exit', removeAll);
      removeAll();
    },
  };
}

/** Writes a network configuration list for cnitool. */
export function writeConflist(
  folder: string,
  name: string,
  cniVersion: string,
  plugins: readonly object[],
): string {
  const confDir = join(folder, `conf-${name}`);
  mkdirSync(confDir, { recursive: true });
  writeFileSync(join(confDir, '10.conflist'), JSON.stringify({ cniVersion, name, plugins }));
  return confDir;
}
