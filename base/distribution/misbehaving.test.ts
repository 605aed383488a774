import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { PortcullisError } from '../errors/index.ts';
import { serveHttp } from '../../test/fixtures/registry.ts';
import type { TestServer } from '../../test/fixtures/registry.ts';
import { createRegistryClient, digestOf, mediaTypes, parseReference } from './index.ts';
import type { Descriptor, RegistryClient, RegistryClientOptions, RegistryRepository } from './index.ts';

const blobBytes = Buffer.from('layer '.repeat(100_000));
const blob: Descriptor = { mediaType: 'application/x', digest: digestOf(blobBytes), size: blobBytes.length };
const manifestBytes = Buffer.from(
  JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, config: blob, layers: [blob] }),
);
const manifestDigest = digestOf(manifestBytes);

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) await one.close();
});

/** Creates a client, and the repository `app` of a server that answers with the given function. */
async function against(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
  options: RegistryClientOptions = {},
): Promise<{ repository: RegistryRepository; server: TestServer; client: RegistryClient }> {
  const server = await serveHttp(handler);
  const client = createRegistryClient(options);
  opened.push(server, client);
  const [repository] = client.repositories(parseReference(`${server.host}/app`));
  assert.ok(repository !== undefined);
  return { repository, server, client };
}

function answerManifest(
  response: ServerResponse,
  bytes: Uint8Array = manifestBytes,
  type: string = mediaTypes.ociManifest,
): void {
  response.writeHead(200, { 'content-type': type, 'content-length': bytes.length }).end(bytes);
}

async function drain(stream: AsyncIterable<Uint8Array>): Promise<number> {
  let size = 0;
  for await (const chunk of stream) size += chunk.length;
  return size;
}

it('a manifest that a proxy compressed is reported as such, and one that is plain is read', async () => {
  const encodings: unknown[] = [];
  let body: Uint8Array = gzipSync(manifestBytes);
  const { repository, server } = await against((request, response) => {
    encodings.push(request.headers['accept-encoding']);
    response.writeHead(200, { 'content-type': mediaTypes.ociManifest, 'content-encoding': 'gzip' }).end(body);
  });
  await assert.rejects(repository.manifest('1'), {
    code: 'DISTRIBUTION_BAD_ANSWER',
    message: new RegExp(`${server.host} answers with Content-Encoding "gzip"`),
  });
  body = manifestBytes;
  assert.equal((await repository.manifest('1')).digest, digestOf(manifestBytes));
  assert.deepEqual(encodings, ['identity', 'identity']);
});

describe('a registry that is down', () => {
  const unreachable = {
    code: 'DISTRIBUTION_UNREACHABLE',
    kind: 'unavailable',
    message: /^RegistryUnavailable: /,
  };

  it('is reported at once, with its host', async () => {
    const { repository, server } = await against(() => undefined);
    await server.close();
    opened.shift();
    await assert.rejects(repository.resolve('1'), {
      ...unreachable,
      message: new RegExp(`${server.host}: nothing listens there`),
    });
    await assert.rejects(repository.blob(blob), unreachable);
  });

  it('behind a proxy that answers 502 or 503 is reported after a few attempts', async () => {
    const { repository, server } = await against(
      (_request, response) => void response.writeHead(503, { 'retry-after': '0' }).end('down'),
    );
    await assert.rejects(repository.manifest('1'), { ...unreachable, message: /answers 503/ });
    assert.equal(server.requests.length, 3);
  });

  it('that accepts connections and never answers, or stops in the middle, is given up', async () => {
    const { repository } = await against(
      (request, response) => {
        if (request.url?.includes('blobs') === true)
          response.writeHead(200, { 'content-length': blob.size }).write(blobBytes.subarray(0, 10));
      },
      { timeouts: { headers: 200, idle: 200, document: 400 } },
    );
    await assert.rejects(repository.resolve('1'), unreachable);
    await assert.rejects(repository.blobBytes(blob, blob.size), {
      ...unreachable,
      message: /after 10 of 600000 bytes/,
    });
  });

  it('that does not speak HTTP is reported as such', async () => {
    const tcp = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('SSH-2.0-OpenSSH_9.2\r\n');
    });
    tcp.listen(0, '127.0.0.1');
    await once(tcp, 'listening');
    const client = createRegistryClient();
    opened.push(client, { close: async () => void tcp.close() });
    const [repository] = client.repositories(
      parseReference(`127.0.0.1:${(tcp.address() as AddressInfo).port}/app`),
    );
    await assert.rejects(repository?.manifest('1') ?? Promise.resolve(), {
      code: 'DISTRIBUTION_BAD_ANSWER',
      message: /does not speak HTTP/,
    });
  });
});

describe('a busy registry', () => {
  it('is asked again after the delay that it requests', async () => {
    let asked = 0;
    const { repository, server } = await against((_request, response) => {
      if (++asked === 1) response.writeHead(429, { 'retry-after': '1' }).end();
      else answerManifest(response);
    });
    const started = performance.now();
    assert.equal((await repository.manifest('1')).digest, manifestDigest);
    assert.ok(performance.now() - started > 950);
    assert.equal(server.requests.length, 2);
  });

  it('is not asked again if it requests too long a delay, which is reported', async () => {
    const { repository, server } = await against(
      (_request, response) => void response.writeHead(429, { 'retry-after': '3600' }).end(),
    );
    await assert.rejects(repository.manifest('1'), (error: PortcullisError) => {
      assert.equal(error.code, 'DISTRIBUTION_UNREACHABLE');
      assert.match(error.message, /too many requests/);
      assert.partialDeepStrictEqual(error.failure.details, { status: 429, retryAfter: '3600' });
      return true;
    });
    assert.equal(server.requests.length, 1);
  });

  it('is not awaited after the time limit of the caller', async () => {
    const { repository } = await against(
      (_request, response) => void response.writeHead(429, { 'retry-after': '9' }).end(),
    );
    await assert.rejects(repository.manifest('1', AbortSignal.timeout(100)), {
      code: 'DISTRIBUTION_UNREACHABLE',
      message: /exceeded its time limit/,
    });
  });
});

describe('an answer that is not a manifest', () => {
  it('is reported if it is a web page with status 200', async () => {
    const { repository } = await against(
      (_request, response) =>
        void response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<html>'),
    );
    const badAnswer = {
      code: 'DISTRIBUTION_BAD_ANSWER',
      kind: 'unavailable',
      message: /RegistryUnavailable: .*web page/,
    };
    await assert.rejects(repository.resolve('1'), badAnswer);
    await assert.rejects(repository.manifest('1'), badAnswer);
    await assert.rejects(repository.blob(blob), badAnswer);
    await assert.rejects(repository.referrers(manifestDigest), { code: 'DISTRIBUTION_BAD_ANSWER' });
  });

  it('is not read if it has 1 GiB, whether its length is announced or not', async () => {
    let sent = 0;
    const { repository } = await against((request, response) => {
      response.on('error', () => undefined);
      const isAnnounced = request.url?.endsWith('/announced') === true;
      response.writeHead(200, {
        'content-type': mediaTypes.ociManifest,
        ...(isAnnounced ? { 'content-length': 2 ** 30 } : {}),
      });
      const chunk = Buffer.alloc(1 << 20, ' ');
      const more = (): void => {
        while (sent < 2 ** 30 && !response.destroyed) {
          sent += chunk.length;
          if (!response.write(chunk)) return void response.once('drain', more);
        }
      };
      more();
    });
    const tooLarge = { code: 'DISTRIBUTION_TOO_LARGE', kind: 'invalid', message: /at most 4194304 are read/ };
    await assert.rejects(repository.manifest('unannounced'), tooLarge);
    assert.ok(sent < 64 * 2 ** 20, `${sent} bytes were sent`);
    sent = 0;
    await assert.rejects(repository.manifest('announced'), tooLarge);
    assert.ok(sent < 64 * 2 ** 20, `${sent} bytes were sent`);
  });

  it('is refused if its bytes do not match its digest or the digest header', async () => {
    const { repository } = await against((_request, response) => {
      response
        .writeHead(200, { 'content-type': mediaTypes.ociManifest, 'docker-content-digest': manifestDigest })
        .end(`${manifestBytes.toString()} `);
    });
    const mismatch = {
      code: 'DISTRIBUTION_DIGEST_MISMATCH',
      kind: 'data-loss',
      message: new RegExp(`not ${manifestDigest}`),
    };
    await assert.rejects(repository.manifest(manifestDigest), mismatch);
    await assert.rejects(repository.manifest('1'), mismatch);
    await assert.rejects(repository.resolve(digestOf('other')), /DISTRIBUTION_DIGEST_MISMATCH/);
  });

  it('is refused if it is an index that a descriptor calls a manifest, or both in one (CVE-2021-41190)', async () => {
    const both = Buffer.from(
      JSON.stringify({ schemaVersion: 2, config: blob, layers: [blob], manifests: [] }),
    );
    let type: string = mediaTypes.ociIndex;
    const { repository } = await against((_request, response) => answerManifest(response, both, type));
    for (type of [mediaTypes.ociIndex, mediaTypes.ociManifest]) {
      await assert.rejects(repository.manifest('1'), {
        code: 'DISTRIBUTION_BAD_MANIFEST',
        message: /also has the field/,
      });
    }
    await assert.rejects(
      repository.manifest({ digest: digestOf(both), size: both.length, mediaType: mediaTypes.ociIndex }),
      {
        code: 'DISTRIBUTION_BAD_MANIFEST',
      },
    );
    type = 'text/plain';
    await assert.rejects(repository.manifest('1'), {
      code: 'DISTRIBUTION_BAD_ANSWER',
      message: /Content-Type "text\/plain"/,
    });
  });

  it('a manifest with a generic Content-Type is read by its mediaType field', async () => {
    const { repository } = await against((_request, response) =>
      answerManifest(response, manifestBytes, 'application/json'),
    );
    assert.deepEqual(await repository.resolve('1'), {
      mediaType: mediaTypes.ociManifest,
      digest: manifestDigest,
      size: manifestBytes.length,
    });
  });
});

describe('resolving', () => {
  it('falls back to GET if HEAD is refused or its answer lacks headers', async () => {
    for (const status of [200, 405, 501]) {
      const { repository, server } = await against((request, response) => {
        if (request.method === 'HEAD') response.writeHead(status).end();
        else answerManifest(response);
      });
      assert.equal((await repository.resolve('1')).digest, manifestDigest);
      assert.deepEqual(
        server.requests.map((one) => one.method),
        ['HEAD', 'GET'],
      );
    }
  });

  it('gives the sha256 digest of a tag, as its manifest has, whatever digest the registry names', async () => {
    const { repository } = await against((_request, response) => {
      response.setHeader('docker-content-digest', digestOf(manifestBytes, 'sha512'));
      answerManifest(response);
    });
    assert.equal((await repository.resolve('1')).digest, manifestDigest);
    assert.equal((await repository.manifest('1')).digest, manifestDigest);
  });

  it('keeps one connection for many requests', async () => {
    const ports = new Set<number | undefined>();
    const { repository } = await against((request, response) => {
      ports.add(request.socket.remotePort);
      response.setHeader('docker-content-digest', manifestDigest);
      if (request.method === 'HEAD')
        response
          .writeHead(200, { 'content-type': mediaTypes.ociManifest, 'content-length': manifestBytes.length })
          .end();
      else answerManifest(response);
    });
    for (let n = 0; n < 10; n++) {
      await repository.resolve('1');
      await repository.manifest(manifestDigest);
    }
    // A second connection may have been opened while the first was being released.
    assert.ok(ports.size <= 2, `${ports.size} connections`);
  });
});

describe('a layer', () => {
  const serving = (answer: (response: ServerResponse) => void, options?: RegistryClientOptions) =>
    against((_request, response) => answer(response), options);

  it('that is shorter than its announced length is reported with the number of received bytes', async () => {
    const { repository } = await serving((response) => {
      response.writeHead(200, { 'content-length': blob.size });
      response.write(blobBytes.subarray(0, 1000), () => response.destroy());
    });
    await assert.rejects(repository.blob(blob).then(drain), {
      code: 'DISTRIBUTION_UNREACHABLE',
      kind: 'unavailable',
      message: new RegExp(`${blob.digest}: 127.* after 1000 of ${blob.size} bytes`),
    });
  });

  it('is refused if it is truncated without an announced length, too long, or has other bytes', async () => {
    const cases: readonly (readonly [bytes: Uint8Array, code: string])[] = [
      [blobBytes.subarray(0, 1000), 'DISTRIBUTION_SIZE_MISMATCH'],
      [Buffer.concat([blobBytes, blobBytes]), 'DISTRIBUTION_SIZE_MISMATCH'],
      [Buffer.alloc(blob.size, 'x'), 'DISTRIBUTION_DIGEST_MISMATCH'],
    ];
    for (const [bytes, code] of cases) {
      const { repository } = await serving((response) => {
        response.writeHead(200, { 'transfer-encoding': 'chunked' }).end(bytes);
      });
      await assert.rejects(
        repository.blob(blob).then(drain),
        { code, kind: 'data-loss', message: new RegExp(blob.digest) },
        code,
      );
    }
  });

  it('never yields more bytes than its descriptor states', async () => {
    const { repository } = await serving(
      (response) =>
        void response
          .writeHead(200, { 'transfer-encoding': 'chunked' })
          .end(Buffer.concat([blobBytes, blobBytes])),
    );
    let seen = 0;
    await assert.rejects(async () => {
      for await (const chunk of await repository.blob(blob)) seen += chunk.length;
    });
    assert.ok(seen <= blob.size);
  });

  it('whose Content-Length differs from its descriptor is refused before it is read', async () => {
    const { repository } = await serving(
      (response) => void response.writeHead(200, { 'content-length': blob.size + 1 }).write('x'),
    );
    await assert.rejects(repository.blob(blob), { code: 'DISTRIBUTION_SIZE_MISMATCH' });
  });

  it('may be empty', async () => {
    const { repository } = await serving(
      (response) => void response.writeHead(200, { 'content-length': 0 }).end(),
    );
    assert.equal((await repository.blobBytes({ digest: digestOf(''), size: 0 }, 10)).length, 0);
  });

  it('is requested again if a kept connection breaks', async () => {
    let asked = 0;
    const { repository } = await serving((response) => {
      if (++asked === 2) response.destroy();
      else response.writeHead(200, { 'content-length': blob.size }).end(blobBytes);
    });
    assert.equal(await drain(await repository.blob(blob)), blob.size);
    assert.equal(await drain(await repository.blob(blob)), blob.size);
  });
});

describe('headers', () => {
  it('of many kilobytes are refused', async () => {
    const { repository } = await against((_request, response) => {
      for (let n = 0; n < 100; n++) response.setHeader(`x-${n}`, 'y'.repeat(1000));
      answerManifest(response);
    });
    await assert.rejects(repository.manifest('1'), { code: 'DISTRIBUTION_BAD_ANSWER' });
  });
});

describe('referrers', () => {
  const entry = (n: number, artifactType = 'application/x') => ({
    mediaType: mediaTypes.ociManifest,
    digest: digestOf(String(n)),
    size: n,
    artifactType,
  });
  const page = (response: ServerResponse, manifests: readonly unknown[] | null, link?: string): void => {
    response.writeHead(200, { 'content-type': mediaTypes.ociIndex, ...(link === undefined ? {} : { link }) });
    response.end(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests }));
  };

  it('are read page by page, and filtered by the client if the registry does not filter', async () => {
    const { repository, server } = await against((request, response) => {
      const second = request.url?.includes('last=2') === true;
      page(
        response,
        second ? [entry(3), entry(4, 'other')] : [entry(1), entry(2, 'other'), { digest: 'nonsense' }],
        second ? undefined : '<?last=2>; rel="next"',
      );
    });
    const all = await repository.referrers(manifestDigest);
    assert.deepEqual(all, {
      via: 'referrers',
      complete: true,
      descriptors: [entry(1), entry(2, 'other'), entry(3), entry(4, 'other')],
    });
    assert.deepEqual(
      (await repository.referrers(manifestDigest, { artifactType: 'application/x' })).descriptors,
      [entry(1), entry(3)],
    );
    assert.match(server.requests[2]?.path ?? '', /\?artifactType=application%2Fx$/);
  });

  it('without end are cut off and reported as incomplete', async () => {
    const { repository, server } = await against((_request, response) =>
      page(response, [entry(1)], '</v2/app/referrers/x?again>; rel=next'),
    );
    const found = await repository.referrers(manifestDigest);
    assert.equal(found.complete, false);
    assert.equal(server.requests.length, 20);
    const many = await against((_request, response) =>
      page(
        response,
        Array.from({ length: 1500 }, (_, n) => entry(n)),
      ),
    );
    const cut = await many.repository.referrers(manifestDigest);
    assert.deepEqual([cut.descriptors.length, cut.complete], [1000, false]);
  });

  it('whose next page is at another host are refused, and that host is not contacted', async () => {
    const elsewhere = await against((_request, response) => page(response, []));
    const { repository } = await against((_request, response) =>
      page(response, [], `<${elsewhere.server.url}/next>; rel="next"`),
    );
    await assert.rejects(repository.referrers(manifestDigest), {
      code: 'DISTRIBUTION_BAD_ANSWER',
      message: /another origin/,
    });
    assert.deepEqual(elsewhere.server.requests, []);
  });

  it('are pushed without a fallback tag to a registry with the API', async () => {
    const { repository, server } = await against((request, response) => {
      request.resume().on('end', () => response.writeHead(201, { 'oci-subject': manifestDigest }).end());
    });
    const subject = { mediaType: mediaTypes.ociManifest, digest: manifestDigest, size: manifestBytes.length };
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, config: blob, layers: [], subject }));
    assert.deepEqual(await repository.pushReferrer(bytes, mediaTypes.ociManifest), {
      digest: digestOf(bytes),
      via: 'referrers',
    });
    assert.equal(server.requests.length, 1);
  });

  it('that a registry refuses without a readable reason are reported with the place of the reason', async () => {
    let body = '<html>';
    const { repository } = await against((request, response) => {
      request.resume().on('end', () => response.writeHead(400).end(body));
    });
    const push = (): Promise<unknown> => repository.pushManifest(manifestBytes, mediaTypes.ociManifest);
    await assert.rejects(push(), { code: 'DISTRIBUTION_REFUSED', message: /see the log of the registry/ });
    body = '{"errors":[{"code":"MANIFEST_INVALID"}]}';
    await assert.rejects(push(), {
      code: 'DISTRIBUTION_REFUSED',
      message: /see the reason that the registry/,
    });
  });

  it('are not pushed if an image has the fallback tag, and the image is not changed', async () => {
    const { repository, server } = await against((request, response) => {
      if (request.method === 'GET') answerManifest(response);
      else request.resume().on('end', () => response.writeHead(201).end());
    });
    const subject = { mediaType: mediaTypes.ociManifest, digest: manifestDigest, size: manifestBytes.length };
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, config: blob, layers: [], subject }));
    await assert.rejects(repository.pushReferrer(bytes, mediaTypes.ociManifest), {
      code: 'DISTRIBUTION_REFUSED',
      message: /an image already has the fallback tag/,
    });
    assert.ok(!server.requests.some((one) => one.method === 'PUT' && one.path.includes('sha256-')));
  });
});
