/**
 * `npm run test:cni [-- --under NAME,…] [--focus REGEX] [--keep DIR]`: our CNI plugins alone, under other
 * runtimes: containerd and CRI-O (critest's networking, port mapping and streaming groups), podman, and
 * cnitool (every example of docs/cni-plugins.md); each first with our daemon, which runs in other namespaces,
 * then with the daemon stopped. `policies` and `policies-crio`: NetworkPolicies on pods of containerd and
 * CRI-O, with the daemon in their network namespace, which is killed meanwhile. Needs `test/peers/get
 * containerd crio runc crictl critest images podman cnitool` (Go), and a free port 5000 in the namespaces of
 * the runtimes.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { peers, repository } from '../conformance/endpoint.ts';
import { byCnitool } from './by-cnitool.ts';
import { byCritest } from './by-critest.ts';
import { byPodman } from './by-podman.ts';
import { byPolicies } from './by-policies.ts';
import type { Judged } from './judged.ts';
import { openStage } from './stage.ts';

const groups = 'Networking|port.?mapping|[Ss]treaming|port ?forward';
const needs: Readonly<Record<string, readonly string[]>> = {
  containerd: ['containerd', 'runc', 'crictl', 'critest', 'critimages'],
  crio: ['crio', 'pinns', 'runc', 'crictl', 'critest', 'critimages'],
  podman: ['podman'],
  cnitool: ['cnitool'],
  policies: ['containerd', 'runc', 'crictl', 'critimages'],
  'policies-crio': ['crio', 'pinns', 'runc', 'crictl', 'critimages'],
};
const { values } = parseArgs({
  options: {
    under: { type: 'string', default: Object.keys(needs).join(',') },
    focus: { type: 'string', default: groups },
    keep: { type: 'string' },
  },
});
const chosen = values.under.split(',');
const unknown = chosen.filter((name) => needs[name] === undefined);
if (unknown.length > 0) {
  console.error(`test:cni: ${unknown.join(', ')}: ${Object.keys(needs).join(', ')} are known`);
  process.exit(2);
}
const missing = chosen
  .flatMap((name) => needs[name] ?? [])
  .filter((name) => !existsSync(join(peers, 'bin', name)));
if (missing.length > 0) {
  console.error(
    `test:cni: ${[...new Set(missing)].join(', ')} missing; build with: test/peers/get containerd crio runc crictl critest images podman cnitool`,
  );
  process.exit(4);
}
const bundle = ['packaging/build.ts', '--bundle-only'];
const build = spawnSync(process.execPath, bundle, {
  cwd: repository,
  stdio: ['ignore', 'ignore', 'inherit'],
});
if (build.status !== 0) process.exit(build.status ?? 1);

const outcomes: string[] = [];
let failed = false;
for (const name of chosen) {
  const stage = openStage(values.keep === undefined ? undefined : join(values.keep, name));
  if (name === 'policies' || name === 'policies-crio') {
    const policies = await byPolicies(name === 'policies' ? 'containerd' : 'crio', stage);
    try {
      const wrong = await policies.judge();
      failed ||= wrong.length > 0;
      outcomes.push(`${name}: ${wrong.length === 0 ? 'passed' : `FAILED (${wrong.join('; ')})`}`);
    } finally {
      await policies.stop();
      await stage.end(values.keep !== undefined || failed);
    }
    continue;
  }
  const runtime: Judged =
    name === 'podman'
      ? byPodman(stage)
      : name === 'cnitool'
        ? byCnitool(stage)
        : byCritest(name as 'containerd' | 'crio', stage, values.focus);
  const judge = (what: string): void => {
    const { passed, left } = runtime.judge();
    failed ||= !passed || left !== '';
    outcomes.push(`${name} ${what}: ${passed ? 'passed' : 'FAILED'}${left === '' ? '' : `, left ${left}`}`);
  };
  try {
    await runtime.start();
    await stage.startDaemon();
    judge('with the daemon');
    await stage.stopDaemon();
    judge('without it');
  } finally {
    runtime.stop();
    await stage.end(values.keep !== undefined || failed);
  }
}
console.log(`test:cni: ${outcomes.join('; ')}`);
process.exit(failed ? 1 : 0);
