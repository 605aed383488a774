import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { strict as assert } from 'node:assert';
import { after, test } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import { flagsOfSources } from '../../test/fixtures/bundled-workers-flag.ts';
import type { AttachRequest, NetworkEngine } from '../types.ts';
import { createNetworkEngine } from './engine.ts';
import type { NetworkEngineOptions } from './engine.ts';

/**
 * Shared by the tests on the real kernel: a network and mount namespace of their own, pods to attach, and
 * programs in them.
 */

const marker = 'PORTCULLIS_TEST_NETNS';
/** On an emulated machine (test/vm) everything takes longer. */
const patience = process.env['IN_VM'] === undefined ? 1 : 15;

/**
 * Runs the test file again inside namespaces of its own, as one test of the outer run. Returns true inside.
 * @param file the caller's `import.meta.filename`
 */
export function inPrivateNetns(file: string, timeoutMs = 180_000): boolean {
  if (process.env[marker] === file) return true;
  test(`in a network namespace of its own: ${file.split('/').at(-1)}`, () => {
    const { NODE_TEST_CONTEXT: _outer, ...environment } = process.env;
    const command = [process.execPath, ...flagsOfSources(), '--test-force-exit', file];
    const run = spawnSync('unshare', ['--net', '--mount', '--propagation', 'private', ...command], {
      env: { ...environment, [marker]: file },
      encoding: 'utf8',
      timeout: timeoutMs * patience,
    });
    assert.deepEqual([run.status, run.signal], [0, null], `${run.signal ?? ''}${run.stdout}${run.stderr}`);
  });
  return false;
}

/** Returns the output of a shell command, or undefined if it failed. */
export function tried(command: string): string | undefined {
  const run = spawnSync('sh', ['-c', command], { encoding: 'utf8' });
  return run.status === 0 ? run.stdout : undefined;
}

export const shell = (command: string): string => execFileSync('sh', ['-c', command], { encoding: 'utf8' });

export interface Pod {
  readonly request: AttachRequest;
  /** Runs a shell command in the pod's network namespace. Returns undefined if it failed. */
  run(command: string): string | undefined;
}

export interface Fixture {
  readonly folder: string;
  readonly confDir: string;
  readonly databasePath: string;
  engine(more?: Partial<NetworkEngineOptions>): Promise<NetworkEngine>;
  pod(name: string, more?: Partial<AttachRequest>): Pod;
  /** Starts a program that runs until the fixture ends. */
  start(command: string, ...args: string[]): ChildProcess;
  /** Returns the rows of a query of the network's database: the values of each row, joined by spaces. */
  rows(sql: string): string[];
  /** Returns the kernel state that an attachment could leave behind. */
  kernelState(): string;
  end(): void;
}

export const conflist = (more: Record<string, unknown> = {}): object => ({
  cniVersion: '1.0.0',
  name: 'pods',
  plugins: [
    {
      type: 'bridge',
      bridge: 'cni0',
      isDefaultGateway: true,
      ipMasq: true,
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]] },
      ...more,
    },
    { type: 'portmap', capabilities: { portMappings: true } },
    { type: 'loopback' },
  ],
});

export function createFixture(configuration: object = conflist()): Fixture {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-network-'));
  const confDir = join(folder, 'conf');
  const namespaces = join(folder, 'netns');
  mkdirSync(confDir);
  mkdirSync(namespaces);
  writeFileSync(join(confDir, '10-pods.conflist'), JSON.stringify(configuration));
  shell('ip link set lo up');
  const children: ChildProcess[] = [];
  const databasePath = join(folder, 'state', 'network.db');
  const end = (): void => {
    process.off('exit', end);
    for (const child of children) child.kill('SIGKILL');
    tried(`umount ${namespaces}/*`);
    rmSync(folder, { recursive: true, force: true });
  };
  // A failed test must leave nothing behind either.
  process.on('exit', end);
  return {
    folder,
    confDir,
    databasePath,
    engine: (more = {}) =>
      createNetworkEngine({
        databasePath,
        confDir,
        policyDir: join(folder, 'policies'),
        log: createLogger({ level: 'error' }),
        ...more,
      }),
    pod(name, more = {}) {
      const netns = join(namespaces, name);
      shell(`touch ${netns} && unshare --net=${netns} true`);
      const request = {
        id: name.padEnd(64, '0'),
        netns,
        pod: { name, namespace: 'default', uid: name },
        portMappings: [],
        ...more,
      };
      return { request, run: (command) => tried(`nsenter --net=${netns} ${command}`) };
    },
    start(command, ...args) {
      const child = spawn(command, args, { stdio: 'ignore' });
      children.push(child);
      return child;
    },
    rows(sql) {
      const db = new DatabaseSync(databasePath, { readOnly: true, timeout: 5000 });
      try {
        return db
          .prepare(sql)
          .all()
          .map((row) => Object.values(row).join(' '));
      } finally {
        db.close();
      }
    },
    kernelState() {
      const rules = shell('nft list ruleset').replaceAll(/packets \d+ bytes \d+/gu, '');
      // A bridge notices the end of its last port a moment later, so its carrier is not compared.
      const links = shell('ip -o link; ip -o address; ip route')
        .replaceAll(/^\d+: /gmu, '')
        .replaceAll(/NO-CARRIER,|,LOWER_UP| state \w+| linkdown/gu, '');
      return `${links}${rules}`;
    },
    end,
  };
}

/** Starts a fixture with an engine for all tests of a file. Both end after the last test. */
export async function startFixture(
  configuration?: object,
): Promise<{ readonly fixture: Fixture; readonly engine: NetworkEngine }> {
  const fixture = createFixture(configuration);
  try {
    const engine = await fixture.engine();
    after(async () => {
      await engine.close({ removeAll: true });
      fixture.end();
    });
    return { fixture, engine };
  } catch (thrown) {
    fixture.end();
    throw thrown;
  }
}

/** Repeats the attempt until its value is defined. */
export async function eventually<T>(attempt: () => T | undefined, withinMs = 15_000): Promise<T> {
  for (const deadline = Date.now() + withinMs * patience; ;) {
    const result = attempt();
    if (result !== undefined) return result;
    if (Date.now() > deadline) assert.fail('it did not come to pass in time');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
