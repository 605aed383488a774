import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { repository } from '../conformance/endpoint.ts';
import { openRuntimePods } from './runtime-pods.ts';
import type { OtherPod } from './runtime-pods.ts';
import type { Stage } from './stage.ts';

/**
 * NetworkPolicies on pods of containerd or CRI-O: a daemon in the network namespace of the runtime follows an
 * API server there, and is killed and started again while the pods run.
 */
export interface JudgedPolicies {
  /** Returns what is wrong; empty: nothing. */
  judge(): Promise<readonly string[]>;
  stop(): Promise<void>;
}

const launcher = join(repository, 'packaging/bin/portcullis');
const patienceMs = 20_000;

const scripts = { containerd: 'run-containerd', crio: 'run-crio' } as const;

/** Starts the runtime with our plugins, and the API server. */
export async function byPolicies(runtime: keyof typeof scripts, stage: Stage): Promise<JudgedPolicies> {
  const home = stage.at(runtime);
  const conflist = stage.network('policed', 'cni0', '10.88.0.0/16');
  const run = (args: readonly string[], timeout = 120_000) =>
    spawnSync(join(repository, 'test/peers', scripts[runtime]), args, {
      env: { ...process.env, CNI_BIN: stage.binDir, CNI_CONFLIST: conflist, D: home },
      encoding: 'utf8',
      timeout,
    });
  const started = run(['start']);
  if (started.status !== 0) throw new Error(`${runtime} does not start: ${started.stderr}`);
  const namespace = readFileSync(join(home, 'pid'), 'utf8').trim();
  const children: ChildProcess[] = [];
  const inside = (command: readonly string[], log: string): ChildProcess => {
    const output = openSync(stage.at(log), 'a', 0o600);
    const child = spawn('nsenter', ['-t', namespace, '-n', ...command], { stdio: ['pipe', output, output] });
    closeSync(output);
    children.push(child);
    return child;
  };
  const kubeconfig = stage.at('kubeconfig');
  const api = inside([process.execPath, join(import.meta.dirname, 'policy-api.ts'), kubeconfig], 'api.log');
  await until(() => existsSync(kubeconfig), 'the API server starts');
  const send = (...act: readonly unknown[]): void => void api.stdin?.write(`${JSON.stringify(act)}\n`);

  const startDaemon = async (): Promise<ChildProcess> => {
    rmSync(stage.at('state/cni.sock'), { force: true });
    const file = stage.at('daemon.yaml');
    writeFileSync(file, JSON.stringify({ network: { kubernetes: { kubeconfig, nodeName: 'here' } } }));
    const places = Object.entries({ socket: 'cri.sock', root: 'root', state: 'state', policy: 'policy' });
    const daemon = inside(
      [
        ...['unshare', '-m', launcher, 'daemon', '--config', file, '--cni-conf-dir', stage.at('conf')],
        ...places.flatMap(([flag, name]) => [`--${flag}`, stage.at(name)]),
      ],
      'daemon.log',
    );
    await until(() => existsSync(stage.at('state/cni.sock')), 'the daemon listens', 60_000);
    return daemon;
  };

  const pods = openRuntimePods({ stage, namespace, run, children });
  const announce = ({ name, address }: OtherPod): void =>
    send('put', 'pods', {
      metadata: { namespace: 'default', name, uid: `uid-${name}`, labels: { app: name } },
      spec: { nodeName: 'here', containers: [] },
      status: { phase: 'Running', podIPs: [{ ip: address }] },
    });
  const policy = {
    metadata: { namespace: 'default', name: 'to-web' },
    spec: {
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'client' } } }] }],
    },
  };

  return {
    async judge() {
      const wrong: string[] = [];
      const expect = async (what: string, holds: () => boolean): Promise<void> => {
        try {
          await until(holds, what);
        } catch {
          wrong.push(what);
        }
      };
      send('put', 'namespaces', { metadata: { name: 'default', labels: {} } });
      const daemon = await startDaemon();
      const [web, client, other] = [pods.run('web'), pods.run('client'), pods.run('other')];
      for (const pod of [web, client, other]) announce(pod);
      pods.serve(web);
      await expect('without a policy every pod reaches the server', () => pods.reaches(other, web));
      send('put', 'networkpolicies', policy);
      await expect('a pod that the policy does not name is denied', () => !pods.reaches(other, web));
      await expect('a pod that the policy names is allowed', () => pods.reaches(client, web));

      const ended = new Promise((resolve) => daemon.once('exit', resolve));
      killTree(daemon);
      await ended;
      if (pods.reaches(other, web)) wrong.push('the policy ends with the daemon');
      await expect('a connection is allowed without the daemon', () => pods.reaches(client, web));
      const refused = pods.tryToRun('late');
      if (refused.passed || !refused.all.includes('NetworkPolicies'))
        wrong.push(`a pod starts without the daemon: ${refused.all}`);
      await startDaemon();
      if (pods.reaches(other, web)) wrong.push('the policy ends with the start of the daemon');
      const late = pods.run('late');
      if (pods.reaches(late, web))
        wrong.push('a pod without known labels reaches a pod that a policy selects');
      announce(late);
      await expect('a pod that started after the kill is denied', () => !pods.reaches(late, web));
      send('remove', 'networkpolicies', policy);
      await expect('without the policy the pods reach each other again', () => pods.reaches(late, web));
      for (const { id } of [web, client, other, late]) pods.remove(id);
      const left = spawnSync(
        'nsenter',
        [
          '-t',
          namespace,
          '-n',
          'sh',
          '-c',
          'ip -br link show type veth; nft list ruleset | grep -o "pc[0-9a-f]*"',
        ],
        { encoding: 'utf8' },
      ).stdout.trim();
      if (left !== '') wrong.push(`left: ${left}`);
      return wrong;
    },
    async stop() {
      for (const child of children) killTree(child);
      await pause(200);
      run(['stop']);
    },
  };
}

/** Kills a child that executes its program in its own place, or as its only child. */
function killTree(child: ChildProcess): void {
  const { pid } = child;
  if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const { stdout } = spawnSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' });
  for (const each of stdout.split('\n').map(Number)) if (each > 0) process.kill(each, 'SIGKILL');
  child.kill('SIGKILL');
}

async function until(holds: () => boolean, what: string, withinMs = patienceMs): Promise<void> {
  for (const end = Date.now() + withinMs; !holds();) {
    if (Date.now() > end) throw new Error(`${what}: not within ${withinMs / 1000} s`);
    await pause(100);
  }
}
