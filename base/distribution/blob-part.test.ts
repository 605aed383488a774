import assert from 'node:assert/strict';
import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { createHttpServer } from '../connections/index.ts';
import { createRegistryClient, digestOf } from './index.ts';
import type { RegistryClient, RegistryRepository } from './index.ts';

const bytes = Buffer.from(Array.from({ length: 1000 }, (_, index) => index % 251));
const blob = { digest: digestOf(bytes), size: bytes.length };

describe('a part of a blob', () => {
  let server: Server;
  let client: RegistryClient;
  let repository: RegistryRepository;
  let answer: (response: ServerResponse, range: string) => void = () => undefined;
  before(async () => {
    server = createHttpServer((request, response) => {
      answer(response, request.headers.range ?? '');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    client = createRegistryClient({ retry: { attempts: 2, maxDelayMs: 10 } });
    const registry = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    [repository = assert.fail()] = client.repositories({ registry, repository: 'app' });
  });
  after(async () => {
    await client.close();
    server.closeAllConnections();
    server.close();
  });
  const serve =
    (body: Uint8Array, contentRange: string, status = 206) =>
    (response: ServerResponse): void => {
      response.writeHead(status, { 'content-range': contentRange, 'content-length': body.length }).end(body);
    };
  const part = (): Promise<Uint8Array> => repository.blobPart(blob, { offset: 100, length: 50 });

  it('is requested by its range', async () => {
    let asked = '';
    answer = (response, range) => {
      asked = range;
      serve(bytes.subarray(100, 150), 'bytes 100-149/1000')(response);
    };
    assert.deepEqual(Buffer.from(await part()), bytes.subarray(100, 150));
    assert.equal(asked, 'bytes=100-149');
  });

  it('is requested again when its connection breaks', async () => {
    let attempts = 0;
    answer = (response) => {
      attempts += 1;
      if (attempts === 1) {
        response.writeHead(206, { 'content-range': 'bytes 100-149/1000', 'content-length': 50 });
        response.write(bytes.subarray(100, 110), () => response.destroy());
      } else serve(bytes.subarray(100, 150), 'bytes 100-149/*')(response);
    };
    assert.equal((await part()).length, 50);
  });

  const bad: readonly (readonly [string, (response: ServerResponse) => void, string])[] = [
    ['another range', serve(bytes.subarray(0, 50), 'bytes 0-49/1000'), 'DISTRIBUTION_BAD_ANSWER'],
    [
      'a blob of another size',
      serve(bytes.subarray(100, 150), 'bytes 100-149/1001'),
      'DISTRIBUTION_BAD_ANSWER',
    ],
    ['the whole blob', serve(bytes, '', 200), 'DISTRIBUTION_BAD_ANSWER'],
    ['fewer bytes', serve(bytes.subarray(100, 149), 'bytes 100-149/1000'), 'DISTRIBUTION_SIZE_MISMATCH'],
    ['more bytes', serve(bytes.subarray(100, 151), 'bytes 100-149/1000'), 'DISTRIBUTION_TOO_LARGE'],
  ];
  for (const [what, give, code] of bad)
    it(`is an error when the server gives ${what}`, async () => {
      answer = give;
      await assert.rejects(part(), { code });
    });

  it('after the end of the blob is refused without a request', async () => {
    answer = () => assert.fail('a request was sent');
    await assert.rejects(repository.blobPart(blob, { offset: 990, length: 11 }), {
      code: 'DISTRIBUTION_SIZE_MISMATCH',
    });
  });
});
