import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, describe, it } from 'node:test';
import { serveHttp } from '../../test/fixtures/registry.ts';
import type { TestServer } from '../../test/fixtures/registry.ts';
import { createRegistryClient, digestOf, parseReference } from './index.ts';
import type { BlobContent, RegistryRepository } from './index.ts';

const bytes = randomBytes(300_000);
const blob = { digest: digestOf(bytes), size: bytes.length };

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) await one.close();
});

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

async function against(handler: Handler): Promise<{ repository: RegistryRepository; server: TestServer }> {
  const server = await serveHttp(handler);
  const client = createRegistryClient({ receiveBytes: 32 * 1024 });
  opened.push(server, client);
  const [repository] = client.repositories(parseReference(`${server.host}/app`));
  assert.ok(repository !== undefined);
  return { repository, server };
}

/** Copies the pieces, as each is valid only during the call. */
async function collect(content: BlobContent): Promise<Buffer> {
  const pieces: Buffer[] = [];
  await content.each?.((piece) => void pieces.push(Buffer.from(piece)));
  return Buffer.concat(pieces);
}

/** Sends at most 100,000 bytes of the rest that is requested; then the connection ends. */
function sendSome(request: IncomingMessage, response: ServerResponse): void {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? 'bytes=0-')?.[1]);
  const rest = bytes.subarray(start);
  const range = start === 0 ? {} : { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
  response.writeHead(start === 0 ? 200 : 206, { 'content-length': rest.length, ...range });
  if (rest.length <= 100_000) response.end(rest);
  else response.write(rest.subarray(0, 100_000), () => setTimeout(() => response.destroy(), 20));
}

describe('a blob that is passed on in place', () => {
  it('is complete after two broken connections, and no byte is passed on twice', async () => {
    const { repository, server } = await against(sendSome);
    assert.deepEqual(await collect(await repository.blob(blob)), bytes);
    assert.equal(server.requests.length, 3);
  });

  it('skips what it has when the server always sends the whole blob', async () => {
    let request = 0;
    const { repository } = await against((_request, response) => {
      request += 1;
      response.writeHead(200, { 'content-length': bytes.length });
      if (request > 1) response.end(bytes);
      else response.write(bytes.subarray(0, 70_001), () => setTimeout(() => response.destroy(), 20));
    });
    assert.deepEqual(await collect(await repository.blob(blob)), bytes);
  });

  it('is continued after what an earlier fetch left', async () => {
    const { repository, server } = await against(sendSome);
    async function* left(): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(bytes.subarray(0, 250_000));
    }
    const rest = await collect(await repository.blob(blob, undefined, left()));
    assert.deepEqual(rest, bytes.subarray(250_000));
    assert.equal(server.requests.length, 1);
  });

  it('is refused when a byte differs, or when one follows', async () => {
    for (const [content, code] of [
      [Buffer.concat([bytes.subarray(1), Buffer.from('x')]), 'DISTRIBUTION_DIGEST_MISMATCH'],
      [Buffer.concat([bytes, Buffer.from('x')]), 'DISTRIBUTION_SIZE_MISMATCH'],
    ] as const) {
      const { repository } = await against((_request, response) => void response.writeHead(200).end(content));
      const received = await repository.blob(blob);
      await assert.rejects(collect(received), { code });
    }
  });

  it('is not requested again when its consumer fails', async () => {
    const { repository, server } = await against((_request, response) => void response.end(bytes));
    const full = Object.assign(new Error('no space left'), { code: 'ENOSPC' });
    const content = await repository.blob(blob);
    await assert.rejects(
      async () =>
        content.each?.(() => {
          throw full;
        }),
      (error) => error === full,
    );
    assert.equal(server.requests.length, 1);
  });
});
