import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '../../base/log/index.ts';
import type { CniResult } from '../spec/result.ts';
import { openPluginEngine } from '../engine/engine.ts';
import type { PluginEngine } from '../engine/engine.ts';
import { shell, tried } from '../engine/engine.fixture.ts';
import type { PluginCall } from '../calls/plugin-call.ts';

/**
 * Shared by the tests of plugin calls: namespaces of pods, and chains that run on them as a runtime runs
 * them.
 */

export interface PluginFixture {
  readonly folder: string;
  readonly databasePath: string;
  readonly engine: PluginEngine;
  /** Creates a network namespace, and returns the path of its pin. */
  pin(name: string): string;
  /** Runs a shell command in it. Returns undefined if it failed. */
  inside(netns: string, command: string): string | undefined;
  /** Sends one call. The name of the network is added to the configuration. */
  call(
    verb: PluginCall['verb'],
    conf: Conf,
    of: Of,
    more?: Partial<PluginCall>,
  ): Promise<CniResult | undefined>;
  /** Runs ADD of every plugin in turn. */
  add(chain: readonly Conf[], of: Of): Promise<CniResult>;
  del(chain: readonly Conf[], of: Of): Promise<void>;
  /** Runs CHECK of every plugin in turn, and of all at once. */
  check(chain: readonly Conf[], of: Of, result: CniResult | undefined): Promise<void>;
  checkAtOnce(
    chain: readonly Conf[],
    of: Of,
    result: CniResult | undefined,
    more?: Partial<PluginCall>,
  ): Promise<void>;
  end(): Promise<void>;
}

export type Conf = Readonly<Record<string, unknown>> & { readonly type: string };

export interface Of {
  readonly id: string;
  readonly netns: string;
  readonly name?: string;
  readonly network?: string;
}

export const bridgeConf = (more: Record<string, unknown> = {}): Conf => ({
  type: 'portcullis-bridge',
  bridge: 'br0',
  isDefaultGateway: true,
  ipMasq: true,
  ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.90.0.0/24' }], [{ subnet: 'fd00:90::/64' }]] },
  ...more,
});

export const portmapConf = (...portMappings: readonly object[]): Conf => ({
  type: 'portcullis-portmap',
  runtimeConfig: { portMappings },
});

/** @param given an existing database */
export function createPluginFixture(given?: string): PluginFixture {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-plugins-'));
  const namespaces = join(folder, 'netns');
  mkdirSync(namespaces);
  shell('ip link set lo up');
  const databasePath = given ?? join(folder, 'state', 'network.db');
  const engine = openPluginEngine({ databasePath, log: createLogger({ level: 'error' }) });
  const callOf = (
    ...[verb, conf, { id, netns, name = 'eth0', network = 'net' }, more = {}]: Parameters<
      PluginFixture['call']
    >
  ): PluginCall => ({
    verb,
    type: conf.type,
    caller: {},
    key: { network, containerId: id, interface: name },
    netns,
    args: {},
    path: [],
    config: JSON.stringify({ cniVersion: '1.1.0', name: network, ...conf }, null, 2),
    ...more,
  });
  const call: PluginFixture['call'] = (...values) => engine.callPlugin(callOf(...values));
  return {
    folder,
    databasePath,
    engine,
    pin(name) {
      const path = join(namespaces, name);
      shell(`touch ${path} && unshare --net=${path} true`);
      return path;
    },
    inside: (netns, command) => tried(`nsenter --net=${netns} ${command}`),
    call,
    async add(chain, of) {
      let prevResult: CniResult | undefined;
      for (const conf of chain)
        prevResult = await call('add', conf, of, prevResult === undefined ? {} : { prevResult });
      if (prevResult === undefined) throw new Error('the chain is empty');
      return prevResult;
    },
    async del(chain, of) {
      for (const conf of chain.toReversed()) await call('del', conf, of);
    },
    async check(chain, of, result) {
      for (const conf of chain)
        await call('check', conf, of, result === undefined ? {} : { prevResult: result });
      await this.checkAtOnce(chain, of, result);
    },
    async checkAtOnce(chain, of, result, more = {}) {
      const added = result === undefined ? more : { ...more, prevResult: result };
      await engine.checkPlugins(chain.map((conf) => callOf('check', conf, of, added)));
    },
    async end() {
      await engine.close();
      tried(`umount ${namespaces}/*`);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
