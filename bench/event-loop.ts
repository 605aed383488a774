/**
 * `npm run bench:event-loop`: measures the delay of the daemon's main thread while a 64 MiB image is pulled
 * and 20 pods start at once, then while 1 GiB is port-forwarded and 100 pods start at once. Needs
 * `test/peers/get crictl images`.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import {
  peers,
  prepareNamespaces,
  repository,
  serveSignedImages,
  startDaemon,
} from '../test/conformance/endpoint.ts';
import { createCriClient } from '../runtime/client.ts';

if (process.env['PORTCULLIS_PROBE_FILE'] === undefined) {
  spawnSync(process.execPath, ['packaging/build.ts', '--bundle-only'], {
    cwd: repository,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const folder = mkdtempSync(join(tmpdir(), 'pc-loop-'));
  const env = { ...process.env, PORTCULLIS_PROBE_FILE: join(folder, 'figures.json'), PROBE_FOLDER: folder };
  const run = spawnSync('unshare', ['-m', '-n', process.execPath, import.meta.filename], {
    stdio: 'inherit',
    env,
  });
  rmSync(folder, { recursive: true, force: true });
  process.exit(run.status ?? 1);
}

prepareNamespaces();
const folder = process.env['PROBE_FOLDER'] ?? '';
const figures = process.env['PORTCULLIS_PROBE_FILE'];
const images = await serveSignedImages(folder);
process.env['NODE_OPTIONS'] = `--import ${join(import.meta.dirname, 'event-loop-probe.ts')}`;
const daemon = await startDaemon(folder, images.policyFile);
// Measures an idle process at the daemon's own priority: the lower bound of any figure here.
const idleFigures = `${figures}.idle`;
const idle = spawn('nice', ['-n', '-10', process.execPath, '-e', 'setInterval(() => {}, 1000)'], {
  stdio: 'inherit',
  env: { ...process.env, PORTCULLIS_PROBE_FILE: idleFigures },
});
await pause(500);
const cri = createCriClient(daemon.socket);
const tiny = 'registry.k8s.io/e2e-test-images/busybox:1.29-2';

async function measured(): Promise<string> {
  const [ours, floor] = await Promise.all([
    figuresOf(daemon.pid, figures),
    figuresOf(idle.pid ?? 0, idleFigures),
  ]);
  return `${ours}; an idle process beside it: ${floor}`;
}

async function figuresOf(pid: number, file: string): Promise<string> {
  rmSync(file, { force: true });
  process.kill(pid, 'SIGUSR2');
  while (!existsSync(file)) await pause(5);
  await pause(20);
  const { p50, p99, p999, max } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>;
  return `p50 ${p50?.toFixed(2)} p99 ${p99?.toFixed(2)} p99.9 ${p999?.toFixed(2)} max ${max?.toFixed(2)} ms`;
}

async function pod(index: number): Promise<void> {
  const config = { metadata: { name: `pod-${index}`, namespace: 'bench', uid: `uid-${index}`, attempt: 0 } };
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config });
  const { containerId } = await cri.runtime.createContainer({
    podSandboxId,
    config: { metadata: { name: 'main', attempt: 0 }, image: { image: tiny }, command: ['sleep', '600'] },
    sandboxConfig: config,
  });
  await cri.runtime.startContainer({ containerId });
}

/** Starts a pod that sends 1 GiB to the first client. */
async function sender(): Promise<{ readonly podId: string; readonly size: number }> {
  const size = 2 ** 30;
  const config = { metadata: { name: 'sender', namespace: 'bench', uid: 'sender', attempt: 0 } };
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config });
  const { containerId } = await cri.runtime.createContainer({
    podSandboxId,
    config: {
      metadata: { name: 'main', attempt: 0 },
      image: { image: tiny },
      command: ['sh', '-c', `head -c ${size} /dev/zero | nc -l -p 8080`],
    },
    sandboxConfig: config,
  });
  await cri.runtime.startContainer({ containerId });
  return { podId: podSandboxId, size };
}

/** Reads everything from a local port, as soon as a process listens there. */
async function receive(port: number): Promise<number> {
  for (let attempt = 0; ; attempt += 1) {
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
    } catch (cause) {
      if (attempt > 600) throw cause;
      await pause(50);
      continue;
    }
    let bytes = 0;
    for await (const chunk of socket) bytes += (chunk as Buffer).length;
    return bytes;
  }
}

await cri.image.pullImage({ image: { image: tiny } });
await measured();
const begin = performance.now();
let pulling = true;
const pull = cri.image
  .pullImage({ image: { image: 'registry.k8s.io/perf/big:1' } }, { timeoutMs: 120_000 })
  .then(() => {
    pulling = false;
    return performance.now() - begin;
  });
await Promise.all(Array.from({ length: 20 }, (_, index) => pod(index)));
const podsMs = performance.now() - begin;
const overlap = pulling ? 'the pull went on' : 'the pull had ended';
const pullMs = await pull;
console.log(`64 MiB pulled in ${pullMs.toFixed(0)} ms, 20 pods up in ${podsMs.toFixed(0)} ms (${overlap})`);
console.log(`main thread: ${await measured()}`);
for (const { id } of (await cri.runtime.listPodSandbox({})).items)
  await cri.runtime.removePodSandbox({ podSandboxId: id });
console.log(`while 20 pods were removed: ${await measured()}`);

const { podId, size } = await sender();
const forward = spawn(
  join(peers, 'bin/crictl'),
  ['-r', `unix://${daemon.socket}`, 'port-forward', podId, '18080:8080'],
  {
    stdio: 'ignore',
  },
);
await measured();
const forwardBegin = performance.now();
let forwarding = true;
const forwarded = receive(18080).then((bytes) => {
  forwarding = false;
  return { bytes, ms: performance.now() - forwardBegin };
});
await Promise.all(Array.from({ length: 100 }, (_, index) => pod(1000 + index)));
const hundredMs = performance.now() - forwardBegin;
const forwardOverlap = forwarding ? 'the forward went on' : 'the forward had ended';
const { bytes, ms } = await forwarded;
console.log(
  `${bytes} of ${size} bytes forwarded in ${ms.toFixed(0)} ms, 100 pods up in ${hundredMs.toFixed(0)} ms (${forwardOverlap})`,
);
console.log(`main thread: ${await measured()}`);
forward.kill();
for (const { id } of (await cri.runtime.listPodSandbox({})).items)
  await cri.runtime.removePodSandbox({ podSandboxId: id });
idle.kill();
cri.close();
await daemon.stop();
await images.stop();
