import { strict as assert } from 'node:assert';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { httpRequest } from '../../../base/connections/index.ts';
import { startKernelWorker } from '../../../base/kernel/index.ts';
import { createLogger } from '../../../base/log/index.ts';
import { programStarter, startReactor } from '../../../base/reactor/index.ts';
import { openPluginEngine } from '../../engine/engine.ts';
import { shell, tried } from '../../engine/engine.fixture.ts';
import { createDockerDriver } from './driver.ts';
import type { DriverVerb, ReplyOf } from '../protocol/protocol.ts';

/**
 * Shared by the tests of the remote driver: the driver on a socket, an engine that calls it as libnetwork
 * does, and the namespaces of containers.
 */

export interface Said {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

export interface DriverFixture {
  readonly folder: string;
  readonly confDir: string;
  readonly socket: string;
  /** Sends a call unchanged. */
  say(path: string, body: string): Promise<Said>;
  /** Sends a call that must succeed. */
  call<Verb extends DriverVerb>(verb: Verb, body?: object): Promise<ReplyOf<Verb>>;
  /** Sends a call that must be refused, and returns the text of `Err`. */
  refused(verb: DriverVerb, body?: object): Promise<string>;
  /** Creates a namespace like a container's, and returns its path. */
  sandbox(name: string): string;
  /**
   * Does what libnetwork does after Join: moves the link into the container, names it, assigns addresses and
   * sets it up.
   */
  enter(endpoint: Joined, sandbox: string): void;
  /** Does what libnetwork does after Leave. */
  leave(endpoint: Joined, sandbox: string): void;
  inside(sandbox: string, command: string): string | undefined;
  conflist(name: string, plugins: readonly object[]): string;
  /** Does what the driver does when it starts. */
  recover(): Promise<void>;
  /** Returns what an endpoint could leave: rows of its tables, links, pins. */
  left(): string[];
  end(): Promise<void>;
}

export interface Joined {
  readonly source: string;
  readonly addresses: readonly string[];
  readonly gateway?: string;
}

/** Sends a request as docker's plugin client does. */
export function ask(socket: string, path: string, body: string): Promise<Said> {
  return new Promise((resolve, reject) => {
    const call = httpRequest({
      socketPath: socket,
      path: `/${path}`,
      method: 'POST',
      headers: { accept: 'application/vnd.docker.plugins.v1.2+json' },
    });
    call.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          type: response.headers['content-type'] ?? '',
          text: Buffer.concat(chunks).toString(),
        }),
      );
    });
    call.on('error', reject);
    call.end(body);
  });
}

export const tables = [
  'attachment',
  'part',
  'lease',
  'host_port',
  'cnm_network',
  'cnm_endpoint',
  'cnm_pool',
  'cnm_address',
];

export function rowsOf(path: string): string[] {
  if (!existsSync(path)) return [];
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    return tables.flatMap((table) =>
      (db.prepare(`SELECT * FROM ${table}`).all() as object[]).map(
        (row) => `${table} ${JSON.stringify(row)}`,
      ),
    );
  } finally {
    db.close();
  }
}

export async function createDriverFixture(): Promise<DriverFixture> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-cnm-'));
  const at = (name: string): string => join(folder, name);
  for (const name of ['netns', 'conf']) mkdirSync(at(name));
  shell('ip link set lo up');
  const log = createLogger({ level: 'silent' });
  const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  const databasePath = at('state/network.db');
  const engine = openPluginEngine({ databasePath, log });
  const driver = createDockerDriver({
    databasePath,
    stagingDir: at('staging'),
    confDir: at('conf'),
    plugins: 'auto',
    callPlugin: engine.callPlugin,
    programs: { startProgram: programStarter(reactor, kernel), binDirs: ['/usr/lib/cni'], timeoutMs: 30_000 },
    log,
  });
  const server = createServer(driver.accept);
  const socket = at('driver.sock');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const say = (path: string, body: string): Promise<Said> => ask(socket, path, body);
  return {
    folder,
    confDir: at('conf'),
    socket,
    say,
    async call(verb, body = {}) {
      const { status, text } = await say(verb, JSON.stringify(body));
      assert.equal(status, 200, `${verb} ${JSON.stringify(body)}: ${text}`);
      return JSON.parse(text) as never;
    },
    async refused(verb, body = {}) {
      const { status, text } = await say(verb, JSON.stringify(body));
      assert.equal(status, 500, `${verb} ${JSON.stringify(body)}: ${text}`);
      return (JSON.parse(text) as { Err: string }).Err;
    },
    sandbox(name) {
      const path = at(`netns/${name}`);
      shell(`touch ${path} && unshare --net=${path} ip link set lo up`);
      return path;
    },
    enter({ source, addresses, gateway }, sandbox) {
      const inside = (command: string): string => shell(`nsenter --net=${sandbox} ${command}`);
      shell(`nsenter --net=/proc/self/ns/net ip link set ${source} netns ${sandbox} name eth0`);
      for (const address of addresses) inside(`ip address add ${address} dev eth0`);
      inside('ip link set eth0 up');
      if (gateway !== undefined) inside(`ip route add default via ${gateway}`);
    },
    leave: ({ source }, sandbox) =>
      void shell(
        `nsenter --net=${sandbox} ip link set eth0 down; nsenter --net=${sandbox} ip link set eth0 netns ${process.pid} name ${source}`,
      ),
    inside: (sandbox, command) => tried(`nsenter --net=${sandbox} ${command}`),
    conflist(name, plugins) {
      const path = at(`conf/${name}.conflist`);
      writeFileSync(path, JSON.stringify({ cniVersion: '1.0.0', name, plugins }));
      return path;
    },
    recover: driver.recover,
    left() {
      const links = shell('ip -br link show')
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('lo '));
      const pins = existsSync(at('staging')) ? readdirSync(at('staging')) : [];
      return [...rowsOf(databasePath), ...links, ...pins.map((name) => `pin ${name}`)];
    },
    async end() {
      await driver.close();
      await new Promise((resolve) => server.close(resolve));
      await engine.close();
      await Promise.all([reactor.close(), kernel.close()]);
      tried(`umount ${at('netns')}/*`);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
