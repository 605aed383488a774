import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess, SpawnSyncReturns } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Stage } from './stage.ts';

/** Pods of another CRI runtime, by crictl, and HTTP between them. */
export interface RuntimePods {
  /** @throws Error with the output of crictl */
  run(name: string): OtherPod;
  tryToRun(name: string): Answer;
  remove(id: string): void;
  /** Starts a web server in the pod. It runs until the children are killed. */
  serve(pod: OtherPod): void;
  /** Returns whether a client in the first pod gets an answer of the second one within a second. */
  reaches(from: OtherPod, to: OtherPod): boolean;
}

export interface OtherPod {
  readonly name: string;
  readonly id: string;
  readonly netns: string;
  readonly address: string;
}

interface Answer {
  readonly passed: boolean;
  readonly out: string;
  /** Standard output and standard error. */
  readonly all: string;
}

export interface RuntimePodsOptions {
  readonly stage: Stage;
  /** A process in the namespaces of the runtime. */
  readonly namespace: string;
  /** Runs the script that starts the runtime. */
  readonly run: (args: readonly string[]) => SpawnSyncReturns<string>;
  /** Receives the processes that must be killed at the end. */
  readonly children: ChildProcess[];
}

export function openRuntimePods({ stage, namespace, run, children }: RuntimePodsOptions): RuntimePods {
  const crictl = (...args: readonly string[]): Answer => {
    const { status, stdout, stderr } = run(['exec', 'crictl', '--timeout', '60s', ...args]);
    return { passed: status === 0, out: stdout.trim(), all: `${stdout}${stderr}`.trim() };
  };
  const config = (name: string): string => {
    const file = stage.at(`${name}.json`);
    const metadata = { name, namespace: 'default', uid: `uid-${name}`, attempt: 0 };
    writeFileSync(file, JSON.stringify({ metadata, log_directory: stage.at('logs'), linux: {} }));
    return file;
  };
  const tryToRun: RuntimePods['tryToRun'] = (name) => crictl('runp', config(name));
  const runPod = (name: string): OtherPod => {
    const { passed, out: id, all } = tryToRun(name);
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
  /** The pin of the pod's namespace is in the mount namespace of the runtime. */
  const inPod = ({ netns }: OtherPod): readonly string[] => [
    ...['-t', namespace, '-m'],
    ...['nsenter', `--net=${netns}`],
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

  return {
    run: runPod,
    tryToRun,
    remove: (id) => void crictl('rmp', '-f', id),
    serve,
    reaches,
  };
}
