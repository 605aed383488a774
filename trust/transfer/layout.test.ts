import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { digestOf, isDigest } from '../../base/distribution/index.ts';
import { openLayout } from './layout.ts';
import type { LayoutRepository } from './layout.ts';

const home = mkdtempSync(join(tmpdir(), 'portcullis-layout-'));
after(() => rmSync(home, { recursive: true }));
const folder = (): string => mkdtempSync(join(home, 'layout-'));
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const emptyType = 'application/vnd.oci.empty.v1+json';
const damaged = { code: 'TRUST_ARCHIVE_DAMAGED' };
const missing = { code: 'DISTRIBUTION_NOT_FOUND' };

async function push(
  layout: LayoutRepository,
  label: string,
  about: {
    readonly tag?: string;
    readonly subject?: { readonly digest: string; readonly size: number };
    readonly artifactType?: string;
  } = {},
): Promise<{ readonly digest: string; readonly size: number }> {
  const { digest, size } = await layout.pushBlob(Buffer.from('{}'));
  const { tag, subject, artifactType } = about;
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      ...(artifactType === undefined ? {} : { artifactType }),
      config: { mediaType: emptyType, digest, size },
      layers: [],
      annotations: { label },
      ...(subject === undefined ? {} : { subject: { mediaType: manifestType, ...subject } }),
    }),
  );
  const pushed = await layout.pushManifest(manifest, manifestType, tag === undefined ? {} : { tag });
  return { digest: pushed.digest, size: manifest.length };
}

const fileOf = (at: string, digest: string): string =>
  join(at, 'blobs/sha256', digest.slice('sha256:'.length));

test('pushed content is found when the folder is opened later: tags, digests, and their evidence', async () => {
  const at = folder();
  const layout = await openLayout(at);
  const first = await push(layout, 'first', { tag: '1' });
  const second = await push(layout, 'second', { tag: '1' });
  const other = await push(layout, 'other');
  const signature = await push(layout, 'signature', {
    subject: second,
    artifactType: 'application/vnd.example.signature',
  });
  await push(layout, 'bill', { subject: second, artifactType: 'application/vnd.example.bill' });
  await layout.finish();
  const again = await openLayout(at);
  assert.equal((await again.resolve('1')).digest, second.digest);
  assert.equal((await again.manifest(other.digest)).digest, other.digest);
  await assert.rejects(again.resolve('2'), missing);
  // A moved tag leaves nothing behind under its name. Its previous image is no longer part of this archive.
  await assert.rejects(again.resolve(first.digest), missing);
  const found = (await again.referrers(second.digest, { artifactType: 'application/vnd.example.signature' }))
    .descriptors;
  assert.deepEqual(
    found.map(({ digest }) => digest),
    [signature.digest],
  );
  assert.equal((await again.referrers(second.digest)).descriptors.length, 2);
  assert.deepEqual((await again.referrers(other.digest)).descriptors, []);
});

test('a tag that is the digest of another manifest does not replace this manifest', async () => {
  const at = folder();
  const layout = await openLayout(at);
  const wanted = await push(layout, 'wanted');
  await push(layout, 'hostile', { tag: wanted.digest });
  assert.equal((await layout.manifest(wanted.digest)).digest, wanted.digest);
});

test('before finish nothing is visible: a killed process leaves an empty archive', async () => {
  const at = folder();
  const { digest } = await push(await openLayout(at), 'lost', { tag: '1' });
  const again = await openLayout(at);
  await assert.rejects(again.resolve('1'), missing);
  await assert.rejects(again.manifest(digest), missing);
});

async function streamed(
  layout: LayoutRepository,
  blob: { readonly digest: string; readonly size: number },
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of await layout.blob(blob)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test('bytes that differ from their digest are refused', async () => {
  const at = folder();
  const layout = await openLayout(at);
  const bytes = Buffer.from('the bytes of a layer');
  const blob = await layout.pushBlob(bytes);
  assert.deepEqual(await layout.blobBytes(blob, 1024), bytes);
  assert.deepEqual(await streamed(layout, blob), bytes);
  const { digest } = await push(layout, 'image', { tag: '1' });
  for (const one of [blob.digest, digest]) {
    const whole = readFileSync(fileOf(at, one));
    for (const spoil of [
      () => truncateSync(fileOf(at, one), whole.length - 1),
      () => writeFileSync(fileOf(at, one), Buffer.concat([whole, Buffer.from(' ')])),
      () => writeFileSync(fileOf(at, one), Buffer.alloc(whole.length, 'x')),
    ]) {
      spoil();
      if (one === digest) await assert.rejects(layout.manifest('1'), damaged);
      else {
        await assert.rejects(streamed(layout, blob), damaged);
        await assert.rejects(layout.blobBytes(blob, 1024), damaged);
      }
      writeFileSync(fileOf(at, one), whole);
    }
  }
  rmSync(fileOf(at, blob.digest));
  await assert.rejects(layout.blob(blob), missing);
  await assert.rejects(layout.blobBytes({ ...blob, size: 1 }, 1024), missing);
});

test('a digest is not a path: nothing outside the folder is read', async () => {
  const at = folder();
  writeFileSync(join(at, 'secret'), 'secret');
  mkdirSync(join(at, 'inside'));
  const layout = await openLayout(join(at, 'inside'));
  for (const digest of [
    'sha256:../../../secret',
    `sha256:${'A'.repeat(64)}`,
    `sha512:${'a'.repeat(128)}`,
    '',
    '../secret',
  ]) {
    await assert.rejects(layout.blob({ digest, size: 6 }), damaged);
    await assert.rejects(layout.manifest(digest), missing);
    // A layout may list manifests that cannot be read.
    if (isDigest(digest)) continue;
    const index = { schemaVersion: 2, manifests: [{ mediaType: manifestType, digest, size: 6 }] };
    writeFileSync(join(at, 'inside/index.json'), JSON.stringify(index));
    await assert.rejects(openLayout(join(at, 'inside')), damaged);
    rmSync(join(at, 'inside/index.json'));
  }
});

test('a blob that is cancelled is not read to its end', async () => {
  const layout = await openLayout(folder());
  const blob = await layout.pushBlob(randomBytes(3 * 1024 * 1024));
  const cancelled = new AbortController();
  let read = 0;
  await assert.rejects(
    async () => {
      for await (const chunk of await layout.blob(blob, cancelled.signal)) {
        read += chunk.length;
        cancelled.abort();
      }
    },
    { name: 'AbortError' },
  );
  assert.ok(read > 0 && read < blob.size, `${read} bytes`);
});

test('a blob whose first bytes were read before yields the rest, and only if all bytes are correct', async () => {
  const layout = await openLayout(folder());
  const bytes = Buffer.from('0123456789'.repeat(1000));
  const { digest, size } = await layout.pushBlob(bytes);
  const rest = async (begun: Uint8Array): Promise<Buffer> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of await layout.blob({ digest, size }, undefined, Readable.from([begun])))
      chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  assert.deepEqual(await rest(bytes.subarray(0, 4_321)), bytes.subarray(4_321));
  assert.deepEqual(await rest(bytes), Buffer.alloc(0));
  await assert.rejects(rest(Buffer.from('x')), damaged);
  await assert.rejects(rest(Buffer.concat([bytes, bytes])), damaged);
});

test('a malformed index is refused with its own error, whatever it contains', async () => {
  const at = folder();
  mkdirSync(join(at, 'blobs/sha256'), { recursive: true });
  const bytes = Buffer.from('[]');
  writeFileSync(fileOf(at, digestOf(bytes)), bytes);
  const entry = fc.record({
    mediaType: fc.constantFrom('', manifestType, 'x'),
    digest: fc.constantFrom(digestOf(bytes), 'sha256:0', 'x'),
    size: fc.nat(),
  });
  const index = fc.record({
    schemaVersion: fc.constantFrom(1, 2, '2'),
    manifests: fc.oneof(fc.array(entry, { minLength: 1 }), fc.jsonValue()),
  });
  await fc.assert(
    fc.asyncProperty(fc.oneof(index, fc.jsonValue(), fc.string()), async (value) => {
      writeFileSync(join(at, 'index.json'), typeof value === 'string' ? value : JSON.stringify(value));
      try {
        const layout = await openLayout(at);
        // An index that can be opened must still not give a manifest.
        await assert.rejects(layout.manifest(digestOf(bytes)));
      } catch (error) {
        assert.equal((error as { code?: unknown }).code, damaged.code, String(error));
      }
    }),
    { numRuns: 200 },
  );
});

test('a layout that also lists a manifest that it lacks, and content of other types, gives its image', async () => {
  const at = folder();
  const layout = await openLayout(at);
  const { digest, size } = await push(layout, 'whole', { tag: '1' });
  const other = await layout.pushBlob(randomBytes(100));
  const entry = (mediaType: string, tag: string) => ({
    mediaType,
    size,
    annotations: { 'org.opencontainers.image.ref.name': tag },
  });
  const absent = digestOf(Buffer.from('absent'));
  const manifests = [
    { ...entry('application/xml', 'text'), digest: other.digest },
    { ...entry(manifestType, '2'), digest: absent },
    { ...entry(manifestType, '3'), digest: digestOf(Buffer.from('absent'), 'sha512') },
    { ...entry(manifestType, '1'), digest },
  ];
  writeFileSync(join(at, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  const opened = await openLayout(at);
  assert.deepEqual(
    opened.images().map(({ tag }) => tag),
    ['2', '3', '1'],
  );
  assert.equal((await opened.manifest('1')).digest, digest);
  await assert.rejects(opened.manifest('2'), {
    ...missing,
    message: new RegExp(absent),
  });
  await assert.rejects(opened.manifest('3'), { ...damaged, message: /only sha256 digests/u });
});

test('a link in place of a blob is named as the reason', async () => {
  const at = folder();
  const { digest, size } = await (await openLayout(at)).pushBlob(Buffer.from('content'));
  renameSync(fileOf(at, digest), join(at, 'elsewhere'));
  symlinkSync('../../elsewhere', fileOf(at, digest));
  await assert.rejects((await openLayout(at)).blobBytes({ digest, size }, 100), {
    ...damaged,
    message: /it is a symbolic link; put the file in its place/u,
  });
});
