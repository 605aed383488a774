/**
 * Drives one CRI endpoint, in the same way for each runtime, and prints its measurements as one JSON line.
 * Runs in the runtime's own network and mount namespaces. Arguments: the socket's path, the runtime's name, a
 * folder for logs.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { createCriClient } from '../runtime/client.ts';
import { memoryOfRuntime, remainsOf, veths } from './leftovers.ts';
import type { PodFigures } from './pods-figures.ts';

const [socket = '', runtime = '', folder = ''] = process.argv.slice(2);
const sequential = Number(process.env['BENCH_SAMPLES'] ?? 30);
const image = 'registry.k8s.io/e2e-test-images/busybox:1.29-2';
const cgroupRoot = `/pc-bench-${runtime}`;
/** Ends at once on SIGTERM, so that the runtime is measured and not the program. */
const command = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 600 & wait $!; done'];
const cri = createCriClient(socket);
const samples = new Map<string, number[]>();

async function timed<T>(name: string, act: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const result = await act();
  samples.set(name, [...(samples.get(name) ?? []), performance.now() - started]);
  return result;
}

interface Pod {
  readonly podSandboxId: string;
  readonly containerId: string;
  readonly cgroup: string;
}

async function startPod(name: string, record: typeof timed): Promise<Pod> {
  const cgroup = `${cgroupRoot}/pod${name}`;
  const config = {
    metadata: { name, namespace: 'bench', uid: name, attempt: 0 },
    logDirectory: `${folder}/${name}`,
    linux: { cgroupParent: cgroup },
  };
  const { podSandboxId } = await record('RunPodSandbox', () => cri.runtime.runPodSandbox({ config }));
  const up = async (): Promise<string> => {
    const { containerId } = await cri.runtime.createContainer({
      podSandboxId,
      config: {
        metadata: { name: 'main', attempt: 0 },
        image: { image, userSpecifiedImage: image },
        command,
        logPath: 'main.log',
      },
      sandboxConfig: config,
    });
    await cri.runtime.startContainer({ containerId });
    return containerId;
  };
  return { podSandboxId, containerId: await record('CreateContainer + StartContainer', up), cgroup };
}

async function endPod({ podSandboxId }: Pod): Promise<void> {
  await cri.runtime.stopPodSandbox({ podSandboxId });
  await cri.runtime.removePodSandbox({ podSandboxId });
}

async function untilNothingIsLeft(pods: readonly Pod[], links: number): Promise<number> {
  const started = performance.now();
  while (performance.now() - started < 20_000 && (remainsOf(pods) > 0 || veths() > links)) await pause(1);
  return performance.now() - started;
}

const untimed: typeof timed = (_name, act) => act();
await cri.image.pullImage({ image: { image } });
const linksBefore = veths();
await endPod(await startPod('warm', untimed));
for (let index = 0; index < sequential; index += 1) {
  const pod = await startPod(`one-${index}`, timed);
  const { containerId } = pod;
  for (let turn = 0; turn < 3; turn += 1)
    await timed('ExecSync true', () => cri.runtime.execSync({ containerId, cmd: ['true'], timeout: 10 }));
  await timed('StopContainer', () => cri.runtime.stopContainer({ containerId, timeout: 10 }));
  await timed('RemoveContainer', () => cri.runtime.removeContainer({ containerId }));
  await timed('StopPodSandbox + RemovePodSandbox', () => endPod(pod));
  samples.set('until the kernel shows nothing', [
    ...(samples.get('until the kernel shows nothing') ?? []),
    await untilNothingIsLeft([pod], linksBefore),
  ]);
}

if (process.env['BENCH_ONE_BY_ONE'] !== undefined) {
  const median = (list: number[]): number => list.sort((a, b) => a - b)[list.length >> 1] ?? 0;
  for (const [name, list] of samples) console.log(`::  ${name} ${median(list).toFixed(1)}`);
  process.exit(0);
}
/** Afterwards everything that a runtime ends or collects when it is idle is gone. */
const settleMs = 25_000;
await pause(settleMs);
const idle = memoryOfRuntime(cgroupRoot);
const fifty: Pod[] = [];
for (let index = 0; index < 50; index += 1) fifty.push(await startPod(`fifty-${index}`, untimed));
await pause(settleMs);
const withFifty = memoryOfRuntime(cgroupRoot);
for (const pod of fifty) await endPod(pod);

const begun = performance.now();
const hundred = await Promise.all(
  Array.from({ length: 100 }, (_, index) => startPod(`hundred-${index}`, untimed)),
);
const hundredUp = performance.now() - begun;
const ending = performance.now();
await Promise.all(hundred.map(endPod));
const hundredGone = performance.now() - ending;
const hundredSilent = hundredGone + (await untilNothingIsLeft(hundred, linksBefore));
cri.close();
const figures: PodFigures = {
  samples: Object.fromEntries(samples),
  idle,
  withFifty,
  hundredUp,
  hundredGone,
  hundredSilent,
};
console.log(`::figures ${JSON.stringify(figures)}`);
