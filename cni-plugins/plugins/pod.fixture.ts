import { strict as assert } from 'node:assert';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { errorFromJson, isPortcullisError } from '../../base/errors/index.ts';
import type { SerialisedError } from '../../base/errors/index.ts';
import type { CniResult } from '../spec/result.ts';
import type { AttachmentKey } from '../spec/attachment-key.ts';

/**
 * Shared by the plugin tests: pods with their own namespaces, our plugins on the real kernel, and Debian's
 * plugins for comparison.
 */

export interface Act {
  readonly verb: 'add' | 'check' | 'del' | 'repair';
  readonly type: string;
  readonly config: string;
  readonly key: AttachmentKey;
  /** Empty when the namespace is gone. */
  readonly netns: string;
  readonly args: Readonly<Record<string, string>>;
  readonly prevResult?: CniResult;
}

export interface Answer {
  readonly result?: CniResult;
  readonly differences?: readonly string[];
  readonly failure?: SerialisedError;
  readonly fault?: string;
}

type Config = Readonly<Record<string, unknown>> & { readonly type: string };
interface Options {
  readonly prevResult?: CniResult;
  readonly args?: Readonly<Record<string, string>>;
  readonly interface?: string;
}

/** The folder of the upstream plugins that `test/peers/get cniplugins` builds: newer than Debian's. */
export const newPlugins = join(process.env['PEERS'] ?? '/var/cache/portcullis-peers', 'bin/cni');

/** The skip message of tests that need one of them; false when it is there. */
export const withoutNew = (type: string): string | false =>
  existsSync(join(newPlugins, type)) ? false : `no plugin ${type} of upstream: test/peers/get cniplugins`;

export interface TestPod {
  readonly netns: string;
  /** Runs a shell command in the pod's namespace. */
  run(command: string): string;
  add(config: Config, options?: Options): Promise<CniResult>;
  check(config: Config, options?: Options): Promise<readonly string[]>;
  repair(config: Config, options?: Options): Promise<void>;
  del(config: Config, options?: Options): Promise<void>;
  /** DEL without the pod's namespace. */
  delDead(config: Config, options?: Options): Promise<void>;
  /** Runs Debian's upstream plugin with the same configuration. */
  debian(command: 'ADD' | 'DEL' | 'CHECK', config: Config, options?: Options): CniResult | undefined;
  /** Does the same with the plugin in {@link newPlugins}. */
  upstream(command: 'ADD' | 'DEL' | 'CHECK', config: Config, options?: Options): CniResult | undefined;
  /** Ends the pod's namespace. */
  die(): void;
}

export interface Pods {
  pod(name: string): TestPod;
  end(): Promise<void>;
}

export const shell = (command: string): string =>
  execFileSync('sh', ['-c', command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** Parses the output of a command that answers in JSON (`ip -j`, `tc -j`). */
export const json = (text: string): Record<string, unknown>[] =>
  JSON.parse(text.trim() === '' ? '[]' : text) as Record<string, unknown>[];

/**
 * Returns some fields of a pod's link, its global addresses and its routes. The last number of the pod's
 * addresses is replaced, so that the states of two pods can be compared.
 */
export function stateOf(pod: TestPod, fields: readonly string[]): unknown {
  const state = [
    json(pod.run('ip -j -d link show dev eth0')).map((link) => fields.map((field) => [field, link[field]])),
    json(pod.run('ip -j addr show dev eth0')).map(({ addr_info }) =>
      (addr_info as Record<string, unknown>[])
        .filter(({ scope }) => scope === 'global')
        .map(({ local, prefixlen, broadcast }) => ({ local, prefixlen, broadcast })),
    ),
    json(pod.run('ip -j route')),
    json(pod.run('ip -j -6 route')).filter(({ dst }) => dst !== 'fe80::/64' && dst !== 'ff00::/8'),
  ];
  return JSON.parse(JSON.stringify(state).replaceAll(/(10\.20\.0\.|fd20::)[23]\b/gu, '$1X')) as unknown;
}

/** Runs a program of the upstream plugins. ADD returns its result. */
function runUpstream(
  folder: string,
  command: 'ADD' | 'DEL' | 'CHECK',
  config: Config,
  { name, netns, args = {}, ...options }: Options & { readonly name: string; readonly netns: string },
): CniResult | undefined {
  const run = spawnSync(join(folder, config.type), {
    input: JSON.stringify({
      cniVersion: '1.0.0',
      name: 'net',
      ...config,
      ...(options.prevResult === undefined
        ? {}
        : { prevResult: { cniVersion: '1.0.0', ...options.prevResult } }),
    }),
    encoding: 'utf8',
    env: {
      PATH: process.env['PATH'],
      CNI_COMMAND: command,
      CNI_CONTAINERID: name,
      CNI_NETNS: netns,
      CNI_IFNAME: options.interface ?? 'eth0',
      CNI_PATH: `${folder}:/usr/lib/cni`,
      CNI_ARGS: Object.entries(args)
        .map(([key, value]) => `${key}=${value}`)
        .join(';'),
    },
  });
  assert.equal(run.status, 0, `${run.stdout}${run.stderr}`);
  if (command !== 'ADD') return undefined;
  const { interfaces = [], ips = [], routes = [], dns = {} } = JSON.parse(run.stdout) as Partial<CniResult>;
  return { interfaces, ips, routes, dns };
}

export function openPods(): Pods {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-plugins-'));
  const worker = new Worker(new URL('./act.fixture.ts', import.meta.url));
  const waiting = new Map<number, (answer: Answer) => void>();
  let dead: string | undefined;
  worker.on('error', (thrown) => {
    dead = String(thrown);
    waiting.forEach((resolve) => resolve({ fault: String(thrown) }));
  });
  worker.on('message', ({ id, answer }: { id: number; answer: Answer }) => {
    waiting.get(id)?.(answer);
    waiting.delete(id);
  });
  let calls = 0;
  const call = async (act: Act): Promise<Answer> => {
    if (dead !== undefined) throw new Error(dead);
    const answer = await new Promise<Answer>((resolve) => {
      calls += 1;
      waiting.set(calls, resolve);
      worker.postMessage({ id: calls, act });
    });
    if (answer.failure !== undefined) throw errorFromJson(answer.failure);
    if (answer.fault !== undefined) throw new Error(answer.fault);
    return answer;
  };
  const pods: string[] = [];
  shell('ip link set lo up; sysctl -qw net.ipv6.conf.default.accept_dad=0');

  const pod = (name: string): TestPod => {
    const netns = join(folder, name);
    shell(`touch ${netns} && unshare --net=${netns} ip link set lo up`);
    pods.push(netns);
    const keyOf = (options: Options): AttachmentKey => ({
      network: 'net',
      containerId: name,
      interface: options.interface ?? 'eth0',
    });
    const actOf = (verb: Act['verb'], config: Config, options: Options, at = netns): Act => ({
      verb,
      type: config.type.replace(/^portcullis-/u, ''),
      config: JSON.stringify({ cniVersion: '1.0.0', name: 'net', ...config }),
      key: keyOf(options),
      netns: at,
      args: options.args ?? {},
      ...(options.prevResult === undefined ? {} : { prevResult: options.prevResult }),
    });
    return {
      netns,
      run: (command) => shell(`nsenter --net=${netns} ${command}`),
      async add(config, options = {}) {
        const { result } = await call(actOf('add', config, options));
        assert.ok(result !== undefined);
        return result;
      },
      check: async (config, options = {}) => (await call(actOf('check', config, options))).differences ?? [],
      repair: async (config, options = {}) => void (await call(actOf('repair', config, options))),
      del: async (config, options = {}) => void (await call(actOf('del', config, options))),
      delDead: async (config, options = {}) => void (await call(actOf('del', config, options, ''))),
      debian: (command, config, options = {}) =>
        runUpstream('/usr/lib/cni', command, config, { name, netns, ...options }),
      upstream: (command, config, options = {}) =>
        runUpstream(newPlugins, command, config, { name, netns, ...options }),
      die: () => void shell(`umount ${netns}`),
    };
  };
  return {
    pod,
    async end() {
      await worker.terminate();
      for (const netns of pods) spawnSync('umount', [netns]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Returns the code of the failure that `body` ends with. */
export async function codeOf(body: () => Promise<unknown>): Promise<string> {
  try {
    await body();
  } catch (thrown) {
    if (isPortcullisError(thrown)) return thrown.code;
    throw thrown;
  }
  return 'no failure';
}
