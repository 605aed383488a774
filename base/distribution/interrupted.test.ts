import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, describe, it } from 'node:test';
import { serveHttp } from '../../test/fixtures/registry.ts';
import type { TestServer } from '../../test/fixtures/registry.ts';
import { createRegistryClient, digestOf, mediaTypes, parseReference } from './index.ts';
import type { RegistryClientOptions, RegistryRepository } from './index.ts';

const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 31) % 251));
const blob = { digest: digestOf(bytes), size: bytes.length };
const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: 'application/x', ...blob },
    layers: [],
  }),
);

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) await one.close();
});

async function serve(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<TestServer> {
  const server = await serveHttp(handler);
  opened.push(server);
  return server;
}

async function against(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
  options: RegistryClientOptions = {},
): Promise<{ readonly repository: RegistryRepository; readonly server: TestServer }> {
  const server = await serve(handler);
  const client = createRegistryClient(options);
  opened.push(client);
  const [repository] = client.repositories(parseReference(`${server.host}/app`), {
    username: 'ann',
    password: 'secret',
  });
  assert.ok(repository !== undefined);
  return { repository, server };
}

/** Returns the first byte that a request asks for. */
function startOf(request: IncomingMessage): number {
  return Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? 'bytes=0-')?.[1]);
}

/** Sends the rest of the blob, or as many bytes of it as given; then the connection ends. */
function send(response: ServerResponse, start: number, most = Infinity, content: Buffer = bytes): void {
  const rest = content.subarray(start);
  const range =
    start === 0 ? {} : { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` };
  response.writeHead(start === 0 ? 200 : 206, { 'content-length': rest.length, ...range });
  if (rest.length <= most) response.end(rest);
  else response.write(rest.subarray(0, most), () => setTimeout(() => response.destroy(), 20));
}

async function drain(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* streamOf(content: Uint8Array): AsyncGenerator<Uint8Array> {
  yield content.subarray(0, 1000);
  yield content.subarray(1000);
}

describe('a blob whose connection breaks', () => {
  it('is fetched completely, and no byte is fetched twice', async () => {
    let sent = 0;
    const { repository, server } = await against((request, response) => {
      const start = startOf(request);
      sent += Math.min(100_000, bytes.length - start);
      send(response, start, 100_000);
    });
    assert.deepEqual(await drain(await repository.blob(blob)), bytes);
    assert.equal(sent, bytes.length);
    assert.equal(server.requests.length, 3);
  });

  it('is fetched from a registry that drops every third connection', async () => {
    let connection = 0;
    const { repository } = await against((request, response) => {
      connection += 1;
      if (connection % 3 === 0) request.socket.destroy();
      else send(response, startOf(request), 30_000);
    });
    assert.deepEqual(await drain(await repository.blob(blob)), bytes);
  });

  it('is fetched again if the server does not support ranges, and only new bytes are yielded', async () => {
    let asked = 0;
    const { repository } = await against((_request, response) => {
      asked += 1;
      send(response, 0, asked === 1 ? 100_000 : Infinity);
    });
    assert.deepEqual(await drain(await repository.blob(blob)), bytes);
    assert.equal(asked, 2);
  });

  it('is continued at the byte at which the transfer stopped', async () => {
    const { repository } = await against(
      (request, response) => {
        const start = startOf(request);
        if (start > 0) return send(response, start);
        response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, 50_000));
      },
      { timeouts: { idle: 200 } },
    );
    assert.deepEqual(await drain(await repository.blob(blob)), bytes);
  });

  it('repeatedly without progress is given up, with an error that names host, blob and reason', async () => {
    const { repository, server } = await against((request, response) => send(response, startOf(request), 10));
    await assert.rejects(repository.blob(blob).then(drain), {
      code: 'DISTRIBUTION_UNREACHABLE',
      message: new RegExp(
        `${server.host}/app@${blob.digest}.*closed the connection unexpectedly after 30 of ${bytes.length} bytes`,
      ),
    });
    assert.equal(server.requests.length, 3);
  });

  it('is refused if the rest has other content', async () => {
    const { repository } = await against((request, response) => {
      const start = startOf(request);
      send(
        response,
        start,
        start === 0 ? 100_000 : Infinity,
        start === 0 ? bytes : Buffer.alloc(bytes.length),
      );
    });
    await assert.rejects(repository.blob(blob).then(drain), { code: 'DISTRIBUTION_DIGEST_MISMATCH' });
  });

  const size = bytes.length;
  for (const [what, status, range] of [
    ['another range', 206, `bytes 5-${size - 1}/${size}`],
    ['a shorter range', 206, `bytes 100000-100999/${size}`],
    ['no range at all', 206, undefined],
    ['a range of another length', 206, `bytes 100000-${size}/${size + 1}`],
    ['status 400', 400, undefined],
    ['status 501', 501, undefined],
  ] as const) {
    /** @param whole how often the blob must be requested as a whole until the connection does not break */
    const blobAfter = async (whole: number): Promise<Buffer> => {
      let asked = 0;
      const { repository } = await against((request, response) => {
        if (startOf(request) === 0) send(response, 0, (asked += 1) < whole ? 100_000 : Infinity);
        else
          response
            .writeHead(status, range === undefined ? {} : { 'content-range': range })
            .end(bytes.subarray(100_000));
      });
      return drain(await repository.blob(blob));
    };

    it(`is fetched as a whole if the server answers with ${what}`, async () => {
      assert.deepEqual(await blobAfter(2), bytes);
    });

    if (status === 400)
      it('is given up if the server refuses ranges, and the connection always breaks', async () => {
        await assert.rejects(blobAfter(Infinity), { code: 'DISTRIBUTION_UNREACHABLE' });
      });
  }

  it('is refused if the server says that nothing follows', async () => {
    const { repository } = await against((request, response) => {
      if (startOf(request) === 0) send(response, 0, 100_000);
      else response.writeHead(416).end();
    });
    await assert.rejects(repository.blob(blob).then(drain), { code: 'DISTRIBUTION_SIZE_MISMATCH' });
  });

  it('is given up when its caller cancels', async () => {
    const { repository } = await against((request, response) => send(response, startOf(request), 10));
    const caller = new AbortController();
    const fetching = repository.blob(blob, caller.signal).then(drain);
    setTimeout(() => caller.abort(), 100);
    await assert.rejects(fetching, { code: 'DISTRIBUTION_CANCELLED' });
  });

  it('is fetched from the host to which the registry redirects, without the credentials', async () => {
    const seen: (string | undefined)[] = [];
    const storage = await serve((request, response) => {
      seen.push(request.headers.authorization);
      send(response, startOf(request), 200_000);
    });
    const { repository, server } = await against((request, response) => {
      if (request.headers.authorization === undefined)
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      else response.writeHead(307, { location: `${storage.url}/${blob.digest}` }).end();
    });
    assert.deepEqual(await drain(await repository.blob(blob)), bytes);
    assert.deepEqual(seen, [undefined, undefined]);
    assert.ok(server.requests.some(({ authorization }) => authorization !== undefined));
  });
});

describe('a blob that an earlier fetch began', () => {
  it('is hashed again, and only the rest is fetched', async () => {
    const { repository, server } = await against((request, response) => send(response, startOf(request)));
    assert.deepEqual(
      await drain(await repository.blob(blob, undefined, streamOf(bytes.subarray(0, 120_000)))),
      bytes.subarray(120_000),
    );
    assert.deepEqual(await drain(await repository.blob(blob, undefined, streamOf(bytes))), Buffer.alloc(0));
    assert.equal(server.requests.length, 1);
  });

  it('with other bytes, or too many, is refused', async () => {
    const { repository } = await against((request, response) => send(response, startOf(request)));
    const other = Buffer.from(bytes.subarray(0, 120_000)).fill(7, 500, 501);
    await assert.rejects(repository.blob(blob, undefined, streamOf(other)).then(drain), {
      code: 'DISTRIBUTION_DIGEST_MISMATCH',
    });
    await assert.rejects(repository.blob(blob, undefined, streamOf(Buffer.concat([bytes, bytes]))), {
      code: 'DISTRIBUTION_SIZE_MISMATCH',
    });
  });
});

describe('a document whose connection breaks', () => {
  const answer = (response: ServerResponse): void =>
    void response
      .writeHead(200, { 'content-type': mediaTypes.ociManifest, 'content-length': manifest.length })
      .end(manifest);

  it('in the middle is requested again', async () => {
    let asked = 0;
    const { repository } = await against((_request, response) => {
      asked += 1;
      if (asked > 1) return answer(response);
      response.writeHead(200, { 'content-type': mediaTypes.ociManifest, 'content-length': manifest.length });
      response.write(manifest.subarray(0, 20), () => setTimeout(() => response.destroy(), 20));
    });
    assert.equal((await repository.manifest('1')).digest, digestOf(manifest));
    assert.equal(asked, 2);
  });

  it('every time is given up after a few attempts', async () => {
    const { repository, server } = await against((request) => void request.socket.destroy());
    await assert.rejects(repository.manifest('1'), {
      code: 'DISTRIBUTION_UNREACHABLE',
      message: /closed the connection unexpectedly/,
    });
    assert.ok(server.requests.length <= 6, String(server.requests.length));
  });

  for (const status of [500, 502, 504])
    it(`is also requested again after status ${status}`, async () => {
      let asked = 0;
      const { repository } = await against((_request, response) => {
        asked += 1;
        if (asked < 3)
          response.writeHead(status, { 'retry-after': new Date(Date.now() - 5000).toUTCString() }).end();
        else answer(response);
      });
      assert.equal((await repository.manifest('1')).digest, digestOf(manifest));
    });
});

it('a write is not repeated after status 502, because it may have been done', async () => {
  const { repository, server } = await against((request, response) => {
    request.resume();
    if (request.method === 'HEAD') response.writeHead(404).end();
    else response.writeHead(502).end();
  });
  await assert.rejects(repository.pushBlob(Buffer.from('x')), { code: 'DISTRIBUTION_UNREACHABLE' });
  assert.equal(server.requests.filter(({ method }) => method === 'POST').length, 1);
});
