import assert from 'node:assert/strict';
import { after, before, describe, it, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { digestOf } from '../../base/distribution/index.ts';
import type { Credentials, RegistryRepository } from '../../base/distribution/index.ts';
import { findRegistry } from '../../test/fixtures/registry.ts';
import { signImage } from '../../trust/index.ts';
import { createSharedDocuments } from './shared-documents.ts';
import { openHeldRegistry } from './stalling-server.fixture.ts';
import type { HeldRegistry } from './stalling-server.fixture.ts';
import { pushImage, sha256, tarOf } from './test-kit.ts';

describe(
  'pulls at the same time',
  { skip: findRegistry() === undefined ? 'no docker-registry' : false },
  () => {
    let held: HeldRegistry;
    let server: HeldRegistry['server'];
    let kit: HeldRegistry['kit'];
    before(async () => {
      held = await openHeldRegistry();
      ({ server, kit } = held);
    });
    after(() => held.close());
    /** Pulls each name four times at once; the layer arrives when every other request is answered. */
    async function pullAll(layer: string, names: readonly (readonly [string, string])[]): Promise<void> {
      server.hold(layer);
      const pulls = [...names, ...names, ...names, ...names].map(([name, tag]) =>
        kit.store.pull({ reference: kit.reference(name, tag), namespace: '' }),
      );
      const all = Promise.all(pulls);
      all.catch(() => undefined);
      for (let before = -1; before < server.paths.length || before < pulls.length;) {
        before = server.paths.length;
        await pause(500);
      }
      server.release();
      await all;
    }
    const requested = (kind: 'blobs' | 'manifests'): readonly string[] =>
      server.paths
        .filter((path) => path.includes(`/${kind}/sha256:`))
        .map((path) => path.split('/').at(-1) ?? '');

    it('of one image under the names of three repositories fetch its configuration once', async () => {
      const tar = await tarOf([{ name: 'file', body: 'three names' }]);
      const names = ['open/one', 'open/two', 'open/three'];
      const layers = [{ tar, blob: tar, mediaType: 'application/vnd.oci.image.layer.v1.tar' }];
      for (const name of names) await pushImage(held.origin(name), { layers, label: 'same', tag: '1' });
      await pullAll(
        sha256(tar),
        names.map((name) => [name, '1'] as const),
      );
      assert.equal(kit.store.list().length, 1);
      const fetched = requested('blobs');
      assert.equal(new Set(fetched).size, 2, 'configuration and layer');
      assert.deepEqual(fetched.length, 2, fetched.join('\n'));
      assert.equal(server.paths.filter((path) => path.endsWith('/manifests/1')).length, 12);
    });

    it('of one signed image under three tags fetch each blob and each manifest of a signature once', async () => {
      const tar = await tarOf([{ name: 'file', body: 'three tags' }]);
      const layers = [{ tar, blob: tar, mediaType: 'application/vnd.oci.image.layer.v1.tar' }];
      const tags = ['1', '2', '3'];
      for (const tag of tags) {
        const { digest } = await pushImage(held.origin('signed/app'), { layers, label: 'signed', tag });
        if (tag !== '3') continue;
        const repository = held.origin('signed/app');
        await signImage({ repository, digest, key: kit.key, format: 'bundle', now: new Date() });
      }
      await pullAll(
        sha256(tar),
        tags.map((tag) => ['signed/app', tag] as const),
      );
      const fetched = [...requested('blobs'), ...requested('manifests')];
      assert.equal(requested('blobs').length, 3, 'configuration, layer and signature');
      assert.deepEqual(fetched.toSorted(), [...new Set(fetched)].toSorted());
    });
  },
);

const bytes = Buffer.from('{"a":"document"}');
const document = { digest: digestOf(bytes), size: bytes.length };

interface ReadOptions {
  readonly registry?: string;
  readonly ended?: Promise<unknown>;
  readonly signal?: AbortSignal;
  readonly limit?: number;
  readonly asks?: { readonly digest: string; readonly size: number };
}

/** A repository that answers when the test says so, and the pulls that ask it. */
function heldRepository() {
  const asked: {
    readonly answer: (value: Uint8Array | Error) => void;
    readonly signal: AbortSignal | undefined;
  }[] = [];
  const blobBytes = (_: unknown, __: number, signal?: AbortSignal): Promise<Uint8Array> => {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    asked.push({ answer: (value) => (value instanceof Error ? reject(value) : resolve(value)), signal });
    return promise;
  };
  const documents = createSharedDocuments();
  const place = { host: 'registry.test', repository: 'a', blobBytes } as unknown as RegistryRepository;
  const read = (credentials?: Credentials, options: ReadOptions = {}): Promise<Uint8Array> => {
    const { registry = 'registry.test', ended = Promise.resolve(), signal, limit = 1000 } = options;
    const { asks = document } = options;
    const [shared] = documents.places([place], { registry, credentials, ended });
    return shared?.blobBytes(asks, limit, signal) ?? assert.fail('no place');
  };
  return { asked, read };
}

test('a pull joins no fetch with other credentials, nor one of a name at another registry', async () => {
  const { asked, read } = heldRepository();
  const user = { username: 'a', password: 'b' };
  const reads = [
    read(user),
    read({ password: 'b', username: 'a' }),
    read({ username: 'a', password: 'c' }),
    read(),
    read({ registryToken: 'b' }),
    read(user, { registry: 'other.test' }),
  ];
  assert.equal(asked.length, 5);
  for (const { answer } of asked) answer(bytes);
  for (const each of reads) assert.equal(await each, bytes);
});

test('a document is shared until the pulls that have it end, and fetched again after that', async () => {
  const { asked, read } = heldRepository();
  const ends = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const [first, second] = ends.map(({ promise }) => read(undefined, { ended: promise }));
  asked[0]?.answer(bytes);
  await Promise.all([first, second]);
  ends[0]?.resolve();
  await pause(1);
  assert.equal(await read(), bytes);
  assert.equal(asked.length, 1);
  ends[1]?.resolve();
  await pause(1);
  void read();
  assert.equal(asked.length, 2);
});

test('if the fetch of another pull fails, a pull asks once more by itself', async () => {
  const { asked, read } = heldRepository();
  const reads = [read(), read(), read()];
  asked[0]?.answer(new Error('not there'));
  await assert.rejects(reads[0] ?? assert.fail(), /not there/u);
  await pause(1);
  assert.equal(asked.length, 3);
  asked[1]?.answer(bytes);
  asked[2]?.answer(new Error('gone'));
  assert.equal(await reads[1], bytes);
  await assert.rejects(reads[2] ?? assert.fail(), /gone/u);
});

test('a pull that is cancelled leaves the fetch to the others, and the last one ends it', async () => {
  const { asked, read } = heldRepository();
  const [one, two] = [new AbortController(), new AbortController()];
  const reads = [one, two].map(({ signal }) => read(undefined, { signal }));
  one.abort(new Error('enough'));
  await assert.rejects(reads[0] ?? assert.fail(), /enough/u);
  assert.equal(asked[0]?.signal?.aborted, false);
  two.abort(new Error('enough too'));
  await assert.rejects(reads[1] ?? assert.fail(), /enough too/u);
  assert.equal(asked[0]?.signal?.aborted, true);
  assert.equal(asked.length, 1);
});

test('a document of more bytes than a caller accepts is not taken from another pull', async () => {
  const { asked, read } = heldRepository();
  void read();
  void read(undefined, { limit: 3 });
  assert.equal(asked.length, 2);
});

test('documents are kept for other pulls up to 8 MiB together', async () => {
  const { asked, read } = heldRepository();
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const limit = 256 * 1024;
  const all = Array.from({ length: 33 }, (_, index) => ({
    digest: `sha256:${String(index).padStart(64, '0')}`,
    size: limit,
  }));
  const readAll = all.map((asks) => read(undefined, { asks, limit, ended }));
  for (const { answer } of asked) answer(bytes);
  await Promise.all(readAll);
  void read(undefined, { asks: all[31] ?? assert.fail(), limit, ended });
  assert.equal(asked.length, 33);
  void read(undefined, { asks: all[32] ?? assert.fail(), limit, ended });
  assert.equal(asked.length, 34);
  resolve();
});
