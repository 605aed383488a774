import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { after, before, beforeEach, describe, it } from 'node:test';
import { createRegistryClient, digestOf, parseReference } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { serveHttp } from '../../test/fixtures/registry.ts';
import type { TestServer } from '../../test/fixtures/registry.ts';
import { createBlobStore } from './blobs.ts';
import type { BlobSource } from './blobs.ts';
import { makeStoreFolders, storeFolders } from './folders.ts';
import type { StoreFolders } from './folders.ts';
import { download } from './layer-workers/download.ts';

const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, at) => (at * 17) % 241));
const blob = { digest: digestOf(bytes), size: bytes.length, mediaType: 'application/x' };
type Handler = (start: number, response: ServerResponse, request: IncomingMessage) => void;

function sendFrom(content: Buffer): Handler {
  return (start, response) => {
    const range =
      start === 0 ? {} : { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` };
    response
      .writeHead(start === 0 ? 200 : 206, { 'content-length': content.length - start, ...range })
      .end(content.subarray(start));
  };
}
const right = sendFrom(bytes);
const wrong = sendFrom(Buffer.from(bytes).fill(0, 70_000, 70_001));
const absent: Handler = (_start, response) => void response.writeHead(404).end();
const down: Handler = (_start, response) => void response.writeHead(502, { 'retry-after': '0' }).end();
/** Sends the first part, and breaks off. */
const cut: Handler = (start, response) => {
  if (start > 0) return response.destroy() as unknown as void;
  response.writeHead(200, { 'content-length': bytes.length });
  response.write(bytes.subarray(0, 50_000), () => setTimeout(() => response.destroy(), 20));
};

describe('a blob from several sources', () => {
  let folders: StoreFolders;
  let servers: TestServer[] = [];
  const handlers: Handler[] = [absent, absent];
  /** The first byte that each request asked for, with the number of its server. */
  const asked: [server: number, start: number][] = [];
  const client = createRegistryClient({ retry: { attempts: 2 } });
  before(async () => {
    folders = storeFolders(mkdtempSync(`${tmpdir()}/portcullis-rounds-`));
    await makeStoreFolders(folders);
    servers = await Promise.all(
      handlers.map((_, at) =>
        serveHttp((request, response) => {
          const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? 'bytes=0-')?.[1]);
          asked.push([at, start]);
          handlers[at]?.(start, response, request);
        }),
      ),
    );
  });
  after(async () => {
    await client.close();
    for (const server of servers) await server.close();
    rmSync(folders.root, { recursive: true });
  });
  beforeEach(() => void asked.splice(0));

  const places = (): RegistryRepository[] =>
    servers
      .flatMap(({ host }) => client.repositories(parseReference(`${host}/app`)))
      .filter((place) => place !== undefined);

  /** Fetches the blob, checks the file, and releases it. @param waits milliseconds while servers are down */
  async function fetchFrom(first: Handler, second: Handler, waits: readonly number[] = []): Promise<void> {
    handlers.splice(0, 2, first, second);
    const store = createBlobStore(
      folders,
      () => false,
      () => 0,
      undefined,
      waits,
    );
    const sources = places().map(
      (place): BlobSource =>
        (path, signal) =>
          download(place, blob, path, signal),
    );
    try {
      const claim = await store.claim(blob, { from: 'a registry', sources }, new AbortController().signal);
      assert.deepEqual(readFileSync(claim.path), bytes);
      await claim.release();
      assert.ok(!existsSync(claim.path));
    } finally {
      assert.deepEqual(readdirSync(folders.ingest), []);
    }
  }

  it('continues at the second source where the first one stopped', async () => {
    await fetchFrom(cut, right);
    assert.deepEqual(asked.at(-1), [1, 50_000]);
  });

  it('is discarded if a byte is wrong, and fetched again from the next source', async () => {
    await fetchFrom(wrong, right);
    assert.deepEqual(asked, [
      [0, 0],
      [1, 0],
    ]);
  });

  it('is discarded if a byte is wrong, and fetched again once from the only source', async () => {
    let served = 0;
    await fetchFrom((...to) => (++served === 1 ? wrong : right)(...to), absent);
    assert.deepEqual(
      asked.map(([at]) => at),
      [0, 1, 0],
    );
  });

  it('that is always wrong is given up after the second attempt', async () => {
    await assert.rejects(fetchFrom(wrong, absent), {
      code: 'DISTRIBUTION_DIGEST_MISMATCH',
      message: new RegExp(blob.digest),
    });
    assert.equal(asked.filter(([at]) => at === 0).length, 2);
  });

  it('is fetched again if the second source completes a first part with a wrong byte', async () => {
    const bad: Handler = (start, response) => {
      if (start > 0) return response.destroy() as unknown as void;
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(Buffer.alloc(50_000), () => setTimeout(() => response.destroy(), 20));
    };
    await fetchFrom((...to) => (asked.filter(([at]) => at === 0).length > 2 ? absent : bad)(...to), right);
    assert.deepEqual(asked.at(-1), [1, 0]);
  });

  it('waits for servers that are down, and then goes on', async () => {
    const from = performance.now();
    const isDown = (): boolean => performance.now() - from < 1500;
    let begun = false;
    const dying: Handler = (...to) => {
      if (!begun) {
        begun = true;
        return cut(...to);
      }
      (isDown() ? down : right)(...to);
    };
    await fetchFrom(dying, absent, [500, 500, 500, 500, 500]);
    assert.deepEqual(asked.at(-1), [0, 50_000]);
  });

  it('that no server serves before the last wait ends fails with the reason', async () => {
    await assert.rejects(fetchFrom(down, absent, [10, 10]), {
      code: 'DISTRIBUTION_UNREACHABLE',
      message: /answers 502/,
    });
    assert.equal(asked.filter(([at]) => at === 1).length, 3);
  });

  it('fails without a wait if no source has it', async () => {
    await assert.rejects(fetchFrom(absent, absent, [60_000]), { code: 'DISTRIBUTION_NOT_FOUND' });
  });
});
