import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { signImage } from '../../trust/index.ts';
import { openLayout } from '../../trust/transfer/index.ts';
import { mountDeadServer, noDeadServer } from '../../test/fixtures/dead-server.ts';
import { openHostPaths } from '../host-paths/host-paths.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { openStoreForTests, skip } from './store-for-tests.fixture.ts';
import { ociIndex, ociManifest, openKit, pushImage, tarOf } from './test-kit.ts';
import type { Kit } from './test-kit.ts';

let registry: TestRegistry;
let kit: Kit;
let layouts = 0;

openStoreForTests({
  opened: (opened, its) => {
    kit = opened;
    registry = its;
  },
  current: () => kit,
  empty: ['ingest', 'staging', 'blobs/sha256', 'layers'],
});

const leftovers = (): string[] =>
  ['ingest', 'staging', 'blobs/sha256', 'layers'].flatMap((name) => readdirSync(`${kit.root}/${name}`));

interface Made {
  readonly folder: string;
  readonly digest: string;
  readonly layer: string;
}

async function layoutWith(label: string, isSigned: boolean): Promise<Made> {
  const folder = `${kit.folder}/layout-${(layouts++).toString()}`;
  const layout = await openLayout(folder);
  const { digest } = await pushImage(layout, {
    layers: [{ tar: await tarOf([{ name: 'id', body: label }]) }],
    tag: 'x',
    label,
  });
  if (isSigned)
    await signImage({ repository: layout, digest, key: kit.key, format: 'bundle', now: new Date() });
  await layout.finish();
  const { content } = await layout.manifest(digest);
  assert.ok(content.kind === 'manifest');
  return {
    folder,
    digest,
    layer: `${folder}/blobs/sha256/${content.layers[0]?.digest.slice('sha256:'.length) ?? ''}`,
  };
}

const importAs = (reference: string, { folder, digest }: Made) =>
  kit.store.importLayout({ folder, digest, reference, namespace: '' });

test(
  'a signed image of a layout is admitted by its own evidence, with its own digests',
  { skip },
  async () => {
    const made = await layoutWith('signed', true);
    const { image, verdict } = await importAs(kit.reference('signed/app', '7'), made);
    assert.deepEqual(
      [image.digest, verdict.outcome, image.repoTags],
      [made.digest, 'admit', [kit.reference('signed/app', '7')]],
    );
    const { path } = await kit.store.mountRootfs('c1', image);
    assert.equal(readFileSync(`${path}/id`, 'utf8'), 'signed');
    await kit.store.removeRootfs('c1');
  },
);

test(
  'an image without a signature is refused as in a pull, and nothing is left of it',
  { skip },
  async () => {
    const made = await layoutWith('unsigned', false);
    await assert.rejects(importAs(kit.reference('signed/app'), made), { code: 'IMAGES_DENIED' });
    assert.deepEqual([kit.store.list(), leftovers()], [[], []]);
  },
);

test('one platform of an index is imported by its digest', { skip }, async () => {
  const folder = `${kit.folder}/layout-${(layouts++).toString()}`;
  const layout = await openLayout(folder);
  const layers = [{ tar: await tarOf([{ name: 'id', body: 'part' }]) }];
  const { digest } = await pushImage(layout, { layers });
  const { size } = await layout.resolve(digest);
  const part = { mediaType: ociManifest, digest, size, platform: { os: 'linux', architecture: 'amd64' } };
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests: [part] }));
  await layout.pushManifest(index, ociIndex, { tag: '1' });
  await layout.finish({ children: false });
  const { image } = await importAs(kit.reference('open/part', '1'), { folder, digest, layer: '' });
  assert.equal(image.digest, digest);
});

test('a signature that only the registry has counts', { skip }, async () => {
  const made = await layoutWith('elsewhere', false);
  const { digest } = await pushImage(kit.repository('signed/elsewhere'), {
    layers: [{ tar: await tarOf([{ name: 'id', body: 'elsewhere' }]) }],
    label: 'elsewhere',
  });
  assert.equal(digest, made.digest);
  await kit.sign('signed/elsewhere', digest);
  const { verdict } = await importAs(kit.reference('signed/elsewhere', 'any'), made);
  assert.equal(verdict.outcome, 'admit');
});

test(
  'the image of the layout is used even if the registry has another image under the tag',
  { skip },
  async () => {
    const made = await layoutWith('ours', false);
    await pushImage(kit.repository('open/same'), {
      layers: [{ tar: await tarOf([{ name: 'id', body: 'theirs' }]) }],
      tag: '1',
    });
    assert.equal((await importAs(kit.reference('open/same'), made)).image.digest, made.digest);
    // The manifest is damaged: the registry must not be asked for the tag instead.
    const other = await layoutWith('damaged', false);
    writeFileSync(`${other.folder}/blobs/sha256/${other.digest.slice('sha256:'.length)}`, '{}');
    await assert.rejects(importAs(kit.reference('open/same'), other), { code: 'TRUST_ARCHIVE_DAMAGED' });
  },
);

test('a layer with a flipped byte is refused, and nothing is left of the image', { skip }, async () => {
  const made = await layoutWith('flipped', true);
  const bytes = readFileSync(made.layer);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(made.layer, bytes);
  await assert.rejects(importAs(kit.reference('signed/flipped'), made));
  assert.deepEqual([kit.store.list(), leftovers()], [[], []]);
});

test(
  'a layer with a flipped byte is fetched from the registry if the registry has it',
  { skip },
  async () => {
    const made = await layoutWith('replaced', true);
    await pushImage(kit.repository('signed/replaced'), {
      layers: [{ tar: await tarOf([{ name: 'id', body: 'replaced' }]) }],
      label: 'replaced',
    });
    const bytes = readFileSync(made.layer);
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    writeFileSync(made.layer, bytes);
    const { image } = await importAs(kit.reference('signed/replaced'), made);
    const { path } = await kit.store.mountRootfs('c2', image);
    assert.equal(readFileSync(`${path}/id`, 'utf8'), 'replaced');
    await kit.store.removeRootfs('c2');
  },
);

test('a name with another digest, or a folder that is not a layout, is refused', { skip }, async () => {
  const made = await layoutWith('named', true);
  const other = `sha256:${'0'.repeat(64)}`;
  const name = kit.reference('signed/named').replace(/:[^:/]*$/u, '');
  await assert.rejects(importAs(`${name}@${other}`, made), { code: 'IMAGES_IMPORT_MISMATCH' });
  assert.equal((await importAs(`${name}@${made.digest}`, made)).image.digest, made.digest);
  await assert.rejects(importAs(name, { ...made, folder: `${kit.folder}/k.pub` }), {
    code: 'TRUST_ARCHIVE_DAMAGED',
  });
  for (const wrong of [
    { ...made, folder: `${kit.folder}/none` },
    { ...made, digest: other },
  ])
    await assert.rejects(importAs(name, wrong), { code: 'IMAGES_NOT_FOUND' });
});

test(
  'a layout on a dead file server fails, and does not block reads of other files',
  { skip: skip === false ? noDeadServer : skip, timeout: 90_000 },
  async () => {
    const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
    const paths = await openHostPaths(programStarter(reactor, kernel), []);
    const dead = mountDeadServer();
    const other = await openKit(registry.host, { givenFiles: { part: paths.filePart } });
    try {
      const digest = `sha256:${'0'.repeat(64)}`;
      const importing = Array.from({ length: 6 }, () =>
        other.store
          .importLayout({ folder: dead.folder, digest, reference: kit.reference('open/dead'), namespace: '' })
          .then(
            () => 'imported',
            (thrown: unknown) => (thrown as { code?: string }).code,
          ),
      );
      await pause(500);
      assert.equal((await readFile(`${other.folder}/k.pub`, 'utf8')).startsWith('-----BEGIN'), true);
      assert.deepEqual(
        await Promise.all(importing),
        Array.from({ length: 6 }, () => 'RUNTIME_PATH_NO_ANSWER'),
      );
      const made = await layoutWith('through a process', true);
      const request = { ...made, reference: kit.reference('open/apart'), namespace: '' };
      const { image } = await other.store.importLayout(request);
      assert.equal(image.digest, made.digest);
    } finally {
      dead.close();
      await other.close();
      await paths.close();
      await kernel.close();
      await reactor.close();
    }
  },
);
