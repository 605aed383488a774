import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createRegistryClient } from '../base/distribution/index.ts';
import type { RegistryRepository } from '../base/distribution/index.ts';
import { findRegistry, startRegistry } from '../test/fixtures/registry.ts';
import type { TestRegistry } from '../test/fixtures/registry.ts';
import { commandFile, compileCache } from '../test/fixtures/command.ts';

const skip = findRegistry() === undefined ? 'no docker-registry' : false;
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
let registry: TestRegistry;
let folder = '';
let image = '';

function portcullis(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  const environment = { ...compileCache, PATH: process.env['PATH'], HOME: folder, COSIGN_PASSWORD: 'words' };
  return spawnSync(process.execPath, [commandFile, ...args], {
    cwd: folder,
    env: environment,
    encoding: 'utf8',
  });
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cli-trust-'));
  if (skip !== false) return;
  registry = await startRegistry();
  image = `${registry.host}/app:1`;
  const client = createRegistryClient({ tagSettleMs: 0 });
  const [repository] = client.repositories({ registry: registry.host, repository: 'app' });
  assert.ok(repository);
  const config = await repository.pushBlob(Buffer.from('{"architecture":"amd64","os":"linux"}'));
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: { ...config, mediaType: 'application/vnd.oci.image.config.v1+json' },
    layers: [],
  };
  await repository.pushManifest(Buffer.from(JSON.stringify(manifest)), manifestType, { tag: '1' });
  await client.close();
});
after(async () => {
  if (skip === false) await registry.close();
  await rm(folder, { recursive: true });
});

test('a key is made, an image is denied, signed and admitted', { skip }, async () => {
  assert.equal(portcullis('sign', '--generate-key', 'cosign').status, 0);
  assert.equal((await stat(join(folder, 'cosign.key'))).mode & 0o777, 0o600);
  const denied = portcullis('verify', image, '--key', 'cosign.pub');
  assert.equal(denied.status, 1);
  assert.match(denied.stdout, /no signature was found for this image/);
  for (const format of ['bundle', 'legacy'])
    assert.equal(portcullis('sign', image, '--key', 'cosign.key', '--format', format).status, 0);
  const admitted = portcullis('verify', image, '--key', 'cosign.pub', '--output', 'json');
  assert.equal(admitted.status, 0);
  assert.equal((JSON.parse(admitted.stdout) as { outcome: string }).outcome, 'admit');
});

test(
  'each manifest that some runtime selects must be admitted, and the other one is named',
  { skip },
  async () => {
    const client = createRegistryClient({ tagSettleMs: 0 });
    const [repository] = client.repositories({ registry: registry.host, repository: 'several' });
    assert.ok(repository);
    const config = await repository.pushBlob(Buffer.from('{"architecture":"amd64","os":"linux"}'));
    const digests: string[] = [];
    const manifests: object[] = [];
    for (const name of ['plain', 'zstd']) {
      const bytes = Buffer.from(
        JSON.stringify({
          ...{ schemaVersion: 2, mediaType: manifestType, layers: [], annotations: { name } },
          config: { ...config, mediaType: 'application/vnd.oci.image.config.v1+json' },
        }),
      );
      const { digest } = await repository.pushManifest(bytes, manifestType, {});
      digests.push(digest);
      const platform = { os: 'linux', architecture: 'amd64' };
      manifests.push({ mediaType: manifestType, digest, size: bytes.length, platform });
    }
    const indexType = 'application/vnd.oci.image.index.v1+json';
    const index = { schemaVersion: 2, mediaType: indexType, manifests };
    await repository.pushManifest(Buffer.from(JSON.stringify(index)), indexType, { tag: '1' });
    await client.close();
    const [first = '', second = ''] = digests;
    const name = `${registry.host}/several`;
    const verify = (): ReturnType<typeof portcullis> =>
      portcullis('verify', `${name}:1`, '--key', 'cosign.pub', '--platform', 'linux/amd64');
    assert.equal(portcullis('sign', `${name}@${first}`, '--key', 'cosign.key').status, 0);
    const denied = verify();
    assert.equal(denied.status, 1, denied.stdout);
    assert.ok(denied.stdout.includes(`platform linux/amd64: ${second}`), denied.stdout);
    assert.ok(denied.stdout.includes(`${first}, ${second}; the verdict is about ${second}`), denied.stdout);
    assert.equal(portcullis('sign', `${name}@${second}`, '--key', 'cosign.key').status, 0);
    const admitted = verify();
    assert.equal(admitted.status, 0, admitted.stdout);
    assert.match(admitted.stdout, /each of them is admitted/);
  },
);

test('a mirror that dropped the evidence is named', { skip }, async () => {
  const mirror = await startRegistry();
  const client = createRegistryClient({ tagSettleMs: 0 });
  const at = (host: string): RegistryRepository => {
    const [repository] = client.repositories({ registry: host, repository: 'app' });
    assert.ok(repository);
    return repository;
  };
  try {
    const { bytes, mediaType, content } = await at(registry.host).manifest('1');
    assert.equal(content.kind, 'manifest');
    if (content.kind === 'manifest')
      await at(mirror.host).pushBlob(await at(registry.host).blobBytes(content.config, 4096));
    await at(mirror.host).pushManifest(bytes, mediaType, { tag: '1' });
    const words = ['--key', 'cosign.pub', '--registry-mirror', `${registry.host}=${mirror.url}`];
    const denied = portcullis('verify', image, ...words);
    assert.equal(denied.status, 1);
    assert.match(denied.stdout, new RegExp(`note: the mirror ${mirror.host} serves the image and nothing`));
    const json = JSON.parse(portcullis('verify', image, ...words, '--output', 'json').stdout) as {
      readonly notes?: readonly string[];
    };
    assert.equal(json.notes?.length, 1);
    const named = /--against (\S+)$/.exec(json.notes?.[0] ?? '')?.[1] ?? '';
    const compared = portcullis('images', 'evidence', image, '--against', named);
    assert.equal(compared.status, 1, compared.stderr);
    assert.match(compared.stdout, /signature \(sigstore bundle\)/);
  } finally {
    await client.close();
    await mirror.close();
  }
});

test('a comparison says that the original has no evidence that a copy could lack', { skip }, async () => {
  const client = createRegistryClient({ tagSettleMs: 0 });
  const [source] = client.repositories({ registry: registry.host, repository: 'app' });
  const [bare] = client.repositories({ registry: registry.host, repository: 'bare' });
  assert.ok(source && bare);
  const { bytes, mediaType, content } = await source.manifest('1');
  if (content.kind === 'manifest') await bare.pushBlob(await source.blobBytes(content.config, 4096));
  await bare.pushManifest(bytes, mediaType, { tag: '1' });
  await client.close();
  const unsigned = `${registry.host}/bare:1`;
  const compared = portcullis('images', 'evidence', unsigned, '--against', image);
  assert.equal(compared.status, 0, compared.stderr);
  assert.match(compared.stdout, /has everything, but the original has no signature and no other evidence/u);
});

test('kept evidence decides offline, about its own image and platform only', { skip }, () => {
  assert.equal(portcullis('verify', image, '--key', 'cosign.pub', '--save-dossier', 'app.json').status, 0);
  const offline = (name: string, ...args: readonly string[]): ReturnType<typeof portcullis> =>
    portcullis(
      'verify',
      name,
      '--key',
      'cosign.pub',
      '--offline',
      '--dossier',
      'app.json',
      '--registry-mirror',
      `${registry.host}=http://127.0.0.1:9`,
      ...args,
    );
  assert.equal(offline(image).status, 0);
  assert.match(offline('127.0.0.1:9/other:1').stderr, /CLI_OTHER_DOSSIER/);
  assert.match(offline(image, '--platform', 'linux/s390x').stderr, /CLI_OTHER_DOSSIER/);
  assert.equal(portcullis('verify', image, '--key', 'cosign.pub', '--offline').status, 2);
});

test('kept evidence of an index decides about each manifest of the platform', { skip }, async () => {
  const client = createRegistryClient({ tagSettleMs: 0 });
  const [repository] = client.repositories({ registry: registry.host, repository: 'several' });
  assert.ok(repository);
  const config = await repository.pushBlob(Buffer.from('{"architecture":"amd64","os":"linux"}'));
  const push = async (content: object, mediaType: string, tag?: string) => {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...content }));
    const { digest } = await repository.pushManifest(bytes, mediaType, tag === undefined ? {} : { tag });
    return { mediaType, digest, size: bytes.length };
  };
  const manifestOf = (title: string) =>
    push(
      {
        config: { ...config, mediaType: 'application/vnd.oci.image.config.v1+json' },
        layers: [],
        annotations: { title },
      },
      manifestType,
    );
  const [plain, special] = [await manifestOf('plain'), await manifestOf('special')];
  const platform = { os: 'linux', architecture: 'amd64' };
  const entries = [
    { ...plain, platform },
    { ...special, platform: { ...platform, 'os.features': ['special'] } },
  ];
  await push({ manifests: entries }, 'application/vnd.oci.image.index.v1+json', '1');
  await client.close();
  const name = `${registry.host}/several`;
  assert.equal(portcullis('sign', '--generate-key', 'stranger').status, 0);
  const signed = portcullis('sign', `${name}@${plain.digest}`, '--key', 'cosign.key');
  assert.equal(signed.status, 0, signed.stderr);

  const words = ['verify', `${name}:1`, '--platform', 'linux/amd64'];
  const saved = portcullis(...words, '--key', 'stranger.pub', '--save-dossier', 'several.json');
  assert.equal(saved.status, 1, saved.stderr);
  const online = portcullis(...words, '--key', 'cosign.pub');
  const offline = portcullis(...words, '--key', 'cosign.pub', '--offline', '--dossier', 'several.json');
  for (const { status, stdout } of [online, offline]) {
    assert.equal(status, 1, stdout);
    assert.match(stdout, new RegExp(`the verdict is about ${special.digest}`));
  }
});

test('a policy decides by name and namespace; a registry that is down is undecided', { skip }, async () => {
  await copyFile(
    join(import.meta.dirname, '../trust/evidence/fixtures/keys/ecdsa-p256.pub'),
    join(folder, 'other.pub'),
  );
  const rule = (images: string, key: string, more = ''): string =>
    `  - images: ["${images}"]\n    require: { cosign: { key: ${key} } }\n${more}`;
  await writeFile(
    join(folder, 'policy.yaml'),
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n${rule('127.0.0.1:*/app', 'cosign.pub', '    namespaces: ["team-*"]\n')}${rule('127.0.0.1:9/**', 'other.pub')}`,
  );
  const verify = (...args: string[]): number | null =>
    portcullis('verify', ...args, '--policy', 'policy.yaml').status;
  assert.equal(verify(image, '--namespace', 'team-a'), 0);
  assert.equal(verify(image, '--namespace', 'web'), 1);
  assert.equal(verify(image), 1);
  assert.equal(verify('127.0.0.1:9/down:1'), 3);
  assert.equal(verify(`${registry.host}/elsewhere:1`), 1);
  assert.equal(
    portcullis('policy', 'explain', image, '--policy', 'policy.yaml', '--namespace', 'team-a').status,
    0,
  );
  assert.equal(portcullis('policy', 'explain', image, '--policy', 'policy.yaml').status, 1);
});

test('invalid use exits with 2 and names what is missing', () => {
  for (const [args, says] of [
    [['verify', 'x'], /--policy FILE or --key FILE/],
    [
      ['verify', 'x', '--policy', 'nowhere.yaml'],
      /nowhere\.yaml: cannot be read: it does not exist.*name files that exist/s,
    ],
    [['verify', 'UPPER CASE', '--key', 'nowhere.pub'], /TRUST_KEY_UNREADABLE/],
    [['sign', 'x'], /--key FILE .*or --keyless/],
    [['sign', 'x', '--key', 'nowhere.key'], /TRUST_KEY_UNREADABLE/],
    [['sign', 'x', '--key', 'k', '--format', 'gpg'], /bundle, legacy/],
  ] as const) {
    const { status, stderr } = portcullis(...args);
    assert.equal(status, 2, args.join(' '));
    assert.match(stderr, says);
  }
});

test('a starter policy is printed or written, and checked with every problem at its place', async () => {
  assert.match(portcullis('policy', 'init').stdout, /kind: TrustPolicy/);
  assert.equal(portcullis('policy', 'init', 'starter.yaml').status, 0);
  await writeFile(
    join(folder, 'starter.yaml'),
    (await readFile(join(folder, 'starter.yaml'), 'utf8'))
      .replace('images:', 'imagess:')
      .replace('cosign.pub', 'gone.pub'),
  );
  const { status, stderr } = portcullis('policy', 'check', 'starter.yaml');
  assert.equal(status, 1);
  assert.match(stderr, /starter\.yaml:11:5: .*unknown field `imagess`; did you mean `images`\?/);
  assert.match(stderr, /starter\.yaml:\d+:\d+: .*gone\.pub cannot be used: there is no such file/);
});
