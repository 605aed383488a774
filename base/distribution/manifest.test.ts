import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { manifestByteLimit, mediaTypes, parseDescriptor, parseManifest } from './index.ts';

const task = { attempted: 'read manifest', on: 'r.io/a:1' };
const descriptor = { mediaType: 'application/x', digest: `sha256:${'0'.repeat(64)}`, size: 3 };
const manifest = {
  schemaVersion: 2,
  mediaType: mediaTypes.ociManifest,
  config: descriptor,
  layers: [descriptor],
};
const index = {
  schemaVersion: 2,
  mediaType: mediaTypes.ociIndex,
  manifests: [{ ...descriptor, platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } }],
};
const bytesOf = (value: unknown): Uint8Array =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));

describe('a manifest', () => {
  it('is read as the type that it states', () => {
    const read = parseManifest(
      bytesOf({ ...manifest, subject: descriptor, artifactType: 'a/b', annotations: { k: 'v' } }),
      mediaTypes.ociManifest,
      task,
    );
    assert.deepEqual(read, {
      kind: 'manifest',
      mediaType: mediaTypes.ociManifest,
      config: descriptor,
      layers: [descriptor],
      subject: descriptor,
      artifactType: 'a/b',
      annotations: { k: 'v' },
    });
    assert.deepEqual(parseManifest(bytesOf(index), mediaTypes.ociIndex, task), {
      kind: 'index',
      mediaType: mediaTypes.ociIndex,
      manifests: index.manifests,
      annotations: {},
    });
    const { mediaType: _none, ...untyped } = manifest;
    assert.equal(parseManifest(bytesOf(untyped), mediaTypes.dockerManifest, task).kind, 'manifest');
    assert.deepEqual(
      parseManifest(bytesOf({ schemaVersion: 2, manifests: null }), mediaTypes.dockerIndex, task).mediaType,
      mediaTypes.dockerIndex,
    );
  });

  // Readers that are written in Go see other values in them.
  const ambiguous: readonly (readonly [value: unknown, at: string, written: string, why: RegExp])[] = [
    [manifest, '{', '{"layers":[],', /"layers" twice/],
    [manifest, '{', '{"l\\u0061yers":[],', /"layers" twice/],
    [manifest, '{', '{"Layers":[],', /"Layers" differs/],
    [manifest, '{', '{"CONFIG":{},', /"CONFIG" differs/],
    [manifest, '{', '{"layer\u017f":[],', /"layer\u017f" differs/],
    [manifest, '"size":3', '"size":3,"Digest":""', /"Digest" differs/],
    [index, '{', '{"Manifests":[],', /"Manifests" differs/],
    [index, '"os":', '"Architecture":"amd64","os":', /"Architecture" differs/],
  ];
  for (const [value, at, written, why] of ambiguous)
    it(`is refused with ${written}`, () => {
      const text = JSON.stringify(value).replace(at, written);
      assert.throws(() => parseManifest(bytesOf(text), (value as typeof index).mediaType, task), why);
    });

  it('has annotations with any keys', () => {
    const annotations = { digest: 'a', Digest: 'b', Layers: 'c' };
    const read = parseManifest(bytesOf({ ...manifest, annotations }), mediaTypes.ociManifest, task);
    assert.deepEqual(read.annotations, annotations);
  });

  const refused: readonly (readonly [name: string, value: unknown, mediaType: string, why: RegExp])[] = [
    ['no JSON', '<html>', mediaTypes.ociManifest, /not JSON/],
    [
      'not UTF-8',
      Buffer.from([0x22, 0xff, 0x22]).toString('latin1'),
      mediaTypes.ociManifest,
      /not a JSON object/,
    ],
    ['a list', [], mediaTypes.ociManifest, /not a JSON object/],
    ['null', 'null', mediaTypes.ociManifest, /not a JSON object/],
    [
      'schema 1',
      { schemaVersion: 1, fsLayers: [] },
      'application/vnd.docker.distribution.manifest.v1+prettyjws',
      /schemaVersion/,
    ],
    [
      'an unknown media type',
      { schemaVersion: 2 },
      'application/vnd.oci.artifact.manifest.v1+json',
      /not a supported image manifest/,
    ],
    ['a mediaType field that differs', manifest, mediaTypes.ociIndex, /mediaType field/],
    [
      'a mediaType field that is not text',
      { ...manifest, mediaType: 7 },
      mediaTypes.ociManifest,
      /mediaType field/,
    ],
    [
      'a manifest with manifests (CVE-2021-41190)',
      { ...manifest, manifests: [] },
      mediaTypes.ociManifest,
      /also has the field manifests/,
    ],
    [
      'an index with layers (CVE-2021-41190)',
      { ...index, layers: [] },
      mediaTypes.ociIndex,
      /also has the field layers/,
    ],
    [
      'an index with a config',
      { ...index, config: descriptor },
      mediaTypes.ociIndex,
      /also has the field config/,
    ],
    [
      'a manifest without config',
      { schemaVersion: 2, layers: [] },
      mediaTypes.ociManifest,
      /config: no descriptor/,
    ],
    [
      'a manifest without layers',
      { schemaVersion: 2, config: descriptor },
      mediaTypes.ociManifest,
      /layers is not a list/,
    ],
    [
      'a negative size',
      { ...manifest, layers: [{ ...descriptor, size: -1 }] },
      mediaTypes.ociManifest,
      /layers\[0\]: its size/,
    ],
    [
      'a size beyond exact numbers',
      { ...manifest, layers: [{ ...descriptor, size: 2 ** 60 }] },
      mediaTypes.ociManifest,
      /its size/,
    ],
    [
      'a digest that is none',
      { ...manifest, config: { ...descriptor, digest: 'sha256:../../etc' } },
      mediaTypes.ociManifest,
      /config: its digest/,
    ],
    [
      'an annotation that is not text',
      { ...manifest, annotations: { a: 1 } },
      mediaTypes.ociManifest,
      /annotation/,
    ],
    ['a subject that is none', { ...manifest, subject: 'x' }, mediaTypes.ociManifest, /subject/],
  ];
  for (const [name, value, mediaType, why] of refused) {
    it(`with ${name} is refused`, () => {
      assert.throws(() => parseManifest(bytesOf(value), mediaType, task), {
        code: 'DISTRIBUTION_BAD_MANIFEST',
        kind: 'invalid',
        message: why,
      });
    });
  }

  it('with too many entries or bytes is refused', () => {
    const many = (count: number): unknown[] => Array.from({ length: count }, () => descriptor);
    const tooLarge = { code: 'DISTRIBUTION_TOO_LARGE', kind: 'invalid' };
    assert.throws(
      () => parseManifest(bytesOf({ ...index, manifests: many(1001) }), mediaTypes.ociIndex, task),
      tooLarge,
    );
    assert.throws(
      () => parseManifest(bytesOf({ ...manifest, layers: many(501) }), mediaTypes.ociManifest, task),
      tooLarge,
    );
    assert.throws(
      () => parseManifest(new Uint8Array(manifestByteLimit + 1), mediaTypes.ociManifest, task),
      tooLarge,
    );
  });

  it('is either read or refused with a code, whatever the JSON', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(...Object.values(mediaTypes)), (text, mediaType) => {
        try {
          parseManifest(bytesOf(text), mediaType, task);
        } catch (error) {
          assert.match((error as { code: string }).code, /^DISTRIBUTION_/);
        }
      }),
    );
  });
});

describe('a descriptor', () => {
  it('with hostile names in its annotations stays a plain map', () => {
    const read = parseDescriptor(
      JSON.parse(
        `{"mediaType":"a","digest":"${descriptor.digest}","size":0,"annotations":{"__proto__":"x","constructor":"y"}}`,
      ),
    );
    assert.ok(typeof read !== 'string');
    assert.deepEqual(Object.entries(read.annotations ?? {}), [
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ]);
  });
});
