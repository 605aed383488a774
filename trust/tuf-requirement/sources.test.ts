import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import { digestOfBytes, serveFixtures } from '../evidence/fixtures/fixture-registry.ts';
import type { FixtureContent } from '../evidence/fixtures/fixture-registry.ts';
import { normaliseReference } from '../requirements/named-images.ts';
import { titleAnnotation, tufArtifactType, tufMetadataType } from '../tuf-client/oci-source.ts';
import { repositoryOf } from './repository.ts';
import type { TufRequirement } from '../requirements/tuf.ts';
import { openSources } from './sources.ts';
import type { SourceQuestion } from './sources.ts';

const home = await mkdtemp(join(tmpdir(), 'tuf-sources-'));
const closing: (() => Promise<unknown>)[] = [];
// Only the logins of this test are used.
const logins = join(home, 'auth.json');
process.env['REGISTRY_AUTH_FILE'] = logins;
await writeFile(logins, '{}');
after(async () => {
  for (const close of closing) await close();
  await rm(home, { recursive: true });
});

async function serve(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createHttpServer(handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const basic = (name: string, password: string): string =>
  `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`;

function question(service: string, reference: string): SourceQuestion {
  const requirement: TufRequirement = {
    kind: 'tuf',
    service,
    dialect: 'tuf',
    names: 'tag',
    root: 'first-use',
  };
  const parsed = normaliseReference(reference);
  const { url, image } = repositoryOf(requirement, parsed);
  return { url, image, registry: parsed.registry };
}

test('a service that requires a login gets the login for its own host, as soon as one exists, which is looked up once', async () => {
  let tokens = 0;
  const realm = await serve((request, response) => {
    tokens += 1;
    const token = request.headers.authorization === basic('bob', 'own') ? 'good' : 'nobody';
    response.end(JSON.stringify({ token, expires_in: 300 }));
  });
  const service = await serve((request, response) => {
    if (request.headers.authorization === 'Bearer good') response.end('metadata');
    else
      response
        .writeHead(401, {
          'www-authenticate': `Bearer realm="${realm}/token",service="trust",scope="repository:x:pull"`,
        })
        .end();
  });
  const open = openSources();
  const asking = question(service, 'registry.example.com/pay/app:1');
  const fetched = async (): Promise<string | undefined> =>
    (await open(asking, {}).fetch('timestamp.json', 100))?.toString();
  await assert.rejects(fetched(), { code: 'TRUST_TUF_UNAUTHORIZED' });
  const auth = basic('bob', 'own').slice('Basic '.length);
  await writeFile(logins, JSON.stringify({ auths: { [new URL(service).host]: { auth } } }));
  assert.equal(await fetched(), 'metadata');
  const before = tokens;
  assert.equal(await fetched(), 'metadata');
  assert.equal(tokens, before, 'the token is kept until it expires');
});

test('a service whose token service is unreachable counts as unreachable', async () => {
  const service = await serve((_, response) =>
    response.writeHead(401, { 'www-authenticate': 'Bearer realm="http://127.0.0.1:1/t"' }).end(),
  );
  const source = openSources()(question(service, 'registry.example.com/pay/app:1'), {});
  await assert.rejects(source.fetch('timestamp.json', 100), { code: 'TRUST_TUF_UNREACHABLE' });
});

test('metadata beside an image is requested from the mirror, then from the origin', async () => {
  const [mirror, origin] = [contentOf('pay/app', 'mirrored'), contentOf('pay/app', 'original')];
  const [atMirror, atOrigin] = [await serveFixtures(mirror), await serveFixtures(origin)];
  closing.push(atMirror.close, atOrigin.close);
  const service = `oci://${atOrigin.host}`;
  const reference = `${atOrigin.host}/pay/app:1`;
  const fetched = async (withOrigin: boolean): Promise<string | undefined> => {
    const rules = new Map([
      [atOrigin.host, { mirrors: [{ url: `http://${atMirror.host}` }], origin: withOrigin }],
    ]);
    const source = openSources({ rules })(question(service, reference), {});
    return (await source.fetch('timestamp.json', 100))?.toString();
  };
  assert.equal(await fetched(false), 'mirrored');
  assert.equal(await fetched(true), 'mirrored');
  assert.deepEqual(atOrigin.requests, []);
  mirror.clear();
  assert.equal(await fetched(true), 'original');
  const asked = atOrigin.requests.length;
  assert.equal(await fetched(false), undefined);
  assert.equal(atOrigin.requests.length, asked, 'the origin is not asked if it must not be');
});

/** A registry that holds one metadata file. */
function contentOf(name: string, text: string): FixtureContent {
  const [file, config] = [Buffer.from(text), Buffer.from('{}')];
  const layer = {
    mediaType: tufMetadataType,
    digest: digestOfBytes(file),
    size: file.length,
    annotations: { [titleAnnotation]: 'timestamp.json' },
  };
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      artifactType: tufArtifactType,
      config: {
        mediaType: 'application/vnd.oci.empty.v1+json',
        digest: digestOfBytes(config),
        size: config.length,
      },
      layers: [layer],
    }),
  );
  const digest = digestOfBytes(manifest);
  const blobs = new Map([[layer.digest, file]]);
  return new Map([
    [name, { tags: new Map([['portcullis-tuf', digest]]), manifests: new Map([[digest, manifest]]), blobs }],
  ]);
}
