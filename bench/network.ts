/**
 * `npm run bench:network [-- --rounds N]`: compares one pod's attachment by our engine in process with the
 * upstream Go plugins of /usr/lib/cni (or CNI_BIN) by exec, in one run: attach, CHECK and detach of loopback,
 * a masqueraded bridge and a TCP host port. Runs in its own namespaces. Prints figures of all rounds, and of
 * the first hundred alone: until then V8 has not compiled much of the engine's code.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openPipe, pidfdOpen, pollIn, reapProcess, spawnProcess } from '../base/kernel/index.ts';
import { createLogger } from '../base/log/index.ts';
import { createNetworkEngine, installPlugins } from '../cni-plugins/index.ts';
import type { PluginCall } from '../cni-plugins/index.ts';
import { favourMainThread } from '../runtime/main-thread.ts';
import { percentile } from './samples.ts';

if (process.env['PORTCULLIS_BENCH_APART'] === undefined) {
  const run = spawnSync(
    'unshare',
    [
      '--net',
      '--mount',
      '--propagation',
      'private',
      process.execPath,
      import.meta.filename,
      ...process.argv.slice(2),
    ],
    {
      stdio: 'inherit',
      env: { ...process.env, PORTCULLIS_BENCH_APART: '1' },
    },
  );
  process.exit(run.status ?? 1);
}

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '1000' }, 'go-rounds': { type: 'string', default: '8' } },
});
const goFolder = process.env['CNI_BIN'] ?? '/usr/lib/cni';
const folder = mkdtempSync(join(tmpdir(), 'portcullis-bench-network-'));
const shell = (command: string): void =>
  void run('/bin/sh', ['sh', '-c', command], { PATH: process.env['PATH'] }, null);
shell('ip link set lo up');
let pins = 0;
const pin = (): string => {
  pins += 1;
  const path = join(folder, 'netns', String(pins));
  mkdirSync(join(folder, 'netns'), { recursive: true });
  shell(`touch ${path} && unshare --net=${path} true`);
  return path;
};
const unpin = (path: string): void => shell(`umount ${path}; rm ${path}`);

const samples = new Map<string, number[]>();
const timed = async <T>(what: string, act: () => Promise<T> | T): Promise<T> => {
  const begin = performance.now();
  const result = await act();
  samples.set(what, [...(samples.get(what) ?? []), performance.now() - begin]);
  return result;
};

const bridge = {
  type: 'bridge',
  bridge: 'bench0',
  isDefaultGateway: true,
  ipMasq: true,
  ipam: { type: 'host-local', dataDir: join(folder, 'go-leases'), ranges: [[{ subnet: '10.77.0.0/16' }]] },
};
const portMappings = [{ hostPort: 18_080, containerPort: 80, protocol: 'tcp' }] as const;
const chain = [
  { type: 'loopback' },
  bridge,
  { type: 'portmap', capabilities: { portMappings: true }, runtimeConfig: { portMappings } },
];

const confDir = join(folder, 'conf');
mkdirSync(confDir);
writeFileSync(
  join(confDir, '10.conflist'),
  JSON.stringify({
    cniVersion: '1.0.0',
    name: 'bench',
    plugins: chain.toSpliced(0, 1).concat(chain[0] ?? []),
  }),
);
// As in the daemon, whose main thread gets its turn at once when the engine's thread answers.
favourMainThread(createLogger({ level: 'error' }));
const engine = await createNetworkEngine({
  databasePath: join(folder, 'state', 'network.db'),
  confDir,
  log: createLogger({ level: 'error' }),
});

/**
 * How long a pod lives at least: what the kernel still does after its attach (a carrier comes up) is not part
 * of its detach.
 */
const lifeMs = 5;

/** Pods of our own runtime. */
for (let round = 0; round < Number(values.rounds); round += 1) {
  const [id, netns] = [`pod-${round}`, pin()];
  const request = {
    id,
    netns,
    pod: { name: id, namespace: 'bench', uid: id },
    portMappings: [{ ...portMappings[0] }],
  };
  await timed('attach, in process, our runtime', () => engine.attach(request));
  await delay(lifeMs);
  await timed('detach, in process, our runtime', () => engine.detach(id));
  unpin(netns);
}
await engine.gc(new Set());

/** Our plugins, called in process as the daemon calls them for a CNI runtime. */
const key = (id: string): PluginCall['key'] => ({ network: 'bench', containerId: id, interface: 'eth0' });
for (let round = 0; round < Number(values.rounds); round += 1) {
  const [id, netns] = [`plugin-${round}`, pin()];
  const callOf = (
    verb: PluginCall['verb'],
    plugin: { readonly type: string },
    prevResult?: PluginCall['prevResult'],
  ): PluginCall => ({
    verb,
    type: plugin.type,
    caller: {},
    key: key(id),
    netns,
    args: {},
    path: [],
    config: JSON.stringify({ cniVersion: '1.0.0', name: 'bench', ...plugin }),
    ...(prevResult === undefined ? {} : { prevResult }),
  });
  const call = (...values: Parameters<typeof callOf>): ReturnType<typeof engine.callPlugin> =>
    engine.callPlugin(callOf(...values));
  let result: PluginCall['prevResult'];
  await timed('ADD of the chain, in process, our plugins', async () => {
    for (const plugin of chain)
      result = await call('add', plugin, plugin.type === 'bridge' ? undefined : result);
  });
  await timed('CHECK of the bridge, in process, our plugins', () => call('check', bridge, result));
  await timed('CHECK of the chain, in process, our plugins', () =>
    engine.checkPlugins(chain.map((plugin) => callOf('check', plugin, result))),
  );
  await timed('DEL of the chain, in process, our plugins', async () => {
    for (const plugin of chain.toReversed()) await call('del', plugin);
  });
  unpin(netns);
}
await engine.close({ removeAll: true });

/**
 * Starts a program and reads its output, with posix_spawn(3), as a Go runtime and our daemon do. The cost of
 * fork(2) in this process is not part of a plugin. Its effect, that every page is copied before the next
 * write, is not part of the engine in this process either.
 * @returns its output; @throws when it fails
 */
function run(
  path: string,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  stdin: number | null,
): string {
  const output = openPipe();
  const pid = spawnProcess({ path, argv: [...argv], env, descriptors: [stdin, output.write, 2] });
  closeSync(output.write);
  const text = readFileSync(output.read, 'utf8');
  closeSync(output.read);
  // Waits like wait4(2) of a runtime: polling would keep the processor from a child that is about to end on
  // it.
  const ending = pidfdOpen(pid);
  pollIn(ending, -1);
  closeSync(ending);
  const end = reapProcess(pid);
  if (end === undefined) throw new Error(`${argv.join(' ')} lives`);
  if (!('code' in end) || end.code !== 0)
    throw new Error(`${argv.join(' ')} ${env['CNI_COMMAND'] ?? ''}: ${JSON.stringify(end)} ${text}`);
  return text;
}

/** Runs the same chain by exec, as libcni does. */
async function byExec(
  whose: string,
  binDir: string,
  rounds: number,
  programOf: (type: string) => string,
): Promise<void> {
  shell('ip link del bench0 2>/dev/null; true');
  for (let round = 0; round < rounds; round += 1) {
    const [id, netns] = [`exec-${round}`, pin()];
    const exec = (verb: string, plugin: { readonly type: string }, prevResult?: unknown): unknown => {
      const input = join(folder, 'stdin');
      writeFileSync(
        input,
        JSON.stringify({
          cniVersion: '1.0.0',
          name: 'bench',
          ...plugin,
          ...(prevResult === undefined ? {} : { prevResult }),
        }),
      );
      const stdin = openSync(input, 'r');
      const environment = {
        PATH: process.env['PATH'],
        CNI_COMMAND: verb,
        CNI_CONTAINERID: id,
        CNI_NETNS: netns,
        CNI_IFNAME: plugin.type === 'loopback' ? 'lo' : 'eth0',
        CNI_PATH: binDir,
      };
      try {
        const program = join(binDir, programOf(plugin.type));
        const printed = run(program, [program], environment, stdin);
        return verb === 'ADD' ? (JSON.parse(printed) as unknown) : undefined;
      } finally {
        closeSync(stdin);
      }
    };
    let result: unknown;
    await timed(`ADD of the bridge, by exec, ${whose}`, () => void (result = exec('ADD', bridge)));
    await timed(`DEL of the bridge, by exec, ${whose}`, () => exec('DEL', bridge, result));
    await timed(`ADD of the chain, by exec, ${whose}`, () => {
      for (const plugin of chain) result = exec('ADD', plugin, plugin.type === 'bridge' ? undefined : result);
    });
    await timed(`CHECK of the bridge, by exec, ${whose}`, () => {
      // portmap 1.1.1 fails to check a network without IPv6.
      exec('CHECK', bridge, result);
    });
    await timed(`DEL of the chain, by exec, ${whose}`, () => {
      for (const plugin of chain.toReversed()) exec('DEL', plugin, result);
    });
    unpin(netns);
  }
}

for (let round = 0; round < Number(values.rounds); round += 1)
  await timed('/bin/true, by exec', () => run('/bin/true', ['/bin/true'], {}, null));
if (existsSync(join(goFolder, 'bridge')))
  await byExec('Go plugins', goFolder, Number(values['go-rounds']), (type) => type);
else console.log(`no Go plugins in ${goFolder}: nothing to compare with`);

/** Our plugins by exec: the thin client, and the daemon's side in a separate process. */
const [binDir, socket, data] = ['bin', 'cni.sock', 'plugins'].map((name) => join(folder, name)) as [
  string,
  string,
  string,
];
installPlugins({ binDir, socket, data, version: 'bench' });
const service = spawn(
  process.execPath,
  [join(import.meta.dirname, 'plugin-service.ts'), join(data, 'network.db'), socket],
  {
    stdio: ['pipe', 'pipe', 'inherit'],
  },
);
await once(service.stdout, 'data');
await byExec('our plugins', binDir, Number(values.rounds), (type) => `portcullis-${type}`);
service.stdin.end();

for (const [what, taken] of samples)
  console.log(
    `${what.padEnd(44)} p50 ${percentile(taken, 0.5).toFixed(2).padStart(8)} ms   min ${Math.min(...taken)
      .toFixed(2)
      .padStart(8)} ms   p90 ${percentile(taken, 0.9).toFixed(2).padStart(8)} ms   ${taken.length} rounds${
      taken.length > 100
        ? `   p50 of the first 100 ${percentile(taken.slice(0, 100), 0.5).toFixed(2).padStart(6)} ms`
        : ''
    }`,
  );
rmSync(folder, { recursive: true, force: true });
