import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { createRegistryClient } from '../../base/distribution/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { findRegistry, registryUser, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { ociIndex, ociManifest, openKit, pushImage, tarOf } from './test-kit.ts';
import type { Kit } from './test-kit.ts';
import type { PullCredentials } from './types.ts';

/**
 * Behaviour on which a kubelet relies when it verifies that a pod may use an image that is present
 * (KEP-2535): a pull asks the registry with the credentials of this pull, and the id of the image stays the
 * same.
 */
describe(
  'a pull of an image that is present',
  { skip: findRegistry() === undefined ? 'no docker-registry' : false },
  () => {
    let registry: TestRegistry;
    let kit: Kit;
    let client: ReturnType<typeof createRegistryClient>;
    let index = '';
    let manifest = '';
    before(async () => {
      registry = await startRegistry({ auth: true });
      kit = await openKit(registry.host);
      client = createRegistryClient({ tagSettleMs: 0 });
      const [repository] = client.repositories(
        { registry: registry.host, repository: 'open/app' },
        registryUser,
      );
      assert.ok(repository);
      const tar = await tarOf([{ name: 'file', body: randomBytes(1000) }]);
      manifest = (await pushImage(repository, { layers: [{ tar }] })).digest;
      const size = (await repository.manifest(manifest)).bytes.length;
      const platform = { os: 'linux', architecture: process.arch === 'arm64' ? 'arm64' : 'amd64' };
      const manifests = [{ mediaType: ociManifest, digest: manifest, size, platform }];
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests }));
      index = (await repository.pushManifest(bytes, ociIndex, { tag: '1' })).digest;
    });
    after(async () => {
      await kit.close();
      await client.close();
      await registry.close();
    });

    const pull = async (suffix: string, credentials?: PullCredentials) =>
      (
        await kit.store.pull({
          reference: `${registry.host}/open/app${suffix}`,
          namespace: '',
          ...(credentials && { credentials }),
        })
      ).image;
    const references = (): readonly string[] => [':1', `@${index}`, `@${manifest}`];

    it('gives the same id for the tag, the index and the manifest, and each name finds the image', async () => {
      const ids = new Set<string>();
      for (const suffix of references()) {
        const image = await pull(suffix, registryUser);
        ids.add(image.id);
        assert.equal(kit.store.find(`${registry.host}/open/app${suffix}`)?.id, image.id);
      }
      assert.equal(ids.size, 1);
      const [image] = kit.store.list();
      assert.deepEqual(image?.repoTags, [`${registry.host}/open/app:1`]);
      assert.deepEqual(
        [...image.repoDigests].sort(),
        [`${registry.host}/open/app@${index}`, `${registry.host}/open/app@${manifest}`].sort(),
      );
    });

    it('fails with wrong credentials and without credentials, by tag and by digest, and keeps the image', async () => {
      for (const suffix of references()) await pull(suffix, registryUser);
      for (const suffix of references()) {
        for (const credentials of [
          { username: registryUser.username, password: 'wrong' },
          { username: 'other', password: 'x' },
          undefined,
        ]) {
          const thrown: unknown = await pull(suffix, credentials).catch((error: unknown) => error);
          assert.ok(isPortcullisError(thrown), `${suffix} was pulled`);
          assert.doesNotMatch(JSON.stringify(thrown.failure) + thrown.message, /wrong/);
        }
      }
      assert.equal(kit.store.list().length, 1);
      await pull(':1', registryUser);
    });

    it('fails with wrong credentials also while a pull with valid ones is in progress', async () => {
      for (const image of kit.store.list()) await kit.store.remove(image.id);
      const ask = (credentials: PullCredentials): Promise<unknown>[] =>
        Array.from({ length: 4 }, () => pull(':1', credentials));
      const all = await Promise.allSettled([
        ...ask(registryUser),
        ...ask({ username: registryUser.username, password: 'wrong' }),
      ]);
      const [good, bad] = [all.slice(0, 4), all.slice(4)];
      assert.ok(good.every(({ status }) => status === 'fulfilled'));
      assert.ok(bad.every(({ status }) => status === 'rejected'));
    });
  },
);
