import { join } from 'node:path';
import { parseReference } from '../../base/distribution/index.ts';
import { openRegistries, signReference } from '../../trust/index.ts';
import { startDaemon } from './daemon.ts';
import { keepSteps, stopSteps } from './stop-steps.ts';
import { buildWebImage } from './image.ts';
import { expectRefusal, shortDigest, refusalLines } from './refusal.ts';
import { pushImage, transplantSignature } from './push-image.ts';
import { startRegistry } from './registry.ts';
import { runSteps } from './run-steps.ts';
import { makeEnvironment, podNamespace, policyText } from './environment.ts';
import { page } from './context.ts';
import type { Context } from './context.ts';
import type { StepReport } from './step-report.ts';
import { removePods, sweep } from './cleanup.ts';
import { filesBelow, filesThatHold, kernelTraces } from './traces.ts';
import { expect } from './expect.ts';

/** Registers an action that the end of the quickstart undoes, in every case; last first. */
export type Undo = (action: () => Promise<unknown>) => void;

/**
 * Runs the whole flow, and returns how to look at what stays (`keep`). Throws at the first step that fails.
 */
export async function runFlow(
  report: StepReport,
  folder: string,
  undo: Undo,
  keep: boolean,
): Promise<readonly string[]> {
  report.chapter('A separate registry, policy and daemon');
  const registry = await report.step(
    'a real registry, on loopback, in a separate network namespace',
    () => startRegistry(join(folder, 'registry')),
    ({ version, host }) => `docker-registry ${version} at ${host}`,
  );
  undo(() => registry.close());
  const environment = await report.step(
    'a key, a policy and a profile',
    () => makeEnvironment(folder, registry.host),
    () => policyText(registry.host).trim().split('\n'),
  );
  const untouched = kernelTraces(folder, environment.cgroupParent);
  undo(() => sweep(environment));
  const daemon = await report.step(
    'portcullisd serves the CRI',
    () => startDaemon(environment),
    (started) => [`unix://${environment.socket}`, `${started.residentMiB().toFixed(0)} MiB resident`],
  );
  undo(() => daemon.stop());
  undo(async () => daemon.gone() || removePods(daemon.cri));

  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  undo(() => registries.close());
  const reference = `${registry.host}/shop/web:1`;
  const [repository] = await registries.repositories(parseReference(reference));
  if (repository === undefined) throw new Error('a registry client without a registry');

  report.chapter('An image without a signature');
  const image = await report.step(
    'push an image: busybox and a page',
    async () => {
      const built = await buildWebImage(page);
      await pushImage(repository, built, '1');
      return built;
    },
    (built) =>
      `${reference}  ${shortDigest(built.manifestDigest)}  ${(built.layer.length / 2 ** 20).toFixed(1)} MiB`,
  );
  const context: Context = { report, environment, registry, daemon, repository, untouched, reference, image };
  await reportUnsigned(context);

  report.chapter('The same image, signed');
  await report.step(
    'sign it with the key, as cosign does',
    () =>
      signReference({
        reference,
        key: environment.key,
        format: 'bundle',
        recursive: false,
        registry: registries,
        now: new Date(),
      }),
    ([signed]) =>
      `${signed?.format ?? ''} ${shortDigest(signed?.manifestDigest ?? '')}, found by ${signed?.via ?? ''}`,
  );
  const { imageRef } = await report.step(
    'PullImage: verified, pulled, unpacked',
    () => pull(context, reference),
    (answer) => `image ${shortDigest(answer.imageRef)}`,
  );

  report.chapter('A signature that belongs to another image');
  await reportTransplanted(context);

  await runSteps(context, imageRef);
  if (keep) return keepSteps(context);
  await stopSteps(context);
  return [];
}

function pull({ daemon, environment }: Context, reference: string) {
  const sandboxConfig = {
    metadata: { name: 'web', uid: 'web', namespace: podNamespace, attempt: 0 },
    logDirectory: environment.logs,
  };
  return daemon.cri.image.pullImage({ image: { image: reference }, sandboxConfig }, { timeoutMs: 60_000 });
}

async function reportUnsigned(context: Context): Promise<void> {
  const { report, environment, reference, image, daemon } = context;
  const refusal = await report.step(
    'PullImage: refused',
    () => expectRefusal(() => pull(context, reference)),
    refusalLines,
  );
  await report.step(
    'no byte of the image is on disk; the verdict is',
    async () => {
      const { images } = await daemon.cri.image.listImages({});
      expect(images.length === 0, 'no image is listed', `${images.length} images`);
      const folders = [environment.root, environment.state];
      // Search for a stretch of the layer that no other file can hold, the configuration, and the layer's
      // file name.
      const needles = [image.layer.subarray(2000, 2064), image.config, image.layerDigest.slice(7)];
      const holders = filesThatHold(folders, needles.slice(0, 2)).concat(
        filesBelow(environment.root).filter((path) => path.includes(image.layerDigest.slice(7))),
      );
      expect(holders.length === 0, 'no file holds a part of the image', holders.join(', '));
      const verdictId = String(refusal.failure.details?.['verdictId']);
      expect(
        filesThatHold([environment.root], [verdictId]).length > 0,
        `verdict ${verdictId} is recorded`,
        'it is nowhere',
      );
      return { count: folders.flatMap(filesBelow).length, verdictId };
    },
    ({ count, verdictId }) =>
      `searched ${count} files; verdict ${shortDigest(verdictId)} remains, with its evidence`,
  );
}

async function reportTransplanted(context: Context): Promise<void> {
  const { report, repository, registry, image } = context;
  const forged = `${registry.host}/shop/web:forged`;
  await report.step(
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
  await report.step('PullImage: refused', () => expectRefusal(() => pull(context, forged)), refusalLines);
}
