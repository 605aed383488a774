import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { defaultLimits } from '../limits/limits.ts';
import { parseImageConfig } from './image-config.ts';
import { chooseManifest } from './image-index.ts';
import { parseManifest } from './image-manifest.ts';

const digest = `sha256:${'d'.repeat(64)}`;
const linux = (architecture: string, variant?: string) => ({
  os: 'linux',
  architecture,
  ...(variant === undefined ? {} : { variant }),
});
const bytes = (value: unknown): Buffer =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 1 };
const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: 2 };
const manifest = { schemaVersion: 2, mediaType: ociManifest, config, layers: [layer] };

function codeOf(body: () => unknown): string {
  try {
    body();
  } catch (thrown) {
    assert.ok(isPortcullisError(thrown), String(thrown));
    return thrown.code;
  }
  return 'none';
}

const manifests: readonly (readonly [string, unknown, string])[] = [
  ['a sound one', manifest, 'none'],
  ['no layers, as Go writes them', { ...manifest, layers: null }, 'none'],
  ['no JSON', '<html>', 'IMAGES_BAD_MANIFEST'],
  ['a list', [], 'IMAGES_BAD_MANIFEST'],
  ['schema 1', { schemaVersion: 1, fsLayers: [] }, 'IMAGES_BAD_MANIFEST'],
  ['an index as well', { ...manifest, manifests: [] }, 'IMAGES_BAD_MANIFEST'],
  [
    'an artifact without files',
    { ...manifest, config: { ...config, mediaType: 'application/vnd.oci.empty.v1+json' } },
    'IMAGES_BAD_ARTIFACT',
  ],
  [
    'a sha512 layer',
    { ...manifest, layers: [{ ...layer, digest: `sha512:${'d'.repeat(128)}` }] },
    'IMAGES_BAD_MANIFEST',
  ],
  [
    'a digest that is a path',
    { ...manifest, layers: [{ ...layer, digest: 'sha256:../../x' }] },
    'IMAGES_BAD_MANIFEST',
  ],
  ['a blob listed twice', { ...manifest, layers: [layer, layer] }, 'none'],
  ['a blob with two sizes', { ...manifest, layers: [layer, { ...layer, size: 2 }] }, 'IMAGES_BAD_MANIFEST'],
  ['a negative size', { ...manifest, layers: [{ ...layer, size: -1 }] }, 'IMAGES_BAD_MANIFEST'],
  ['a fractional size', { ...manifest, layers: [{ ...layer, size: 0.5 }] }, 'IMAGES_BAD_MANIFEST'],
  [
    'urls on a layer',
    { ...manifest, layers: [{ ...layer, urls: ['https://example.com/'] }] },
    'IMAGES_BAD_MANIFEST',
  ],
  ['a huge layer', { ...manifest, layers: [{ ...layer, size: 2 ** 50 }] }, 'IMAGES_TOO_LARGE'],
  ['a huge configuration', { ...manifest, config: { ...config, size: 2 ** 30 } }, 'IMAGES_TOO_LARGE'],
  ['too many layers', { ...manifest, layers: Array.from({ length: 501 }, () => layer) }, 'IMAGES_TOO_LARGE'],
];
for (const [what, value, code] of manifests) {
  test(`manifest, ${what}: ${code}`, () => {
    assert.equal(
      codeOf(() => parseManifest(bytes(value), digest, defaultLimits)),
      code,
    );
  });
}

/** Configurations in which readers that are written in Go see other values. */
const ambiguous: readonly (readonly [string, string])[] = [
  ['{"config":{"User":"1000"},"config":{}', 'IMAGES_BAD_CONFIG'],
  ['{"config":{"User":"0","user":"1000"}', 'IMAGES_BAD_CONFIG'],
  ['{"Rootfs":{}', 'IMAGES_BAD_CONFIG'],
  ['{"Size":1,"config":{"Labels":{"user":"","User":""},"Volumes":{"/a":{},"Env":{}}}', 'none'],
];
for (const [text, code] of ambiguous) {
  test(`configuration, ${text}: ${code}`, () => {
    const document = bytes(`${text},"rootfs":{"type":"layers"}}`);
    assert.equal(
      codeOf(() => parseImageConfig(document, digest, 0, linux('amd64'))),
      code,
    );
  });
}

const configs: readonly (readonly [string, unknown, string])[] = [
  [
    'a sound one',
    { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [digest] } },
    'none',
  ],
  ['null fields', { config: null, rootfs: { type: 'layers', diff_ids: [digest] } }, 'none'],
  ['no rootfs', { os: 'linux', architecture: 'amd64' }, 'IMAGES_BAD_CONFIG'],
  ['a wrong number of layers', { rootfs: { type: 'layers', diff_ids: [] } }, 'IMAGES_BAD_CONFIG'],
  ['a bad diff id', { rootfs: { type: 'layers', diff_ids: ['sha256:x'] } }, 'IMAGES_BAD_CONFIG'],
  [
    'a command that is not a list',
    { config: { Cmd: 'sh' }, rootfs: { type: 'layers', diff_ids: [digest] } },
    'IMAGES_BAD_CONFIG',
  ],
  [
    'another name of the architecture',
    { os: 'Linux', architecture: 'x86_64', rootfs: { type: 'layers', diff_ids: [digest] } },
    'none',
  ],
  [
    'a label without a value',
    { config: { Labels: { a: null } }, rootfs: { type: 'layers', diff_ids: [digest] } },
    'none',
  ],
  [
    'another architecture',
    { architecture: 'arm64', rootfs: { type: 'layers', diff_ids: [digest] } },
    'IMAGES_NO_PLATFORM',
  ],
];
for (const [what, value, code] of configs) {
  test(`configuration, ${what}: ${code}`, () => {
    assert.equal(
      codeOf(() => parseImageConfig(bytes(value), digest, 1, linux('amd64'))),
      code,
    );
  });
}

test('all fields of a configuration are read', () => {
  const value = {
    os: 'linux',
    architecture: 'amd64',
    created: '2026-01-01T00:00:00Z',
    config: {
      User: '1:2',
      Env: ['A=b'],
      Entrypoint: ['/e'],
      Cmd: ['c'],
      WorkingDir: '/w',
      Volumes: { '/v': {} },
      Labels: { l: 'm' },
      StopSignal: 'SIGINT',
    },
    rootfs: { type: 'layers', diff_ids: [] },
  };
  assert.deepEqual(parseImageConfig(bytes(value), digest, 0, linux('amd64')).config, {
    architecture: 'amd64',
    os: 'linux',
    created: '2026-01-01T00:00:00Z',
    user: '1:2',
    env: ['A=b'],
    entrypoint: ['/e'],
    cmd: ['c'],
    workingDir: '/w',
    volumes: ['/v'],
    labels: { l: 'm' },
    stopSignal: 'SIGINT',
  });
});

const entry = (name: string, platform?: object, mediaType = ociManifest) => ({
  mediaType,
  digest: `sha256:${Buffer.from(name).toString('hex').padEnd(64, '0')}`,
  size: 1,
  ...(platform === undefined ? {} : { platform }),
});
const choices: readonly (readonly [string, readonly object[], object, string | undefined])[] = [
  ['the only one', [entry('a', linux('amd64'))], linux('amd64'), 'a'],
  [
    'not an attestation',
    [entry('x', { os: 'unknown', architecture: 'unknown' }), entry('a', linux('amd64'))],
    linux('amd64'),
    'a',
  ],
  [
    'not a newer variant',
    [entry('v3', linux('amd64', 'v3')), entry('a', linux('amd64'))],
    linux('amd64'),
    'a',
  ],
  [
    'arm64 v8 is the same as arm64 without a variant',
    [entry('a', linux('arm64', 'v8'))],
    linux('arm64'),
    'a',
  ],
  [
    'the best arm below ours',
    [entry('5', linux('arm', 'v5')), entry('6', linux('arm', 'v6')), entry('7', linux('arm', 'v7'))],
    linux('arm', 'v6'),
    '6',
  ],
  [
    'a nested index',
    [entry('a', linux('amd64'), 'application/vnd.oci.image.index.v1+json')],
    linux('amd64'),
    'a',
  ],
  ['another name of the architecture', [entry('a', linux('x86_64'))], linux('amd64'), 'a'],
  ['capitals', [entry('a', { os: 'Linux', architecture: 'AMD64' })], linux('amd64'), 'a'],
  ['the only one that states no platform', [entry('a', linux('s390x')), entry('b')], linux('amd64'), 'b'],
  ['a platform before none', [entry('a'), entry('b', linux('amd64'))], linux('amd64'), 'b'],
  ['two that state no platform', [entry('a'), entry('b')], linux('amd64'), undefined],
  [
    'no artifact beside the images',
    [entry('a', linux('s390x')), { ...entry('b'), artifactType: 'application/x' }],
    linux('amd64'),
    undefined,
  ],
  ['no other type', [entry('a', linux('amd64'), 'application/x')], linux('amd64'), undefined],
  [
    'not one that demands a feature of the operating system',
    [entry('a', { ...linux('amd64'), 'os.features': ['erofs'] }), entry('b', linux('amd64'))],
    linux('amd64'),
    'b',
  ],
  ['nothing for us', [entry('a', linux('s390x'))], linux('amd64'), undefined],
];
for (const [what, entries, platform, expected] of choices) {
  test(`index: ${what}`, () => {
    const choose = () =>
      chooseManifest(
        bytes({ schemaVersion: 2, manifests: entries }),
        digest,
        platform as ReturnType<typeof linux>,
        defaultLimits,
      );
    if (expected === undefined) assert.equal(codeOf(choose), 'IMAGES_NO_PLATFORM');
    else assert.equal(choose().digest, entry(expected).digest);
  });
}

test('every document gives a value or an error with a code', () => {
  const keys = fc.constantFrom(
    'schemaVersion',
    'manifests',
    'layers',
    'config',
    'mediaType',
    'digest',
    'size',
    'platform',
    'os',
    'architecture',
    'rootfs',
    'type',
    'diff_ids',
    'Env',
    'Labels',
  );
  const { document } = fc.letrec((tie) => ({
    document: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom(2, 'layers', digest, ociManifest, null, -1, 'linux'),
      fc.array(tie('document'), { maxLength: 3 }),
      fc.dictionary(keys, tie('document')),
    ),
  }));
  fc.assert(
    fc.property(document, (value) => {
      codeOf(() => chooseManifest(bytes(value), digest, linux('amd64'), defaultLimits));
      codeOf(() => parseManifest(bytes(value), digest, defaultLimits));
      codeOf(() => parseImageConfig(bytes(value), digest, 1, linux('amd64')));
    }),
    { numRuns: 500 },
  );
});
