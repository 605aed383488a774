import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { repository } from '../conformance/endpoint.ts';
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

interface OtherPod {
  readonly name: string;
  readonly id: string;
  readonly netns: string;
  readonly address: string;
}

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
  const tell = (...act: readonly unknown[]): void => void api.stdin?.write(`${JSON.stringify(act)}\n`);

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

  const crictl = (
    ...args: readonly string[]
  ): { readonly passed: boolean; readonly out: string; readonly all: string } => {
    const { status, stdout, stderr } = run(['exec', 'crictl', '--timeout', '60s', ...args]);
    return { passed: status === 0, out: stdout.trim(), all: `${stdout}${stderr}`.trim() };
  };
  const config = (name: string): string => {
    const file = stage.at(`${name}.json`);
    const metadata = { name, namespace: 'default', uid: `uid-${name}`, attempt: 0 };
    writeFileSync(file, JSON.stringify({ metadata, log_directory: stage.at('logs'), linux: {} }));
    return file;
  };
  const runPod = (name: string): OtherPod => {
    const { passed, out: id, all } = crictl('runp', config(name));
    if (!passed) throw new Error(`the pod ${name} does not run: ${all}`);
    const shown = JSON.parse(crictl('inspectp', id).out) as {
      readonly info: {
        readonly runtimeSpec: {
          readonly linux: {
            readonly namespaces: readonly { readonly type: string; readonly path?: string }[];
          };
        };
      };
      readonly status: { readonly network: { readonly ip: string } };
    };
    const { namespaces } = shown.info.runtimeSpec.linux;
    const netns = namespaces.find(({ type }) => type === 'network')?.path;
    if (netns === undefined) throw new Error(`the pod ${name} has no network namespace`);
    return { name, id, netns, address: shown.status.network.ip };
  };
  const announce = ({ name, address }: OtherPod): void =>
    tell('put', 'pods', {
      metadata: { namespace: 'default', name, uid: `uid-${name}`, labels: { app: name } },
      spec: { nodeName: 'here', containers: [] },
      status: { phase: 'Running', podIPs: [{ ip: address }] },
    });
  /** The pin of the pod's namespace is in the mount namespace of the runtime. */
  const inPod = ({ netns }: OtherPod): readonly string[] => [
    '-t',
    namespace,
    '-m',
    'nsenter',
    `--net=${netns}`,
  ];
  const serve = (pod: OtherPod): void => {
    const root = stage.at('www');
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, 'index.html'), 'here');
    const command = [...inPod(pod), 'busybox', 'httpd', '-f', '-p', '80', '-h', root];
    children.push(spawn('nsenter', command, { stdio: 'ignore' }));
  };
  const reaches = (pod: OtherPod, { address }: OtherPod): boolean =>
    spawnSync('nsenter', [
      ...[...inPod(pod), 'timeout', '1'],
      ...['busybox', 'wget', '-q', '-O', '-', `http://${address}/`],
    ]).status === 0;
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
      tell('put', 'namespaces', { metadata: { name: 'default', labels: {} } });
      const daemon = await startDaemon();
      const [web, client, other] = [runPod('web'), runPod('client'), runPod('other')];
      for (const pod of [web, client, other]) announce(pod);
      serve(web);
      await expect('without a policy every pod reaches the server', () => reaches(other, web));
      tell('put', 'networkpolicies', policy);
      await expect('a pod that the policy does not name is denied', () => !reaches(other, web));
      await expect('a pod that the policy names is allowed', () => reaches(client, web));

      const ended = new Promise((resolve) => daemon.once('exit', resolve));
      killTree(daemon);
      await ended;
      if (reaches(other, web)) wrong.push('the policy ends with the daemon');
      if (!reaches(client, web)) wrong.push('an allowed connection is denied without the daemon');
      const refused = crictl('runp', config('late'));
      if (refused.passed || !refused.all.includes('NetworkPolicies'))
        wrong.push(`a pod starts without the daemon: ${refused.all}`);
      await startDaemon();
      if (reaches(other, web)) wrong.push('the policy ends with the start of the daemon');
      const late = runPod('late');
      if (reaches(late, web)) wrong.push('a pod without known labels reaches a pod that a policy selects');
      announce(late);
      await expect('a pod that started after the kill is denied', () => !reaches(late, web));
      tell('remove', 'networkpolicies', policy);
      await expect('without the policy the pods reach each other again', () => reaches(late, web));
      for (const { id } of [web, client, other, late]) crictl('rmp', '-f', id);
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
