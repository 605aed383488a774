import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '../../test/fixtures/free-port.ts';
import { createRegistryClient, mediaTypes, parseReference } from './index.ts';
import type { Descriptor, RegistryClient, RegistryRepository } from './index.ts';

const peers = join(process.env['PEERS'] ?? '/var/cache/portcullis-peers', 'bin');
const run = promisify(execFile);

interface Peer {
  readonly host: string;
  close(): Promise<void>;
}

/** Starts a Go registry on a free port and waits until it answers. */
async function start(
  binary: string,
  argumentsFor: (address: string) => readonly string[],
  environment: Record<string, string> = {},
): Promise<Peer> {
  const host = `127.0.0.1:${await freePort()}`;
  const child = spawn(binary, [...argumentsFor(host)], {
    stdio: 'ignore',
    env: { PATH: process.env['PATH'], ...environment },
  });
  const ended = once(child, 'exit');
  for (let tries = 0; ; tries++) {
    const up = await fetch(`http://${host}/v2/`).then(
      () => true,
      () => false,
    );
    if (up) break;
    assert.ok(tries < 1200 && child.exitCode === null, `${binary} did not start`);
    await sleep(50);
  }
  const close = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  return { host, close };
}

async function pushImage(repository: RegistryRepository): Promise<{ image: Descriptor; config: Descriptor }> {
  const config = await repository.pushBlob(Buffer.from('{"architecture":"amd64","os":"linux"}'), {
    mediaType: 'application/vnd.oci.image.config.v1+json',
  });
  const layer = await repository.pushBlob(Buffer.from('layer'), {
    mediaType: 'application/vnd.oci.image.layer.v1.tar',
  });
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [layer] }),
  );
  const { digest } = await repository.pushManifest(bytes, mediaTypes.ociManifest, { tag: '1' });
  return { image: { mediaType: mediaTypes.ociManifest, digest, size: bytes.length }, config };
}

async function roundTrip(repository: RegistryRepository, via: 'referrers' | 'fallback-tag'): Promise<void> {
  const { image, config } = await pushImage(repository);
  assert.deepEqual(await repository.resolve('1'), image);
  assert.equal((await repository.manifest(image)).content.kind, 'manifest');
  assert.deepEqual(await repository.referrers(image.digest), { via, descriptors: [], complete: true });
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: 'application/x-note',
      config,
      layers: [],
      subject: image,
      annotations: { a: 'b' },
    }),
  );
  const pushed = await repository.pushReferrer(bytes, mediaTypes.ociManifest);
  const listed = await repository.referrers(image.digest);
  assert.equal(listed.via, via);
  assert.deepEqual(
    listed.descriptors.map((one) => one.digest),
    [pushed.digest],
  );
  // go-containerregistry's API names the configuration's media type instead of the manifest's artifactType.
  if (via === 'fallback-tag') assert.equal(listed.descriptors[0]?.artifactType, 'application/x-note');
  await assert.rejects(repository.manifest('none'), { code: 'DISTRIBUTION_NOT_FOUND' });
}

const crane = join(peers, 'crane');
describe(
  'crane’s registry, which has no referrers API',
  { skip: existsSync(crane) ? false : 'crane is not built' },
  () => {
    let peer: Peer;
    let client: RegistryClient;
    let repository: RegistryRepository;
    before(async () => {
      peer = await start(crane, (address) => ['registry', 'serve', '--address', address]);
      client = createRegistryClient();
      [repository] = client.repositories(parseReference(`${peer.host}/team/app`)) as [RegistryRepository];
    });
    after(async () => {
      await client.close();
      await peer.close();
    });

    it('stores and returns content like any registry', () => roundTrip(repository, 'fallback-tag'));

    it('stores an image that crane reads, and returns an image that crane wrote', async () => {
      const { image } = await pushImage(repository);
      const { stdout } = await run(crane, ['digest', `${peer.host}/team/app:1`]);
      assert.equal(stdout.trim(), image.digest);
      const folder = mkdtempSync(join(tmpdir(), 'portcullis-crane-'));
      try {
        writeFileSync(join(folder, 'file'), 'from crane');
        await run('tar', ['-C', folder, '-cf', join(folder, 'layer.tar'), 'file']);
        await run(crane, [
          'append',
          '-f',
          join(folder, 'layer.tar'),
          '-t',
          `${peer.host}/team/app:crane`,
          '--oci-empty-base',
        ]);
        const fetched = await repository.manifest('crane');
        assert.ok(fetched.content.kind === 'manifest');
        const [layer] = fetched.content.layers;
        assert.ok(layer !== undefined);
        assert.equal((await repository.blobBytes(layer, 1 << 20)).length, layer.size);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  },
);

const critimages = join(peers, 'critimages');
describe(
  'a registry with the referrers API',
  { skip: existsSync(critimages) ? false : 'critimages is not built' },
  () => {
    it('stores and returns content like any registry', async () => {
      const peer = await start(
        critimages,
        (address) => [
          '-listen',
          address,
          '-busybox',
          '/bin/busybox',
          '-sh',
          join(peers, 'busybox-sh'),
          '-nnp',
          join(peers, 'nnp'),
          '-applets',
          'sh',
          '-big',
          '1',
          '-referrers',
        ],
        { PAUSE_BIN: join(peers, 'pause') },
      );
      const client = createRegistryClient();
      try {
        const [repository] = client.repositories(parseReference(`${peer.host}/team/app`));
        assert.ok(repository !== undefined);
        await roundTrip(repository, 'referrers');
      } finally {
        await client.close();
        await peer.close();
      }
    });
  },
);
