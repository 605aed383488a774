/**
 * `npm run bench:layer-forms [-- --rounds N]`: starts pods from images of 1, 20 and 200 layers, stored as
 * EROFS files and as folders, by one daemon that is restarted between the forms. Then proves the layers of
 * one large image again, in each form.
 */
import './bundle.ts';
import '../test/fixtures/private-namespaces.ts';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { NamespaceMode } from '../runtime/cri/contract/contract.types.ts';
import { busyboxLayer, layerOf } from '../test/fixtures/image.ts';
import type { Layer } from '../test/fixtures/image.ts';
import { portcullis } from '../test/fixtures/command.ts';
import { openStage, podNamespace } from '../test/fixtures/stage.ts';
import { pulledImages } from './pull-images.ts';
import { percentile } from './samples.ts';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '15' } } });
const rounds = Number(values.rounds);
const forms = ['erofs', 'folders'] as const;
const layerCounts = [1, 20, 200] as const;
const largeImage = '905 MB, 12,000 files, 1 layer';
/** A restart per form and turn: a change of the machine's speed meets both forms. */
const turns = 2;

const stage = await openStage();
try {
  const images = new Map<number, string>();
  for (const count of layerCounts) {
    const added: Layer[] = [];
    for (let index = 1; index < count; index += 1)
      added.push(await layerOf([{ name: `layer-${index}/file`, body: `${count} layers, layer ${index}` }]));
    const { reference } = await stage.publish(`layers-${count}:1`, {
      base: false,
      layers: [await busyboxLayer(), ...added],
    });
    images.set(count, reference);
  }
  const { reference: large } = await stage.publish('large:1', {
    base: false,
    layers: (await pulledImages.find(({ name }) => name === largeImage)?.layers()) ?? [],
  });
  const times = new Map<string, number[]>();
  const checks = new Map<string, number[]>();
  for (let turn = 0; turn < turns; turn += 1) {
    for (const form of forms) {
      await useForm(form);
      for (const [count, reference] of images) {
        const image = await stage.pull(reference);
        const name = `${count} ${form}`;
        // The first pod warms up.
        for (let round = -1; round < rounds; round += 1) {
          const took = await podTime(image, `${form}-${turn}-${count}-${round + 1}`);
          if (round >= 0) times.set(name, [...(times.get(name) ?? []), took]);
        }
      }
      const image = await stage.pull(large);
      checks.set(form, [...(checks.get(form) ?? []), await checkSeconds(large)]);
      await stage.daemon.cri.image.removeImage({ image: { image } });
      for (const { id } of (await stage.daemon.cri.image.listImages({})).images)
        await stage.daemon.cri.image.removeImage({ image: { image: id } });
    }
  }
  const half = (name: string): number => percentile(times.get(name) ?? [], 0.5);
  console.log(`| layers | EROFS, ms | folders, ms | ratio |\n| --- | --- | --- | --- |`);
  for (const count of layerCounts) {
    const [erofs, folders] = [half(`${count} erofs`), half(`${count} folders`)];
    console.log(
      `| ${count} | ${erofs.toFixed(1)} | ${folders.toFixed(1)} | ${(erofs / folders).toFixed(2)} |`,
    );
  }
  console.log(`\nRunPodSandbox, CreateContainer and StartContainer together. Medians of ${turns * rounds}.`);
  for (const form of forms) {
    const seconds = percentile(checks.get(form) ?? [], 0.5);
    console.log(
      `images check of ${largeImage}, as ${form}: ${seconds.toFixed(2)} s, ${(0.905 / seconds).toFixed(2)} GB/s`,
    );
  }
} finally {
  await stage.close();
}

/** Restarts the daemon with this form for new layers. */
async function useForm(form: (typeof forms)[number]): Promise<void> {
  const file = join(stage.folders.folder, `${form}.yaml`);
  writeFileSync(file, `storage:\n  layers: ${form}\n`);
  await stage.restart({ flags: ['--config', file] });
}

async function podTime(image: string, name: string): Promise<number> {
  const { runtime } = stage.daemon.cri;
  const config = {
    metadata: { name, namespace: podNamespace, uid: name, attempt: 0 },
    linux: {
      cgroupParent: stage.cgroupParent,
      securityContext: { namespaceOptions: { network: NamespaceMode.NODE } },
    },
  };
  const started = performance.now();
  const { podSandboxId } = await runtime.runPodSandbox({ config });
  const { containerId } = await runtime.createContainer({
    podSandboxId,
    config: {
      metadata: { name: 'main', attempt: 0 },
      image: { image },
      command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 600 & wait $!; done'],
    },
    sandboxConfig: config,
  });
  await runtime.startContainer({ containerId });
  const took = performance.now() - started;
  await runtime.stopPodSandbox({ podSandboxId });
  await runtime.removePodSandbox({ podSandboxId });
  return took;
}

/** @returns the seconds that the command reports: without the start of the command itself */
async function checkSeconds(reference: string): Promise<number> {
  // The disk still works for the pull: that work is counted for no layer form.
  spawnSync('sync');
  const args = [
    'images',
    'check',
    reference,
    '--output',
    'json',
    '--admin-socket',
    join(stage.folders.state, 'admin.sock'),
  ];
  const { code, output } = await portcullis(args);
  if (code !== 0) throw new Error(output);
  return (JSON.parse(output) as { readonly seconds: number }).seconds;
}
