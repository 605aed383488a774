/**
 * `npm run test:cni [-- --focus REGEX] [--keep DIR]`: critest's networking, port mapping and streaming groups in containerd with our CNI
 * plugins alone, first with our daemon, which lives in other namespaces, then with the daemon stopped. Needs `test/peers/get containerd
 * runc crictl critest images` (Go), and nobody on port 5000 of the namespaces that containerd gets.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setTimeout as pause } from 'node:timers/promises';
import { peers, repository } from '../conformance/endpoint.ts';

const groups = 'Networking|port.?mapping|[Ss]treaming|port ?forward';
const { values } = parseArgs({ options: { focus: { type: 'string', default: groups }, keep: { type: 'string' } } });

const missing = ['containerd', 'runc', 'crictl', 'critest', 'critimages'].filter((name) => !existsSync(join(peers, 'bin', name)));
if (missing.length > 0) {
  console.error(`test:cni: ${missing.join(', ')} missing; build with: test/peers/get containerd runc crictl critest images`);
  process.exit(4);
}
const build = spawnSync(process.execPath, ['packaging/build.ts', '--bundle-only'], {
  cwd: repository,
  stdio: ['ignore', 'ignore', 'inherit'],
});
if (build.status !== 0) process.exit(build.status ?? 1);

const folder = values.keep ?? mkdtempSync(join(tmpdir(), 'pct-cni-'));
const at = (name: string): string => join(folder, name);
for (const name of ['policy', 'conf', 'report']) mkdirSync(at(name), { recursive: true });
// What our own CRI would attach pods by: nothing of this run.
writeFileSync(
  at('conf/10-own.conflist'),
  JSON.stringify({
    cniVersion: '1.0.0',
    name: 'own',
    plugins: [{ type: 'bridge', bridge: 'own0', ipam: { type: 'host-local', ranges: [[{ subnet: '10.99.0.0/24' }]] } }],
  }),
);
writeFileSync(
  at('plugins.conflist'),
  JSON.stringify({
    cniVersion: '1.1.0',
    name: 'testnet',
    plugins: [
      {
        type: 'portcullis-bridge',
        bridge: 'cni0',
        isDefaultGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.88.0.0/16' }]] },
      },
      { type: 'portcullis-portmap', capabilities: { portMappings: true } },
      { type: 'portcullis-bandwidth', capabilities: { bandwidth: true } },
      { type: 'portcullis-tuning' },
    ],
  }),
);
const launcher = join(repository, 'packaging/bin/portcullis');
const install = spawnSync(launcher, ['cni', 'install', '--bin-dir', at('bin'), '--socket', at('state/cni.sock'), '--data', at('root')], {
  stdio: 'inherit',
});
if (install.status !== 0) process.exit(1);
// containerd calls the plugin `loopback` for every pod, by that name.
if (!existsSync(at('bin/loopback'))) symlinkSync('portcullis-loopback', at('bin/loopback'));

const log = openSync(at('daemon.log'), 'a', 0o600);
const flags = [
  '--socket',
  at('cri.sock'),
  '--root',
  at('root'),
  '--state',
  at('state'),
  '--policy',
  at('policy'),
  '--cni-conf-dir',
  at('conf'),
];
const daemon = spawn('unshare', ['-m', '-n', launcher, 'daemon', ...flags], { stdio: ['ignore', log, log] });
closeSync(log);
const exited = once(daemon, 'exit');

const runContainerd = (args: readonly string[], timeout: number): number => {
  const env = { ...process.env, CNI_BIN: at('bin'), CNI_CONFLIST: at('plugins.conflist'), D: at('containerd') };
  return (
    spawnSync(join(repository, 'test/peers/run-containerd'), args, { env, stdio: ['ignore', 'inherit', 'inherit'], timeout }).status ?? 1
  );
};
const critest = (): boolean => {
  const endpoint = `unix://${at('containerd/containerd.sock')}`;
  const args = ['critest', '-runtime-endpoint', endpoint, '-report-dir', at('report'), '-ginkgo.flake-attempts', '2'];
  const only = ['-ginkgo.focus', values.focus, '-ginkgo.skip', 'public image with digest', '-ginkgo.no-color'];
  return runContainerd(['exec', ...args, ...only], 900_000) === 0;
};
/** What the pods left in containerd's network namespace, by kind of link. */
const leftovers = (): string => {
  const pid = readFileSync(at('containerd/pid'), 'utf8').trim();
  return spawnSync('nsenter', ['-t', pid, '-n', 'ip', '-br', 'link', 'show', 'type', 'veth'], { encoding: 'utf8' }).stdout.trim();
};

const outcomes: string[] = [];
let failed = false;
const judge = (what: string, passed: boolean): void => {
  const left = leftovers();
  failed ||= !passed || left !== '';
  outcomes.push(`${what}: ${passed ? 'passed' : 'FAILED'}${left === '' ? '' : `, left ${left}`}`);
};
try {
  if (runContainerd(['start'], 120_000) !== 0) throw new Error('containerd does not start');
  for (let waited = 0; !existsSync(at('state/cni.sock')); waited += 100) {
    if (waited > 60_000) throw new Error(`the daemon does not listen; see ${at('daemon.log')}`);
    await pause(100);
  }
  judge('with the daemon', critest());
  daemon.kill('SIGTERM');
  await exited;
  judge('without it', critest());
} finally {
  daemon.kill('SIGKILL');
  runContainerd(['stop'], 120_000);
  if (values.keep === undefined && !failed) rmSync(folder, { recursive: true, force: true });
}
console.log(`test:cni: ${outcomes.join('; ')}`);
process.exit(failed ? 1 : 0);
