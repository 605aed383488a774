/**
 * `npm run bench:pulls [-- --rounds N] [--images N]`: pulls the same images from one registry on loopback by
 * Portcullis and by containerd, in turns, and removes them in between. Portcullis requires a signature and
 * makes each image durable; containerd does neither. Needs `test/peers/get containerd`.
 */
import './bundle.ts';
import '../test/fixtures/private-namespaces.ts';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createCriClient } from '../runtime/client.ts';
import { peers } from '../test/conformance/endpoint.ts';
import { openStage, registryName } from '../test/fixtures/stage.ts';
import { pulledImages } from './pull-images.ts';
import { requirePeers } from '../test/peers/runtimes.ts';
import { percentile } from './samples.ts';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '7' }, images: { type: 'string', default: '6' } },
});
const rounds = Number(values.rounds);

requirePeers(['containerd']);
const folder = mkdtempSync(join(tmpdir(), 'pc-pulls-'));
const stage = await openStage();
const containerd = startContainerd(stage.registry.host);
try {
  const runtimes = [
    { name: 'Portcullis', pid: stage.daemon.pid, image: stage.daemon.cri.image },
    {
      name: 'containerd',
      pid: containerd.pid ?? 0,
      image: (await clientOf(join(folder, 'containerd.sock'))).image,
    },
  ] as const;
  const before = runtimes.map(({ pid }) => peakMiB(pid));
  console.log(
    '| image | Portcullis, ms | containerd, ms | ratio | target | processor, ms a pull | peak, MiB |\n| --- | --- | --- | --- | --- | --- | --- |',
  );
  for (const [number, { name, target, layers }] of pulledImages.slice(0, Number(values.images)).entries()) {
    const { reference } = await stage.publish(`bench-${number}:1`, { base: false, layers: await layers() });
    const times: [number[], number[]] = [[], []];
    const processor: [number[], number[]] = [[], []];
    const peak = [0, 0];
    for (let round = -1; round < rounds; round += 1) {
      // The order alternates, so that it has no effect over all rounds which one is first.
      const order = round % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const);
      for (const which of order) {
        const { pid, image } = runtimes[which];
        // The disk still works for the last pull: that work is counted for no runtime.
        spawnSync('sync');
        resetPeak(pid);
        const usedBefore = processorMs(pid);
        const started = performance.now();
        const { imageRef } = await image.pullImage({ image: { image: reference } });
        const took = performance.now() - started;
        const used = processorMs(pid) - usedBefore;
        peak[which] = Math.max(peak[which] ?? 0, peakMiB(pid));
        await image.removeImage({ image: { image: imageRef } });
        // The first round warms both up.
        if (round < 0) continue;
        times[which].push(took);
        processor[which].push(used);
      }
    }
    const [ours, theirs] = times.map((all) => percentile(all, 0.5)) as [number, number];
    const [oursUsed, theirsUsed] = processor.map((all) => percentile(all, 0.5)) as [number, number];
    console.log(
      `| ${name} | ${ours.toFixed(0)} | ${theirs.toFixed(0)} | ${(ours / theirs).toFixed(2)} | ${target} | ${oursUsed.toFixed(0)} / ${theirsUsed.toFixed(0)} | ${peak.join(' / ')} |`,
    );
  }
  console.log(
    `\nPeaks are resident memory while the image is pulled. From the start to the first pull, they were ${before.join(' / ')} MiB. Medians of ${rounds}.`,
  );
} finally {
  containerd.kill('SIGTERM');
  await stage.close();
  rmSync(folder, { recursive: true, force: true });
}

/** Starts containerd in the namespaces of this process, with its default snapshotter (overlayfs). */
function startContainerd(registry: string): ReturnType<typeof spawn> {
  const hosts = join(folder, 'certs.d', registryName);
  mkdirSync(hosts, { recursive: true });
  writeFileSync(
    join(hosts, 'hosts.toml'),
    `server = "http://${registry}"\n[host."http://${registry}"]\n  capabilities = ["pull", "resolve"]\n`,
  );
  const socket = join(folder, 'containerd.sock');
  writeFileSync(
    join(folder, 'config.toml'),
    `version = 4
root = '${folder}/root'
state = '${folder}/state'
[plugins.'io.containerd.server.v1.grpc']
  address = '${socket}'
[plugins.'io.containerd.server.v1.ttrpc']
  address = '${socket}.ttrpc'
[plugins.'io.containerd.server.v1.grpc-tcp']
  address = ''
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = '${folder}/certs.d'
[plugins.'io.containerd.internal.v1.opt']
  path = '${folder}/opt'
[plugins.'io.containerd.nri.v1.nri']
  disable = true
`,
  );
  const child = spawn(join(peers, 'bin/containerd'), ['-c', join(folder, 'config.toml')], {
    stdio: 'ignore',
    env: { ...process.env, PATH: `${peers}/bin:${process.env['PATH'] ?? ''}` },
  });
  process.once('exit', () => child.kill('SIGKILL'));
  return child;
}

async function clientOf(socket: string): Promise<ReturnType<typeof createCriClient>> {
  for (let attempt = 0; !existsSync(socket) && attempt < 100; attempt += 1) await pause(100);
  const client = createCriClient(socket);
  for (let attempt = 0; ; attempt += 1) {
    try {
      await client.image.listImages({});
      return client;
    } catch (thrown) {
      if (attempt === 50) throw thrown;
      await pause(200);
    }
  }
}

/** Returns the processor time of a process and of its ended children, in ms. proc(5): fields 14 to 17. */
function processorMs(pid: number): number {
  const [, rest = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  return rest
    .split(' ')
    .slice(11, 15)
    .reduce((sum, ticks) => sum + Number(ticks) * 10, 0);
}

/** Makes the highest resident memory of a process that of now. proc(5): clear_refs. */
function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

function peakMiB(pid: number): number {
  return Math.round(Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024);
}
