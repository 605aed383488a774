import { join } from 'node:path';
import { parseReference } from '../../base/distribution/index.ts';
import { openRegistries, signReference } from '../../trust/index.ts';
import { startDaemon } from './daemon.ts';
import { tellKept, tellStopped } from './ending.ts';
import { buildWebImage } from './image.ts';
import { expectRefusal, shortDigest, tellRefusal } from './refusal.ts';
import { pushImage, transplantSignature } from './push.ts';
import { startRegistry } from './registry.ts';
import { tellRun } from './running.ts';
import { makeSetting, podNamespace, policyText } from './setting.ts';
import { page } from './scene.ts';
import type { Scene } from './scene.ts';
import type { Story } from './story.ts';
import { removePods, sweep } from './sweep.ts';
import { filesBelow, filesThatHold, kernelTraces } from './traces.ts';
import { expect } from './expect.ts';

/** Registers an action that the end of the quickstart undoes, in every case; last first. */
export type Undo = (action: () => Promise<unknown>) => void;

/**
 * Runs the whole flow, and returns how to look at what stays (`keep`). Throws at the first step that fails.
 */
export async function tell(story: Story, folder: string, undo: Undo, keep: boolean): Promise<readonly string[]> {
  story.chapter('A registry, a policy and a daemon of their own');
  const registry = await story.step(
    'a real registry, on loopback, in a network namespace of its own',
    () => startRegistry(join(folder, 'registry')),
    ({ version, host }) => `docker-registry ${version} at ${host}`,
  );
  undo(() => registry.close());
  const setting = await story.step(
    'a key, a policy and a profile',
    () => makeSetting(folder, registry.host),
    () => policyText(registry.host).trim().split('\n'),
  );
  const untouched = kernelTraces(folder, setting.cgroupParent);
  const daemon = await story.step(
    'portcullisd serves the CRI',
    () => startDaemon(setting),
    (started) => [`unix://${setting.socket}`, `${started.residentMiB().toFixed(0)} MiB resident`],
  );
  undo(() => sweep(setting));
  undo(() => daemon.stop());
  undo(async () => daemon.gone() || removePods(daemon.cri));

  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  undo(() => registries.close());
  const reference = `${registry.host}/shop/web:1`;
  const [repository] = await registries.repositories(parseReference(reference));
  if (repository === undefined) throw new Error('a registry client without a registry');

  story.chapter('An image without a signature');
  const image = await story.step(
    'push an image: busybox and a page',
    async () => {
      const built = await buildWebImage(page);
      await pushImage(repository, built, '1');
      return built;
    },
    (built) => `${reference}  ${shortDigest(built.manifestDigest)}  ${(built.layer.length / 2 ** 20).toFixed(1)} MiB`,
  );
  const scene: Scene = { story, setting, registry, daemon, repository, untouched, reference, image };
  await tellUnsigned(scene);

  story.chapter('The same image, signed');
  await story.step(
    'sign it with the key, as cosign does',
    () => signReference({ reference, key: setting.key, format: 'bundle', recursive: false, registry: registries, now: new Date() }),
    ([signed]) => `${signed?.format ?? ''} ${shortDigest(signed?.manifestDigest ?? '')}, found by ${signed?.via ?? ''}`,
  );
  const { imageRef } = await story.step(
    'PullImage: verified, pulled, unpacked',
    () => pull(scene, reference),
    (answer) => `image ${shortDigest(answer.imageRef)}`,
  );

  story.chapter('A signature that belongs to another image');
  await tellTransplanted(scene);

  await tellRun(scene, imageRef);
  if (keep) return tellKept(scene);
  await tellStopped(scene);
  return [];
}

function pull({ daemon, setting }: Scene, reference: string) {
  const sandboxConfig = { metadata: { name: 'web', uid: 'web', namespace: podNamespace, attempt: 0 }, logDirectory: setting.logs };
  return daemon.cri.image.pullImage({ image: { image: reference }, sandboxConfig }, { timeoutMs: 60_000 });
}

async function tellUnsigned(scene: Scene): Promise<void> {
  const { story, setting, reference, image, daemon } = scene;
  const refusal = await story.step('PullImage: refused', () => expectRefusal(() => pull(scene, reference)), tellRefusal);
  await story.step(
    'no byte of it is on disk; the verdict is',
    async () => {
      const { images } = await daemon.cri.image.listImages({});
      expect(images.length === 0, 'no image is listed', `${images.length} images`);
      const folders = [setting.root, setting.state];
      // Search for a stretch of the layer that no other file can hold, the configuration, and the layer's
      // file name.
      const needles = [image.layer.subarray(2000, 2064), image.config, image.layerDigest.slice(7)];
      const holders = filesThatHold(folders, needles.slice(0, 2)).concat(
        filesBelow(setting.root).filter((path) => path.includes(image.layerDigest.slice(7))),
      );
      expect(holders.length === 0, 'no file holds a part of the image', holders.join(', '));
      const verdictId = String(refusal.failure.details?.['verdictId']);
      expect(filesThatHold([setting.root], [verdictId]).length > 0, `verdict ${verdictId} is recorded`, 'it is nowhere');
      return { count: folders.flatMap(filesBelow).length, verdictId };
    },
    ({ count, verdictId }) => `searched ${count} files; verdict ${shortDigest(verdictId)} remains, with its evidence`,
  );
}

async function tellTransplanted(scene: Scene): Promise<void> {
  const { story, repository, registry, image } = scene;
  const forged = `${registry.host}/shop/web:forged`;
  await story.step(
    'push another image with the first one’s signature attached to it',
    async () => {
      const other = await buildWebImage('Something else.');
      await pushImage(repository, other, 'forged');
      const attached = await transplantSignature(repository, image.manifestDigest, other.manifestDigest);
      expect(attached > 0, 'the first image has a signature', 'it has none');
      return other;
    },
    (other) => `${forged}  ${shortDigest(other.manifestDigest)}`,
  );
  await story.step('PullImage: refused', () => expectRefusal(() => pull(scene, forged)), tellRefusal);
}
