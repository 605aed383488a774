import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createHttpServer, httpRequest } from '../connections/index.ts';
import { startRegistry } from '../../test/fixtures/registry.ts';
import { createRegistryClient, digestOf } from './index.ts';
import type { RegistryRepository } from './index.ts';

const piece = randomBytes(256 * 1024);
const whole = Buffer.concat([piece, piece, piece, piece]);
const descriptor = { digest: digestOf(whole), size: whole.length };

async function* pieces(): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < whole.length; at += piece.length)
    yield await Promise.resolve(whole.subarray(at, at + piece.length));
}

/** A registry that has no blob and takes uploads as `put` does, and answers first what it refuses. */
async function uploadsTo(
  t: TestContext,
  put: (request: IncomingMessage, response: ServerResponse) => void,
  refuses: (request: IncomingMessage, response: ServerResponse) => boolean = () => false,
): Promise<RegistryRepository> {
  const server: Server = createHttpServer((request, response) => {
    if (refuses(request, response)) return;
    if (request.method === 'HEAD') response.writeHead(404).end();
    else if (request.method === 'POST')
      response.writeHead(202, { location: '/v2/app/blobs/uploads/1' }).end();
    else put(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return repositoryOf(t, `127.0.0.1:${port}`, 'app');
}

function repositoryOf(t: TestContext, registry: string, repository: string): RegistryRepository {
  const client = createRegistryClient({ tagSettleMs: 0 });
  t.after(() => client.close());
  const [found] = client.repositories({ registry, repository });
  assert.ok(found);
  return found;
}

test('a registry without the blob gets it from its source', async (t) => {
  const registry = await startRegistry();
  t.after(() => registry.close());
  const repository = repositoryOf(t, registry.host, 'app');
  await repository.pushBlobFrom(descriptor, pieces);
  assert.deepEqual(Buffer.from(await repository.blobBytes(descriptor, whole.length)), whole);
});

test('a blob that the registry has is not read from its source', async (t) => {
  const registry = await startRegistry();
  t.after(() => registry.close());
  const repository = repositoryOf(t, registry.host, 'app');
  await repository.pushBlob(whole);
  await repository.pushBlobFrom(descriptor, () => assert.fail('the source was opened'));
});

test('a registry takes a blob from another of its repositories', async (t) => {
  const registry = await startRegistry();
  t.after(() => registry.close());
  await repositoryOf(t, registry.host, 'team/one').pushBlob(whole);
  const other = repositoryOf(t, registry.host, 'team/two');
  await other.pushBlobFrom(descriptor, () => assert.fail('the source was opened'), { mountFrom: 'team/one' });
  assert.deepEqual(Buffer.from(await other.blobBytes(descriptor, whole.length)), whole);
});

for (const status of [401, 403, 404])
  test(`a blob is uploaded when the registry refuses to mount it with ${status}`, async (t) => {
    const received = Promise.withResolvers<Buffer>();
    const repository = await uploadsTo(
      t,
      (request, response) => {
        received.resolve(buffer(request));
        request.once('end', () => response.writeHead(201).end());
      },
      (request, response) => {
        if (request.url?.includes('mount=') !== true) return false;
        response.writeHead(status).end();
        return true;
      },
    );
    await repository.pushBlobFrom(descriptor, pieces, { mountFrom: 'team/private' });
    assert.deepEqual(await received.promise, whole);
  });

test('the first bytes are sent before the last bytes are read', async (t) => {
  const begun = Promise.withResolvers<void>();
  const repository = await uploadsTo(t, (request, response) => {
    request.once('data', () => begun.resolve());
    request.once('end', () => response.writeHead(201).end());
  });
  await repository.pushBlobFrom(descriptor, async function* () {
    yield whole.subarray(0, piece.length);
    await begun.promise;
    yield whole.subarray(piece.length);
  });
});

test('an upload whose connection breaks is repeated from its beginning', async (t) => {
  let uploads = 0;
  const received = Promise.withResolvers<Buffer>();
  const repository = await uploadsTo(t, (request, response) => {
    uploads += 1;
    if (uploads === 1) return void request.once('data', () => request.socket.destroy());
    received.resolve(buffer(request));
    request.once('end', () => response.writeHead(201).end());
  });
  let opened = 0;
  await repository.pushBlobFrom(descriptor, () => {
    opened += 1;
    return pieces();
  });
  assert.deepEqual(await received.promise, whole);
  assert.equal(opened, 2);
});

test('a source that fails ends the upload with its own error', async (t) => {
  const repository = await uploadsTo(t, (request) => void request.resume());
  const wrong = new Error('the source is damaged');
  const failing = async function* (): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(piece);
    throw wrong;
  };
  await assert.rejects(repository.pushBlobFrom(descriptor, failing), wrong);
});

test('an upload from a source with fewer bytes than its descriptor fails and does not wait', async (t) => {
  const repository = await uploadsTo(t, (request, response) => {
    request.once('end', () => response.writeHead(201).end());
    request.resume();
  });
  const short = async function* (): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(piece);
  };
  await assert.rejects(repository.pushBlobFrom(descriptor, short));
});

test('an upload ends when its caller cancels', async (t) => {
  const repository = await uploadsTo(t, (request) => void request.resume());
  const giveUp = new AbortController();
  const never = async function* (): AsyncGenerator<Uint8Array> {
    yield piece;
    giveUp.abort();
    await new Promise(() => undefined);
  };
  const uploading = repository.pushBlobFrom(descriptor, never, { signal: giveUp.signal });
  await assert.rejects(uploading, { code: 'DISTRIBUTION_CANCELLED' });
});

test('a blob is sent only a few times to a registry that always fails', async (t) => {
  let uploads = 0;
  const repository = await uploadsTo(t, (request, response) => {
    uploads += 1;
    request.resume().once('end', () => response.writeHead(500).end());
  });
  await assert.rejects(repository.pushBlobFrom(descriptor, pieces), { code: 'DISTRIBUTION_UNREACHABLE' });
  assert.equal(uploads, 6);
});

test('if the registry refuses after a failure of the source, the refusal is reported', async (t) => {
  let posts = 0;
  const repository = await uploadsTo(
    t,
    (request) => void request.on('error', () => undefined).resume(),
    ({ method }, response) => {
      posts += method === 'POST' ? 1 : 0;
      if (posts < 2) return false;
      response.writeHead(403).end();
      return true;
    },
  );
  const broken = Object.assign(new Error('reset'), { code: 'ECONNRESET' });
  const source = async function* (): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(piece);
    throw broken;
  };
  await assert.rejects(repository.pushBlobFrom(descriptor, source), { code: 'DISTRIBUTION_UNAUTHORIZED' });
  assert.equal(posts, 2);
});

/**
 * A registry behind a proxy that refuses larger requests than this.
 * @param least the length of chunks that the registry requires; `sent` receives their lengths
 */
async function limitedTo(
  t: TestContext,
  bytes: number,
  { least, sent = [] }: { readonly least?: number; readonly sent?: number[] } = {},
): Promise<RegistryRepository> {
  const registry = await startRegistry();
  t.after(() => registry.close());
  const server = createHttpServer((request, response) => {
    const { method, headers, url = '' } = request;
    const length = Number(headers['content-length'] ?? 0);
    if (length > bytes) {
      request.resume();
      response.writeHead(413).end('too large');
      return;
    }
    if (method === 'PATCH') sent.push(length);
    const onward = httpRequest(`${registry.url}${url}`, { method, headers }, (answer) => {
      const more = least === undefined ? {} : { 'oci-chunk-min-length': String(least) };
      response.writeHead(answer.statusCode ?? 500, { ...answer.headers, ...more });
      answer.pipe(response);
    });
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return repositoryOf(t, `127.0.0.1:${(server.address() as AddressInfo).port}`, 'app');
}

for (const [what, length] of [
  ['with a rest', 3 * 1024 * 1024 + 5],
  ['of whole chunks', 4 * 1024 * 1024],
] as const)
  test(`a blob ${what} is uploaded in chunks when its request is too large`, async (t) => {
    const repository = await limitedTo(t, 1024 * 1024);
    const bytes = randomBytes(length);
    const large = { digest: digestOf(bytes), size: length };
    await repository.pushBlobFrom(large, async function* () {
      for (let at = 0; at < length; at += 700_001)
        yield await Promise.resolve(bytes.subarray(at, at + 700_001));
    });
    assert.deepEqual(Buffer.from(await repository.blobBytes(large, length)), bytes);
  });

test('chunks have the length that the registry requires', async (t) => {
  const mebibyte = 1024 * 1024;
  const sent: number[] = [];
  const repository = await limitedTo(t, 2 * mebibyte, { least: 2 * mebibyte, sent });
  await repository.pushBlob(randomBytes(5 * mebibyte));
  assert.deepEqual(sent, [2 * mebibyte, 2 * mebibyte, mebibyte]);
});

test('a registry that refuses chunks as too large gets no more of them', async (t) => {
  const repository = await limitedTo(t, 1024);
  await assert.rejects(repository.pushBlob(randomBytes(2 * 1024 * 1024)), {
    code: 'DISTRIBUTION_REFUSED',
    message: /answers 413/u,
  });
});
