/**
 * One boot of the stage `reboot` (`npm run test:vm -- reboot`), by VM_BOOT: boot 1 ends with a reset of the
 * machine while pods run and an image is pulled, boot 2 with an orderly shutdown, boot 3 with nothing left.
 * The promises of the previous boot are in $VM_OUT, which survives the machine.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as pause } from 'node:timers/promises';
import { ContainerState, PodSandboxState } from '../../runtime/client.ts';
import { layerOf, sha256 } from '../fixtures/image.ts';
import { createContainer, execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** CRI NamespaceMode NODE. */
const node = 2;
const files = 300;

interface Promised {
  readonly bootId: string;
  readonly pods: readonly Pod[];
  readonly running: readonly string[];
  readonly waiting: readonly string[];
  readonly ended: readonly string[];
  /** The digest of the `sha256sum` listing of all files of each image, by reference. */
  readonly pulled: Readonly<Record<string, string>>;
  /** The image whose pull was unanswered when the machine was reset. */
  readonly cut?: { readonly reference: string; readonly sum: string };
}

const folder = process.argv[2] ?? '';
const boot = Number(process.env['VM_BOOT']);
const out = process.env['VM_OUT'] ?? '';
const promisedFile = join(out, 'promised.json');
const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
const report = (line: string): void => console.log(`reboot: boot ${boot}: ${line}`);

function writeThrough(file: string, text: string): void {
  const descriptor = openSync(file, 'w');
  writeFileSync(descriptor, text);
  fsyncSync(descriptor);
  closeSync(descriptor);
}

/** Publishes an image of many files, and returns the digest of the `sha256sum` listing of its files. */
async function publishBig(
  stage: Stage,
  name: string,
): Promise<{ readonly reference: string; readonly sum: string }> {
  const bodies = Array.from({ length: files }, (_, index) => ({
    name: `data/${String(index).padStart(4, '0')}`,
    body: randomBytes(4_096),
  }));
  const { reference } = await stage.publish(`${name}:1`, {
    layers: [await layerOf([{ name: 'data/', type: 'directory' }, ...bodies])],
  });
  const listed = bodies
    .map(({ name: path, body }) => `${sha256(body).slice('sha256:'.length)}  /${path}\n`)
    .join('');
  return { reference, sum: sha256(Buffer.from(listed)).slice('sha256:'.length) };
}

/** Returns the same digest for the files on disk, as a container reads them. */
async function sumOf(stage: Stage, reference: string): Promise<string> {
  const pod = await runPod(stage, `sum-${reference.replaceAll(/\W/g, '-')}`);
  const id = await runContainer(stage, pod, { image: reference, command: ['sleep', '600'] });
  const { stdout } = await execute(stage, id, 'sh', '-c', 'sha256sum /data/* | sha256sum');
  await removePod(stage, pod);
  return stdout.split(' ')[0] ?? '';
}

/** Creates pods that run when the machine goes down, and one container that has ended. */
async function runSome(
  stage: Stage,
  image: string,
  attempt: number,
): Promise<Pick<Promised, 'pods' | 'running' | 'waiting' | 'ended'>> {
  const named = (name: string) => ({
    metadata: { name, uid: `${name}-${attempt}`, namespace: 'shop', attempt },
  });
  const pod = await runPod(stage, 'own', named('own'));
  const host = await runPod(stage, 'host', {
    ...named('host'),
    linux: { securityContext: { namespaceOptions: { network: node, ipc: node } } },
  });
  const running = [
    await runContainer(stage, pod, { name: 'running', image, command: ['sleep', '6000'] }),
    await runContainer(stage, host, { name: 'running', image, command: ['sleep', '6000'] }),
  ];
  const waiting = [await createContainer(stage, pod, { name: 'waiting', image, command: ['sleep', '6000'] })];
  const ended = [await runContainer(stage, pod, { name: 'ended', image, command: ['sh', '-c', 'exit 42'] })];
  for (const id of ended) assert.equal((await exitOf(stage, id)).exitCode, 42);
  return { pods: [pod, host], running, waiting, ended };
}

/** Checks everything that was promised before the machine went down. */
async function expectKept(stage: Stage, before: Promised): Promise<void> {
  const { runtime, image } = stage.daemon.cri;
  assert.notEqual(bootId, before.bootId);
  for (const { id } of before.pods)
    assert.equal(
      (await runtime.podSandboxStatus({ podSandboxId: id })).status?.state,
      PodSandboxState.SANDBOX_NOTREADY,
    );
  for (const [ids, code] of [
    [[...before.running, ...before.waiting], 255],
    [before.ended, 42],
  ] as const)
    for (const containerId of ids) {
      const { status } = await runtime.containerStatus({ containerId });
      assert.equal(status?.state, ContainerState.CONTAINER_EXITED);
      assert.equal(status.exitCode, code, `${containerId} ${status.reason}`);
      assert.ok(
        status.finishedAt >= status.startedAt,
        `finished at ${status.finishedAt}, started at ${status.startedAt}`,
      );
    }
  const { images } = await image.listImages({});
  const listed = images.flatMap(({ repoTags }) => repoTags);
  for (const [reference, sum] of Object.entries(before.pulled)) {
    assert.ok(listed.includes(reference), `${reference} is missing of ${listed.join(', ')}`);
    assert.equal(await sumOf(stage, reference), sum, reference);
  }
  if (before.cut !== undefined) {
    const { reference, sum } = before.cut;
    report(`the pull that was cut off is ${listed.includes(reference) ? 'whole' : 'not'} in the list`);
    await stage.pull(reference);
    assert.equal(await sumOf(stage, reference), sum, reference);
  }
}

/** Checks that nothing of pods is left after the last one is removed: files, leases, attachments, links. */
async function expectNothingLeft(stage: Stage): Promise<void> {
  const { runtime } = stage.daemon.cri;
  for (const { id } of (await runtime.listPodSandbox({})).items)
    await runtime.removePodSandbox({ podSandboxId: id });
  assert.deepEqual((await runtime.listContainers({})).containers, []);
  for (const path of ['images/rootfs', 'images/staging', 'images/ingest', 'images/trash', 'exits'])
    assert.deepEqual(readdirSync(join(stage.folders.root, path)), [], path);
  for (const path of ['pods', 'containers'])
    assert.deepEqual(readdirSync(join(stage.folders.state, path)), [], path);
  const database = new DatabaseSync(join(stage.folders.root, 'network.db'), { readOnly: true });
  for (const table of ['lease', 'attachment'])
    assert.equal(database.prepare(`SELECT count(*) AS rows FROM ${table}`).get()?.['rows'], 0, table);
  database.close();
}

const stage = await openStage({
  folder,
  registryStorage: join(out, 'registry'),
  cgroupParent: '/portcullis-reboot',
});
if (boot === 1) {
  const image = await stage.pull((await stage.publish('app/a:1')).reference);
  const pods = await runSome(stage, image, 0);
  const [big, cut] = [await publishBig(stage, 'app/b'), await publishBig(stage, 'app/c')];
  await stage.pull(big.reference);
  // The machine goes down while this image is unpacked.
  void stage.pull(cut.reference).catch(() => undefined);
  const promised: Promised = { bootId, ...pods, pulled: { [big.reference]: big.sum }, cut };
  writeThrough(promisedFile, JSON.stringify(promised));
  report(`${pods.pods.length} pods run, an image of ${files} files is pulled, the machine is reset`);
  await pause(Math.random() * 3_000);
  writeThrough(process.env['VM_RC'] ?? '', '0\n');
  // Immediately, without syncing the disks (kernel: admin-guide/sysrq).
  writeFileSync('/proc/sysrq-trigger', 'b');
  await pause(60_000);
  throw new Error('the machine was not reset');
}
const before = JSON.parse(readFileSync(promisedFile, 'utf8')) as Promised;
await expectKept(stage, before);
const again = await runSome(stage, 'good.test/app/a:1', boot - 1);
for (const id of again.running) assert.equal((await execute(stage, id, 'echo', 'well')).stdout, 'well\n');
await expectNothingLeft(stage);
report('pods are not ready, exits and images are kept, the next pods run, nothing is left of either');
if (boot === 2) {
  const pods = await runSome(stage, 'good.test/app/a:1', 7);
  const { pulled, cut } = before;
  const all = { ...pulled, ...(cut !== undefined && { [cut.reference]: cut.sum }) };
  writeThrough(promisedFile, JSON.stringify({ bootId, ...pods, pulled: all } satisfies Promised));
}
assert.equal(await stage.daemon.stop(), 0);
await stage.registry.close();
process.exit(0);
