/**
 * `npm run bench:dns [-- --seconds N --rate N --names N --clients N]`: compares our name server with Debian's
 * dnsmasq, each at its gateway of a bridge. dnsperf asks from a pod of its network: A and AAAA of each name
 * in direct succession, over masquerade rules that track connections. Fails when ours loses a query or
 * answers it later than 100 ms. Runs in its own namespaces; needs `test/peers/get dns`.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { createLogger } from '../base/log/index.ts';
import { openNetworkDatabase } from '../cni-plugins/database/database.ts';
import { createNameStore } from '../cni-plugins/database/endpoint-names.ts';
import type { NetworkName } from '../cni-plugins/database/endpoint-names.ts';
import { openPluginEngine, startNameServer } from '../cni-plugins/index.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    rate: { type: 'string', default: '10000' },
    names: { type: 'string', default: '1000' },
    clients: { type: 'string', default: '20' },
    'without-peer': { type: 'boolean', default: false },
  },
});
const peers = join(process.env['PEERS'] ?? '/var/cache/portcullis-peers', 'dns/usr');
const programs = { dnsperf: join(peers, 'bin/dnsperf'), dnsmasq: join(peers, 'sbin/dnsmasq') };
for (const [name, path] of Object.entries(programs)) {
  if (existsSync(path)) continue;
  process.stderr.write(`bench:dns: no ${name} at ${path}: test/peers/get dns\n`);
  process.exit(2);
}
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
    { stdio: 'inherit', env: { ...process.env, PORTCULLIS_BENCH_APART: '1' } },
  );
  process.exit(run.status ?? 1);
}

try {
  // Prioritizes server and client over everything else that runs here: by sched(7), nice values count only
  // within a session's group.
  writeFileSync('/proc/self/autogroup', '-15');
} catch {
  // The kernel has no autogroups.
}
const folder = mkdtempSync(join(tmpdir(), 'portcullis-bench-dns-'));
const environment = {
  ...process.env,
  LD_LIBRARY_PATH: join(peers, 'lib', `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`),
};
const shell = (command: string): void => {
  const run = spawnSync('sh', ['-c', command], { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`${command}: ${run.stderr}`);
};
shell('ip link set lo up');
mkdirSync(join(folder, 'netns'));
const databasePath = join(folder, 'state', 'network.db');
const engine = openPluginEngine({ databasePath, log: createLogger({ level: 'error' }) });

/** Creates a network with one pod in it. Returns the path of its namespace. */
async function network(name: string, net: number): Promise<string> {
  const netns = join(folder, 'netns', name);
  shell(`touch ${netns} && unshare --net=${netns} true`);
  const ranges = [[{ subnet: `10.${net}.0.0/16` }], [{ subnet: `fd00:${net}::/64` }]];
  const config = {
    cniVersion: '1.1.0',
    name,
    bridge: `br${net}`,
    isDefaultGateway: true,
    ipMasq: true,
    ipam: { type: 'portcullis-ipam', ranges },
  };
  await engine.callPlugin({
    verb: 'add',
    type: 'portcullis-bridge',
    caller: {},
    key: { network: name, containerId: name, interface: 'eth0' },
    netns,
    args: {},
    path: [],
    config: JSON.stringify({ ...config, type: 'portcullis-bridge' }),
  });
  return netns;
}

const hosts = Array.from({ length: Number(values.names) }, (_, index) => ({
  name: `host-${index}`,
  addresses: [`10.81.${100 + (index >> 8)}.${index & 255}`, `fd00:81::1:${index.toString(16)}`],
}));
const questions = join(folder, 'questions');
writeFileSync(questions, hosts.map(({ name }) => `${name} A\n${name} AAAA\n`).join(''));

interface Figures {
  readonly completed: number;
  readonly lost: number;
  readonly perSecond: number;
  readonly meanMs: number;
  readonly maxMs: number;
}

async function measure(netns: string, server: string, rate: number, seconds: number): Promise<Figures> {
  const words = [
    '-s',
    server,
    '-d',
    questions,
    '-l',
    String(seconds),
    '-c',
    values.clients,
    '-t',
    '5',
    '-q',
    '1000',
    ...(rate === 0 ? [] : ['-Q', String(rate)]),
  ];
  const { stdout } = await promisify(execFile)(
    'nsenter',
    [`--net=${netns}`, 'nice', '-n', '-15', programs.dnsperf, ...words],
    {
      env: environment,
      maxBuffer: 1 << 26,
    },
  );
  const number = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? Number.NaN);
  return {
    completed: number(/Queries completed:\s+(\d+)/u),
    lost: number(/Queries lost:\s+(\d+)/u),
    perSecond: number(/Queries per second:\s+([\d.]+)/u),
    meanMs: number(/Average Latency \(s\):\s+([\d.]+)/u) * 1000,
    maxMs: number(/Average Latency \(s\):.*max ([\d.]+)/u) * 1000,
  };
}

const reported = (what: string, { completed, lost, perSecond, meanMs, maxMs }: Figures): void =>
  void process.stdout.write(
    `${what.padEnd(34)} ${perSecond.toFixed(0).padStart(7)}/s, ${completed} answered, ${lost} lost, mean ${meanMs.toFixed(2)} ms, latest ${maxMs.toFixed(1)} ms\n`,
  );

const ours = await network('ours', 81);
const database = openNetworkDatabase(databasePath);
const { number, namespaceId } = database.db
  .prepare("SELECT number, realm AS namespaceId FROM attachment WHERE network = 'ours'")
  .get() as {
  number: number;
  namespaceId: string;
};
createNameStore(database).put(
  { namespaceId, network: 'ours', holder: 'bench', attachment: number },
  hosts.flatMap(({ name, addresses }) =>
    addresses.map((address): NetworkName => ({ name, address, kind: 'container' })),
  ),
);
const server = await startNameServer(
  { databasePath, ttl: 5, upstreams: [], maxForwards: 1000 },
  createLogger({ level: 'warn' }),
);

let failed = false;
try {
  const [rate, seconds] = [Number(values.rate), Number(values.seconds)];
  const before = process.cpuUsage();
  const sustained = await measure(ours, '10.81.0.1', rate, seconds);
  const { user, system } = process.cpuUsage(before);
  reported(`ours, ${rate} a second`, sustained);
  process.stdout.write(
    `processor time of ours: ${((user + system) / sustained.completed).toFixed(1)} µs a question\n`,
  );
  failed = sustained.lost > 0 || !(sustained.maxMs <= 100) || !(sustained.perSecond > rate * 0.95);
  const most = await measure(ours, '10.81.0.1', 0, Math.min(10, seconds));
  reported('ours, as many as it answers', most);
  if (!values['without-peer']) {
    const theirs = await network('theirs', 82);
    const file = join(folder, 'hosts');
    writeFileSync(
      file,
      hosts
        .map(({ name, addresses }) => addresses.map((address) => `${address} ${name}\n`).join(''))
        .join(''),
    );
    const dnsmasq = spawn(
      programs.dnsmasq,
      [
        '--keep-in-foreground',
        '--conf-file=/dev/null',
        '--no-resolv',
        '--no-hosts',
        `--addn-hosts=${file}`,
        '--bind-interfaces',
        '--listen-address=10.82.0.1',
        '--local-ttl=5',
        '--user=root',
        `--pid-file=${join(folder, 'pid')}`,
      ],
      { stdio: 'ignore', env: environment },
    );
    for (let attempt = 0; attempt < 100; attempt += 1) {
      if (
        spawnSync('nsenter', [
          `--net=${theirs}`,
          'sh',
          '-c',
          'ss -Hlun >/dev/null; dig +short +tries=1 +time=1 @10.82.0.1 host-1',
        ]).status === 0
      )
        break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const peer = await measure(theirs, '10.82.0.1', rate, Math.min(10, seconds));
    reported(`dnsmasq, ${rate} a second`, peer);
    const peerMost = await measure(theirs, '10.82.0.1', 0, Math.min(10, seconds));
    reported('dnsmasq, as many as it answers', peerMost);
    dnsmasq.kill();
    process.stdout.write(
      `ours answers ${(most.perSecond / peerMost.perSecond).toFixed(2)} of what dnsmasq does\n`,
    );
  }
} finally {
  await server.close();
  database.close();
  await engine.close();
  spawnSync('sh', ['-c', `umount ${folder}/netns/*`]);
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(
  failed
    ? 'bench:dns: a question was lost, late, or not asked in time\n'
    : 'bench:dns: none lost, none late\n',
);
process.exit(failed ? 1 : 0);
