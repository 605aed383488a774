/**
 * `npm run bench:lazy [-- --rounds N] [--mib N] [--folder PATH]`: the time from PullImage to the first
 * output of the container, for an image of 2 GB with a signed chunk index, over a link that tc(8) holds to
 * 1 Gbit/s. Each round pulls the image again. `--folder` keeps the registry for a later run.
 */
import './bundle.ts';
import '../test/fixtures/private-namespaces.ts';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { parseArgs } from 'node:util';
import { NamespaceMode } from '../runtime/cri/contract/contract.types.ts';
import { inMembers } from '../runtime/images/lazy/lazy-image.fixture.ts';
import { makeChunkIndex } from '../runtime/images/lazy/make-chunk-index.ts';
import { tarOf } from '../runtime/images/test-kit.ts';
import { busyboxLayer, buildImage, sha256 } from '../test/fixtures/image.ts';
import { openStage, podNamespace, registryName } from '../test/fixtures/stage.ts';
import type { Stage } from '../test/fixtures/stage.ts';
import { attestImage } from '../trust/index.ts';
import { percentile } from './samples.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    mib: { type: 'string', default: '256' },
    folder: { type: 'string' },
  },
});
const layers = 8;
const chunkBytes = 1024 * 1024;
const name = 'lazy-bench';
const reference = `${registryName}/${name}:1`;
const folder = values.folder ?? mkdtempSync('/var/tmp/pc-lazy-');
mkdirSync(join(folder, 'stage'), { recursive: true });
const config = join(folder, 'config.yaml');
writeFileSync(config, 'storage:\n  layers: erofs\nimages:\n  lazy: true\n');
const stage = await openStage({
  folder: join(folder, 'stage'),
  registryStorage: join(folder, 'registry'),
  flags: ['--config', config],
});
try {
  if (!existsSync(join(folder, 'pushed'))) await push(stage);
  writeFileSync(join(folder, 'pushed'), '');
  execFileSync('tc', 'qdisc add dev lo root tbf rate 1gbit burst 256kb latency 100ms'.split(' '));
  const times = new Map<string, number[]>();
  const columns = ['pull', 'sandbox', 'create', 'start', 'output', 'total', 'processor'] as const;
  console.log(`| round | load | ${columns.join(' | ')} |`);
  for (let round = 0; round < Number(values.rounds); round += 1) {
    spawnSync('sync');
    // Every other round meets a daemon that has pulled nothing yet.
    await stage.restart();
    // Work that follows the start of a daemon is not measured.
    await pause(4000);
    const load = loadavg()[0] ?? 0;
    const cold = await startOnce(stage, `cold-${round}`);
    spawnSync('sync');
    await pause(300);
    const warm = await startOnce(stage, `warm-${round}`);
    for (const [kind, one] of [['cold', cold] as const, ['warm', warm] as const]) {
      console.log(
        `| ${kind} | ${load.toFixed(1)} | ${columns.map((each) => one[each].toFixed(0)).join(' | ')} |`,
      );
      for (const each of columns)
        times.set(`${kind} ${each}`, [...(times.get(`${kind} ${each}`) ?? []), one[each]]);
    }
  }
  for (const kind of ['cold', 'warm'])
    console.log(
      `| median, ${kind} | | ${columns.map((each) => percentile(times.get(`${kind} ${each}`) ?? [], 0.5).toFixed(0)).join(' | ')} |`,
    );
} finally {
  spawnSync('tc', ['qdisc', 'del', 'dev', 'lo', 'root']);
  await stage.close();
  if (values.folder === undefined) rmSync(folder, { recursive: true, force: true });
}

/** Pushes the image, layer by layer, and signs it and its chunk index. */
async function push(to: Stage): Promise<void> {
  const repository = to.repository(name);
  const bytes = Number(values.mib) * 1024 * 1024;
  const body = Buffer.allocUnsafe(bytes);
  const descriptors: { mediaType: string; digest: string; size: number }[] = [];
  const diffIds: string[] = [];
  for (let at = 0; at < layers; at += 1) {
    randomFillSync(body);
    const own = await tarOf([
      { name: 'data', type: 'directory' },
      { name: `data/${at}`, body },
    ]);
    const tar = at === 0 ? Buffer.concat([withoutEnd(gunzipSync((await busyboxLayer()).blob)), own]) : own;
    const blob = inMembers(tar, chunkBytes);
    const { digest, size } = await repository.pushBlob(blob);
    descriptors.push({ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size });
    diffIds.push(sha256(tar));
  }
  const image = await buildImage({ base: false, layers: [], manifest: { layers: descriptors } });
  const said = JSON.parse(Buffer.from(image.config).toString()) as { rootfs: { diff_ids: string[] } };
  said.rootfs.diff_ids = diffIds;
  const bytesOfConfig = Buffer.from(JSON.stringify(said));
  const { digest: configDigest, size } = await repository.pushBlob(bytesOfConfig);
  const manifest = JSON.parse(Buffer.from(image.manifest).toString()) as Record<string, unknown>;
  const whole = Buffer.from(
    JSON.stringify({
      ...manifest,
      config: { ...(manifest['config'] as object), digest: configDigest, size },
    }),
  );
  await repository.pushManifest(whole, 'application/vnd.oci.image.manifest.v1+json', { tag: '1' });
  const digest = sha256(whole);
  await to.sign(name, digest);
  const work = mkdtempSync(join(folder, 'index-'));
  const predicate = await makeChunkIndex({ repository, digest, folder: work });
  rmSync(work, { recursive: true });
  await attestImage({
    ...{ repository, digest, key: to.key, predicate, now: new Date() },
    type: 'chunk-index',
    format: 'bundle',
  });
}

/** The archive without the zero blocks at its end. */
function withoutEnd(tar: Buffer): Buffer {
  let end = tar.length;
  while (end >= 512 && tar.subarray(end - 512, end).every((byte) => byte === 0)) end -= 512;
  return tar.subarray(0, end);
}

async function startOnce({ daemon, cgroupParent, logs }: Stage, pod: string) {
  const { image, runtime } = daemon.cri;
  rmSync(join(logs, pod), { recursive: true, force: true });
  const before = processorMs(daemon.pid);
  const began = performance.now();
  const sandboxConfig = {
    metadata: { name: pod, namespace: podNamespace, uid: pod, attempt: 0 },
    logDirectory: join(logs, pod),
    linux: { cgroupParent, securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } },
  };
  const { imageRef } = await image.pullImage({ image: { image: reference }, sandboxConfig });
  const pulled = performance.now();
  const { podSandboxId } = await runtime.runPodSandbox({ config: sandboxConfig });
  const sandboxed = performance.now();
  const { containerId } = await runtime.createContainer({
    podSandboxId,
    config: {
      metadata: { name: 'main', attempt: 0 },
      image: { image: imageRef, userSpecifiedImage: reference },
      command: ['sh', '-c', 'echo up; exec sleep 600'],
      logPath: 'main.log',
    },
    sandboxConfig,
  });
  const created = performance.now();
  await runtime.startContainer({ containerId });
  const started = performance.now();
  const log = join(logs, pod, 'main.log');
  for (;;) {
    // The monitor of the container writes the time of each line.
    if (existsSync(log) && readFileSync(log, 'utf8').includes('up')) break;
    await pause(1);
  }
  const line = readFileSync(log, 'utf8').split(' ')[0] ?? '';
  const shown = new Date(line).getTime() - performance.timeOrigin;
  const processor = processorMs(daemon.pid) - before;
  await runtime.stopPodSandbox({ podSandboxId });
  await runtime.removePodSandbox({ podSandboxId });
  await image.removeImage({ image: { image: imageRef } });
  return {
    pull: pulled - began,
    sandbox: sandboxed - pulled,
    create: created - sandboxed,
    start: started - created,
    output: shown - started,
    total: shown - began,
    processor,
  };
}

/** Returns the processor time of a process in ms. proc(5): fields 14 and 15. */
function processorMs(pid: number): number {
  const [, rest = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  return rest
    .split(' ')
    .slice(11, 13)
    .reduce((sum, ticks) => sum + Number(ticks) * 10, 0);
}
