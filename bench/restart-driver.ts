/**
 * Starts 100 pods at one CRI endpoint, ends its daemon and starts it again by the same command line, and
 * prints the times as one JSON line. Runs in the runtime's own network and mount namespaces. Arguments: the
 * socket's path, the runtime's name, a folder for logs.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ContainerState, createCriClient } from '../runtime/client.ts';
import type { CriClient } from '../runtime/client.ts';
import { accepts } from '../test/fixtures/accepts.ts';
import type { RestartFigures } from './restart-figures.ts';

const [socket = '', runtime = '', folder = ''] = process.argv.slice(2);
const count = Number(process.env['BENCH_PODS'] ?? 100);
const rounds = Number(process.env['BENCH_SAMPLES'] ?? 5);
const image = 'registry.k8s.io/e2e-test-images/busybox:1.29-2';
const command = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 600 & wait $!; done'];
let cri = createCriClient(socket);
const found: RestartFigures = { stop: [], listed: [], serving: [] };

const podOf = (name: string) => ({
  metadata: { name, namespace: 'bench', uid: name, attempt: 0 },
  logDirectory: join(folder, name),
  linux: { cgroupParent: `/pc-bench-${runtime}/${name}` },
});

async function startPod(
  name: string,
): Promise<{ readonly podSandboxId: string; readonly containerId: string }> {
  const config = podOf(name);
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config });
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
  return { podSandboxId, containerId };
}

/**
 * Finds the daemon's process in this network namespace by its command line, which names the socket or the
 * configuration file.
 */
function findDaemon(): number {
  const own = readlinkSync('/proc/self/ns/net');
  const names = [socket, join(dirname(socket), 'config.toml')];
  for (const pid of readdirSync('/proc').filter(
    (name) => /^\d+$/.test(name) && Number(name) !== process.pid,
  )) {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      const serves = /containerd$|portcullisd|node$/.test(words[0] ?? '') || words.includes('daemon');
      if (serves && words.some((word) => names.includes(word)) && readlinkSync(`/proc/${pid}/ns/net`) === own)
        return Number(pid);
    } catch {
      // The process ended meanwhile.
    }
  }
  throw new Error(`no daemon in this network namespace names ${socket}`);
}

/** Returns how the process was started: ours by its launcher, which prepares what the daemon needs. */
function commandOf(words: readonly string[]): readonly string[] {
  const at = words.indexOf('daemon');
  return at === -1
    ? words
    : [join(import.meta.dirname, '../packaging/bin/portcullisd'), ...words.slice(at + 1)];
}

/** Repeats a request until it is answered. @returns the time of the answer */
async function until(request: (client: CriClient) => Promise<boolean>): Promise<number> {
  for (;;) {
    try {
      // This check costs the daemon nothing while it starts.
      if ((await accepts(socket)) && (await request(cri))) return performance.now();
    } catch {
      cri.close();
      cri = createCriClient(socket);
    }
    await pause(5);
  }
}

async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      // A zombie has ended, but its parent has not reaped it yet.
      if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return;
    } catch {
      return;
    }
    await pause(1);
  }
}

const pods: Awaited<ReturnType<typeof startPod>>[] = [];
let last: ChildProcess | undefined;
try {
  await cri.image.pullImage({ image: { image } });
  for (let index = 0; index < count; index += 1) pods.push(await startPod(`pod-${index}`));
  const log = openSync(join(dirname(socket), 'restarted.log'), 'a');
  for (let round = 0; round < rounds; round += 1) last = await restart(round, log);
} finally {
  // This also covers a daemon that this program started and no other process knows.
  for (const { podSandboxId } of pods) await removePod(podSandboxId);
  cri.close();
  if (last !== undefined) {
    const ended = once(last, 'exit');
    last.kill('SIGTERM');
    await ended;
  }
}
console.log(`::figures ${JSON.stringify(found)}`);

async function removePod(podSandboxId: string): Promise<void> {
  await cri.runtime.stopPodSandbox({ podSandboxId });
  await cri.runtime.removePodSandbox({ podSandboxId });
}

/** @returns the daemon that serves now */
async function restart(round: number, log: number): Promise<ChildProcess> {
  const pid = findDaemon();
  const [program = '', ...words] = commandOf(
    readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1),
  );
  const reported = performance.now();
  process.kill(pid, 'SIGTERM');
  await gone(pid);
  cri.close();
  found.stop.push(performance.now() - reported);
  const begun = performance.now();
  last = spawn(program, words, { stdio: ['ignore', log, log] });
  cri = createCriClient(socket);
  const listed = await until(async (client) => {
    const { items } = await client.runtime.listPodSandbox({ filter: { state: { state: 0 } } });
    const { containers } = await client.runtime.listContainers({
      filter: { state: { state: ContainerState.CONTAINER_RUNNING } },
    });
    return items.length === count && containers.length === count;
  });
  found.listed.push(listed - begun);
  const [first] = pods;
  await until(async (client) => {
    const { exitCode } = await client.runtime.execSync({
      containerId: first?.containerId ?? '',
      cmd: ['true'],
      timeout: 10,
    });
    return exitCode === 0;
  });
  const extra = await startPod(`after-${round}`);
  found.serving.push(performance.now() - begun);
  await removePod(extra.podSandboxId);
  return last;
}
