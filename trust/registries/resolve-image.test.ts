import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf, mediaTypes, parseManifest } from '../../base/distribution/index.ts';
import type { FetchedManifest, RegistryRepository } from '../../base/distribution/index.ts';
import { resolvePlatforms } from './resolve-image.ts';

const amd64 = { os: 'linux', architecture: 'amd64' };
const config = { mediaType: 'application/x', digest: digestOf('x'), size: 1 };

/** A repository with these manifests, the last of them under the tag `1`. */
function repositoryWith(...manifests: readonly FetchedManifest[]): RegistryRepository {
  const manifest = (wanted: string): Promise<FetchedManifest> => {
    const found = wanted === '1' ? manifests.at(-1) : manifests.find(({ digest }) => digest === wanted);
    return found === undefined ? Promise.reject(new Error(wanted)) : Promise.resolve(found);
  };
  return { manifest } as unknown as RegistryRepository;
}

function fetched(mediaType: string, fields: object): FetchedManifest {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...fields }));
  const content = parseManifest(bytes, mediaType, { attempted: 'read', on: 'x' });
  return { bytes, mediaType, digest: digestOf(bytes), content };
}
const image = (name: string): FetchedManifest =>
  fetched(mediaTypes.ociManifest, { config, layers: [], annotations: { name } });
const indexOf = (
  ...entries: readonly (readonly [FetchedManifest, platform?: object, annotations?: object])[]
): FetchedManifest =>
  fetched(mediaTypes.ociIndex, {
    manifests: entries.map(([{ mediaType, digest, bytes }, platform, annotations]) => ({
      ...{ mediaType, digest, size: bytes.length },
      ...(platform === undefined ? {} : { platform }),
      ...(annotations === undefined ? {} : { annotations }),
    })),
  });
const [one, other] = [image('one'), image('other')];

const indexes: readonly (readonly [what: string, index: FetchedManifest])[] = [
  ['not a newer variant that is listed first', indexOf([other, { ...amd64, variant: 'v3' }], [one, amd64])],
  ['the first, however its platform is written', indexOf([one, { os: 'Linux', architecture: 'X86_64' }])],
  ['the only one without a platform', indexOf([one])],
  ['a nested one', indexOf([indexOf([one, amd64])])],
];
for (const [what, index] of indexes)
  test(`the manifest that nodes select is judged: ${what}`, async () => {
    const nested = index.content.kind === 'index' ? [indexOf([one, amd64])] : [];
    const repositories = [repositoryWith(one, other, ...nested, index)];
    const expected = { digest: index.digest, manifestDigest: one.digest };
    assert.deepEqual(await resolvePlatforms(repositories, '1', [amd64]), [{ ...expected, platform: amd64 }]);
  });

const zstd = { 'io.github.containers.compression.zstd': 'true' };
const several: readonly (readonly [
  what: string,
  index: FetchedManifest,
  judged: readonly FetchedManifest[],
])[] = [
  [
    'one that demands features, which CRI-O ignores',
    indexOf([other, { ...amd64, 'os.features': ['erofs'] }], [one, amd64]),
    [one, other],
  ],
  ['a later one that CRI-O prefers', indexOf([one, amd64], [other, amd64, zstd]), [one, other]],
  [
    'one whose platform only containerd reads',
    indexOf([one, { os: 'Linux', architecture: 'X86_64' }], [other, amd64]),
    [one, other],
  ],
  ['not the same one twice', indexOf([one, amd64], [one, amd64]), [one]],
  ['not one of another variant', indexOf([one, amd64], [other, { ...amd64, variant: 'v3' }]), [one]],
  ['not one without a platform', indexOf([one, amd64], [other]), [one]],
];
for (const [what, index, judged] of several)
  test(`each manifest that some runtime selects for a platform is judged: ${what}`, async () => {
    const found = await resolvePlatforms([repositoryWith(one, other, index)], '1', [amd64]);
    assert.deepEqual(
      found,
      judged.map(({ digest }) => ({ digest: index.digest, manifestDigest: digest, platform: amd64 })),
    );
  });

test('with all platforms, entries that state none are judged, too', async () => {
  const index = indexOf(
    [one, amd64],
    [other],
    [image('attestation'), { os: 'unknown', architecture: 'unknown' }],
  );
  const found = await resolvePlatforms([repositoryWith(index)], '1', 'all');
  assert.deepEqual(
    found.map(({ manifestDigest, platform }) => [manifestDigest, platform.os]),
    [
      [one.digest, 'linux'],
      [other.digest, 'unknown'],
    ],
  );
  assert.ok(found.every(({ partial }) => partial));
});

test('an index with too many manifests for one platform is refused', async () => {
  const index = indexOf(...Array.from({ length: 66 }, (_, each) => [image(`${each}`), amd64] as const));
  await assert.rejects(resolvePlatforms([repositoryWith(index)], '1', [amd64]), {
    code: 'TRUST_NO_PLATFORM',
  });
});

test('an index that is too deep is refused', async () => {
  const all = [one];
  for (let level = 0; level < 6; level += 1) all.push(indexOf([all.at(-1) ?? one]));
  await assert.rejects(resolvePlatforms([repositoryWith(...all)], '1', [amd64]), {
    code: 'TRUST_NO_PLATFORM',
  });
});
