import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { mediaTypes } from '../../base/distribution/index.ts';
import type { PushedImage } from '../fixtures/image.ts';
import { createContainer, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage, plainPolicy, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { fileOf, testRepository } from '../../trust/tuf/fixtures/repository.fixture.ts';
import type { TestRepository } from '../../trust/tuf/fixtures/repository.fixture.ts';
import { testService } from '../../trust/tuf/fixtures/served-repository.fixture.ts';
import type { TestService } from '../../trust/tuf/fixtures/served-repository.fixture.ts';

/** One refresh serves all requests within two seconds. */
const refreshed = (): Promise<void> => pause(2100);
const everyRole = ['timestamp', 'snapshot', 'targets'];

for (const dialect of ['tuf', 'notary'] as const) {
  describe(`a tag whose digest a ${dialect} service signs`, () => {
    let stage: Stage;
    let service: TestService;
    const older = new Map<string, PushedImage>();
    let newer: PushedImage;
    const repositories = new Map<string, TestRepository>();
    const reference = `${registryName}/app/web:1`;

    /** From now on the service signs this image for the tag. */
    const sign = (name: string, image: PushedImage): void => {
      const repository = repositories.get(name) ?? testRepository(dialect);
      if (repositories.has(name))
        for (const role of everyRole) repository.versions[role] = (repository.versions[role] ?? 1) + 1;
      repositories.set(name, repository);
      repository.targets['targets'] = { 1: fileOf(dialect, Buffer.from(image.manifest)) };
      const { root } = service.publish(`${registryName}/${name}`, repository);
      if ((repository.versions['targets'] ?? 1) === 1)
        writeFileSync(join(stage.folders.policy, `.${name.replace('/', '-')}-root.json`), root ?? '');
    };
    /** An attacker who can write to the registry moves the tag back to the older image. */
    const moveTag = (name: string): Promise<unknown> =>
      stage.repository(name).pushManifest(olderOf(name).manifest, mediaTypes.ociManifest, { tag: '1' });
    const olderOf = (name: string): PushedImage => {
      const image = older.get(name);
      assert.ok(image);
      return image;
    };
    const digestsOf = async (): Promise<readonly string[]> => {
      const { images } = await stage.daemon.cri.image.listImages({});
      return images.flatMap(({ repoDigests }) => repoDigests);
    };

    before(async () => {
      stage = await openStage({ policy: plainPolicy });
      service = await testService();
      mkdirSync(stage.folders.policy, { recursive: true });
      for (const name of ['app/web', 'app/fresh', 'plain/web']) {
        const { image } = await stage.publish(`${name}:1`);
        older.set(name, image);
        if (name !== 'plain/web') sign(name, image);
      }
      const requirement = (name: string, maxAge: string): string =>
        `  - images: ["${registryName}/${name}"]\n    require:\n      all:\n        - tuf: { service: "${service.url}", dialect: ${dialect}, root: .${name.replace('/', '-')}-root.json, maxAge: ${maxAge} }\n        - cosign: { key: k.pub }\n    entitlements: { ceiling: privileged }\n`;
      stage.writePolicy(
        policyOf(
          `${requirement('app/web', '1h')}${requirement('app/fresh', '3s')}  - images: ["${registryName}/plain/**"]\n    require: { cosign: { key: k.pub } }\n`,
        ),
      );
      await stage.restart();
    });
    after(async () => {
      await service.close();
      await stage.close();
    });

    it('is that digest, although the registry’s tag points to an older image that was signed too', async () => {
      await stage.publish('plain/web:1');
      ({ image: newer } = await stage.publish('app/web:1'));
      await moveTag('plain/web');
      await moveTag('app/web');
      sign('app/web', newer);
      // For comparison: a policy that requires only a signature accepts the older one.
      await stage.pull(`${registryName}/plain/web:1`);
      await stage.pull(`${registryName}/plain/web@${olderOf('plain/web').manifestDigest}`);
      await stage.pull(reference);
      assert.ok((await digestsOf()).includes(`${registryName}/app/web@${newer.manifestDigest}`));
      const replay = await failureOf(
        stage.pull(`${registryName}/app/web@${olderOf('app/web').manifestDigest}`),
      );
      assert.equal(replay.code, 'IMAGES_DENIED');
      assert.match(replay.message, /no name of good\.test\/app\/web that is signed now has the digest/);
    });

    it('runs, and is refused when the service serves older metadata, also after a restart', async () => {
      const image = await stage.pull(reference);
      const pod = await runPod(stage, 'web');
      await runContainer(stage, pod, { image, reference });
      const before = new Map(service.files);
      sign('app/web', newer);
      await refreshed();
      await stage.pull(reference);
      for (const [path, bytes] of before) service.files.set(path, bytes);
      await refreshed();
      assert.match(
        (await failureOf(stage.pull(reference))).message,
        /timestamp: version \d is older than \d, which was trusted before/,
      );
      await stage.restart();
      assert.match((await failureOf(stage.pull(reference))).message, /which was trusted before/);
      // An admitted image continues to run, and can run again.
      await createContainer(stage, pod, { image, reference, name: 'second' });
      sign('app/web', newer);
      sign('app/web', newer);
      await refreshed();
      await stage.pull(reference);
      await removePod(stage, pod);
    });

    it('is looked up again before the metadata expires; after the tag moved, the old image no longer runs', async () => {
      const fresh = `${registryName}/app/fresh:1`;
      const image = await stage.pull(fresh);
      const pod = await runPod(stage, 'fresh');
      await pause(4000);
      await createContainer(stage, pod, { image, reference: fresh, name: 'first' });
      const { image: moved } = await stage.publish('app/fresh:1');
      sign('app/fresh', moved);
      await pause(4000);
      const failure = await failureOf(
        createContainer(stage, pod, { image, reference: fresh, name: 'second' }),
      );
      assert.match(
        failure.message,
        /"1" is signed as sha256:[0-9a-f]+ by targets.* but this image is sha256:/,
      );
      await stage.pull(fresh);
      await removePod(stage, pod);
    });
  });
}
