import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { httpRequest } from '../../base/connections/index.ts';
import { layerOf } from '../fixtures/image.ts';
import type { PushedImage } from '../fixtures/image.ts';
import { serveHttp } from '../fixtures/registry.ts';
import type { TestServer } from '../fixtures/registry.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const mebibyte = 1024 * 1024;

interface Exchange {
  readonly path: string;
  readonly range: string | undefined;
}

/**
 * A correct registry behind unreliable connections. A pull succeeds, and fetches nothing twice.
 */
describe('an unreliable registry', () => {
  let stage: Stage;
  let server: TestServer;
  /**
   * Returns how many bytes of an answer's body are sent before the connection breaks; -1: not even its head.
   */
  let breaksAfter: (
    exchange: Exchange,
    count: number,
    closed: Promise<unknown>,
  ) => number | undefined | Promise<number> = () => undefined;
  const asked: Exchange[] = [];
  let lastAsked = 0;
  before(async () => {
    const answer = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
      const exchange = { path: incoming.url ?? '', range: incoming.headers.range };
      asked.push(exchange);
      lastAsked = performance.now();
      const closed = new Promise((resolve) => response.once('close', resolve));
      const limit = await breaksAfter(exchange, asked.length, closed);
      if (limit === -1) incoming.socket.destroy();
      else forward(stage.registry.host, incoming, response, limit);
    };
    server = await serveHttp((incoming, response) => void answer(incoming, response));
    stage = await openStage({
      policy: policyOf(
        `  - images: ["${registryName}/**", "weak.test/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: privileged }\n`,
      ),
      mirrors: { 'weak.test': server.url },
    });
  });
  after(async () => {
    await stage.close();
    await server.close();
  });
  afterEach(async () => {
    for (const { id } of (await stage.daemon.cri.image.listImages({})).images)
      await stage.daemon.cri.image.removeImage({ image: { image: id } });
    assert.deepEqual(readdirSync(join(stage.folders.root, 'images/ingest')), [], 'nothing is left in ingest');
    breaksAfter = () => undefined;
    asked.splice(0);
  });

  /** Publishes an image with a layer that a Worker fetches, and one that the main thread fetches. */
  const publish = async (name: string): Promise<PushedImage> => {
    const layers = await Promise.all(
      [6 * mebibyte, 200_000].map((size) => layerOf([{ name: `random-${size}`, body: randomBytes(size) }])),
    );
    return (await stage.publish(`${name}:1`, { layers })).image;
  };

  it('that drops every third connection: the pull succeeds', async () => {
    await publish('third/a');
    breaksAfter = ({ path }, count) =>
      count % 3 !== 0 ? undefined : path.includes('/blobs/') ? mebibyte : -1;
    assert.match(await stage.pull('weak.test/third/a:1'), /^sha256:/);
    assert.ok(asked.length >= 6, String(asked.length));
  });

  it('that cuts off each answer with a layer: each byte is fetched once', async () => {
    const image = await publish('once/a');
    const large = largestLayer(image);
    breaksAfter = ({ path }) => (path.includes(large.digest) ? 2 * mebibyte : undefined);
    await stage.pull('weak.test/once/a:1');
    const starts = asked
      .filter(({ path }) => path.includes(large.digest))
      .map(({ range }) => Number(/^bytes=(\d+)-$/.exec(range ?? 'bytes=0-')?.[1]));
    assert.deepEqual(
      starts,
      Array.from({ length: Math.ceil(large.size / (2 * mebibyte)) }, (_, at) => at * 2 * mebibyte),
    );
  });

  it('that is down for 20 s in the middle of a layer: the pull waits, and fetches the rest', async () => {
    const image = await publish('dead/a');
    const large = largestLayer(image);
    let death: Promise<void> | undefined;
    let isBack = false;
    breaksAfter = ({ path }, _count, closed) => {
      if (!path.includes(large.digest) || isBack) return undefined;
      return death === undefined ? begin(closed) : -1;
    };
    const begin = async (closed: Promise<unknown>): Promise<number> => {
      // Without its evidence an image is refused at once. Therefore the registry goes down when all other
      // requests are answered.
      while (performance.now() - lastAsked < 2000) await pause(100);
      death = closed.then(() => server.dieFor(20_000)).then(() => void (isBack = true));
      return 3 * mebibyte;
    };
    await stage.pull('weak.test/dead/a:1');
    await death;
    const ranges = asked.filter(({ path }) => path.includes(large.digest)).map(({ range }) => range);
    assert.equal(ranges[0], undefined);
    assert.equal(ranges.at(-1), `bytes=${3 * mebibyte}-`);
  });

  it('with ten pulls of one image at once: each blob is fetched once', async () => {
    const image = await publish('ten/a');
    const pulled = await Promise.all(Array.from({ length: 10 }, () => stage.pull('weak.test/ten/a:1')));
    assert.equal(new Set(pulled).size, 1);
    const fetched = asked.map(({ path }) => path).filter((path) => path.includes('/blobs/'));
    const { layers } = manifestOf(image);
    for (const digest of [image.configDigest, ...layers.map((layer) => layer.digest)])
      assert.equal(fetched.filter((path) => path.endsWith(digest)).length, 1, digest);
  });

  it('that cuts off answers without progress: the error names host, blob and reason', async () => {
    const image = await publish('never/a');
    const large = largestLayer(image);
    breaksAfter = ({ path }) => (path.includes(large.digest) ? 10 : undefined);
    const { code, message } = await failureOf(stage.pull('weak.test/never/a:1'));
    assert.equal(code, 'DISTRIBUTION_UNREACHABLE');
    assert.match(
      message,
      new RegExp(
        `${server.host}/never/a@${large.digest}.*closed the connection unexpectedly after \\d+ of ${large.size} bytes`,
      ),
    );
  });
});

interface Descriptor {
  readonly digest: string;
  readonly size: number;
}

function manifestOf(image: PushedImage): { readonly layers: readonly Descriptor[] } {
  return JSON.parse(Buffer.from(image.manifest).toString()) as { layers: Descriptor[] };
}

function largestLayer(image: PushedImage): Descriptor {
  return manifestOf(image).layers.toSorted((a, b) => b.size - a.size)[0] ?? assert.fail();
}

/** Passes a request on, and breaks the connection after `limit` bytes of the answer's body. */
function forward(host: string, incoming: IncomingMessage, response: ServerResponse, limit = Infinity): void {
  const [address, port] = host.split(':');
  const headers = { ...incoming.headers, host };
  const outgoing = httpRequest(
    { host: address, port, method: incoming.method, path: incoming.url, headers },
    (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      let sent = 0;
      answer.on('data', (chunk: Buffer) => {
        const part = chunk.subarray(0, limit - sent);
        sent += part.length;
        if (part.length === chunk.length) return void response.write(part);
        answer.destroy();
        // The part must arrive before the connection ends.
        response.write(part, () => setTimeout(() => response.destroy(), 50));
      });
      answer.once('end', () => response.end());
      answer.once('error', () => response.destroy());
    },
  );
  outgoing.once('error', () => response.destroy());
  outgoing.end();
}
