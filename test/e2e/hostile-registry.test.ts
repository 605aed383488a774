import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, afterEach, before, describe, it } from 'node:test';
import { mediaTypes } from '../../base/distribution/index.ts';
import { uniqueLayer } from '../fixtures/image.ts';
import type { PushedImage } from '../fixtures/image.ts';
import { expectServing } from '../fixtures/pod.ts';
import { cutOff } from '../fixtures/proxy.ts';
import { serveHttp } from '../fixtures/registry.ts';
import type { TestServer } from '../fixtures/registry.ts';
import { failureOf, filesThatHold, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Registries that are down, broken or hostile. Each pull fails with its code, and the daemon continues. */
describe('hostile registries', () => {
  let stage: Stage;
  let server: TestServer;
  let deafPort = 0;
  let serving = '';
  const deaf = createServer((socket) => socket.on('error', () => undefined).resume());
  let handle: Handler = (_request, response) => response.writeHead(404).end();
  before(async () => {
    server = await serveHttp((request, response) => handle(request, response));
    await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
    deafPort = (deaf.address() as AddressInfo).port;
    stage = await openStage({
      policy: policyOf(
        `  - images: ["${registryName}/**", "mean.test/**", "down.test/**", "deaf.test/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: privileged }\n`,
      ),
      mirrors: {
        'mean.test': server.url,
        'down.test': 'http://127.0.0.1:1',
        'deaf.test': `http://127.0.0.1:${deafPort}`,
      },
    });
    const { reference } = await stage.publish('serving/a:1');
    serving = await stage.pull(reference);
  });
  after(async () => {
    await stage.close();
    await server.close();
    deaf.close();
  });
  afterEach(async () => {
    assert.ok(stage.daemon.isAlive(), stage.daemon.log().slice(-2000));
    assert.doesNotMatch(stage.daemon.log(), /uncaught|unhandled/i);
    assert.deepEqual((await stage.daemon.cri.image.listImages({})).images.length, 1);
    assert.deepEqual(readdirSync(join(stage.folders.root, 'images/ingest')), [], 'nothing is left in ingest');
  });

  it('a registry that is down', async () => {
    const { code, kind, failure, message } = await failureOf(stage.pull('down.test/a:1'));
    assert.equal(code, 'DISTRIBUTION_UNREACHABLE');
    assert.equal(kind, 'unavailable');
    assert.equal(failure.prefix, 'RegistryUnavailable');
    assert.match(message, /127\.0\.0\.1:1: nothing listens there/);
  });

  it('a registry with an invalid name', async () => {
    const { code, failure } = await failureOf(stage.pull(`${registryName}/../a:1`));
    assert.equal(code, 'DISTRIBUTION_BAD_REFERENCE');
    assert.equal(failure.kind, 'invalid');
  });

  it('a registry that never answers: the caller’s deadline ends the pull', async () => {
    const call = stage.daemon.cri.image.pullImage({ image: { image: 'deaf.test/a:1' } }, { timeoutMs: 500 });
    assert.equal((await failureOf(call)).kind, 'deadline');
  });

  const html: Handler = (_request, response) =>
    response
      .writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
      .end(`<html>${'log in '.repeat(10_000)}</html>`);

  /** Registries by their answer to every request. */
  const answers: { what: string; handler: Handler; code: string; kind: string; why: RegExp }[] = [
    {
      what: 'answers with a web page',
      handler: html,
      code: 'DISTRIBUTION_BAD_ANSWER',
      kind: 'unavailable',
      why: /web page/,
    },
    {
      what: 'answers 500',
      handler: (_request, response) => response.writeHead(500).end('oops'),
      code: 'DISTRIBUTION_UNREACHABLE',
      kind: 'unavailable',
      why: /500/,
    },
    {
      what: 'does not have the image',
      handler: (_request, response) =>
        response
          .writeHead(404, { 'content-type': 'application/json' })
          .end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'),
      code: 'DISTRIBUTION_NOT_FOUND',
      kind: 'not-found',
      why: /MANIFEST_UNKNOWN/,
    },
    {
      what: 'refuses every client',
      handler: (_request, response) =>
        response.writeHead(403, { 'content-type': 'application/json' }).end('{"errors":[{"code":"DENIED"}]}'),
      code: 'DISTRIBUTION_UNAUTHORIZED',
      kind: 'denied',
      why: /DENIED/,
    },
    {
      what: 'closes the connection before it answers',
      handler: (request) => request.socket.destroy(),
      code: 'DISTRIBUTION_UNREACHABLE',
      kind: 'unavailable',
      why: /closed the connection unexpectedly/,
    },
    {
      what: 'does not speak HTTP',
      handler: (request) => request.socket.end('SSH-2.0-OpenSSH_9.2\r\n'),
      code: 'DISTRIBUTION_BAD_ANSWER',
      kind: 'unavailable',
      why: /HTTP/,
    },
    {
      what: 'redirects in a loop',
      handler: (request, response) => response.writeHead(307, { location: request.url ?? '/' }).end(),
      code: 'DISTRIBUTION_BAD_REDIRECT',
      kind: 'denied',
      why: /redirects/,
    },
    {
      what: 'answers with a manifest that is not JSON',
      handler: (_request, response) =>
        response.writeHead(200, { 'content-type': mediaTypes.ociManifest }).end('{"schemaVersion": 2,'),
      code: 'DISTRIBUTION_BAD_MANIFEST',
      kind: 'invalid',
      why: /JSON/,
    },
    {
      what: 'announces a manifest of 1 GiB',
      handler(_request, response) {
        response.writeHead(200, {
          'content-type': mediaTypes.ociManifest,
          'content-length': String(2 ** 30),
        });
        pour(response, 2 ** 30);
      },
      code: 'DISTRIBUTION_TOO_LARGE',
      kind: 'invalid',
      why: /1073741824 bytes, and at most/,
    },
    {
      what: 'sends a manifest of 1 GiB without announcing its size',
      handler(_request, response) {
        response.writeHead(200, { 'content-type': mediaTypes.ociManifest });
        pour(response, 2 ** 30);
      },
      code: 'DISTRIBUTION_TOO_LARGE',
      kind: 'invalid',
      why: /more than \d+ bytes/,
    },
    {
      what: 'sends endless headers',
      handler: (request) =>
        void request.socket.write(`HTTP/1.1 200 OK\r\n${'X-Filler: yes\r\n'.repeat(10_000)}`),
      code: 'DISTRIBUTION_BAD_ANSWER',
      kind: 'unavailable',
      why: /HTTP/,
    },
  ];
  for (const { what, handler, code, kind, why } of answers) {
    it(`a registry that ${what}`, async () => {
      handle = handler;
      const failure = await failureOf(stage.pull('mean.test/a:1'));
      assert.equal(failure.code, code, failure.message);
      assert.equal(failure.kind, kind);
      assert.match(failure.message, why);
      assert.match(failure.message, /mean\.test|127\.0\.0\.1/);
    });
  }

  /** Registries that change one part of an image that is signed and otherwise served correctly. */
  const parts: {
    what: string;
    part: (image: PushedImage) => RegExp;
    answer: (response: ServerResponse, body: Buffer) => void;
    code: string;
    why: RegExp;
  }[] = [
    {
      what: 'a layer that is cut off in transit',
      part: layerPath,
      answer: (response, body) => cutOff(response, body, 5000),
      code: 'DISTRIBUTION_UNREACHABLE',
      why: /after \d+ of \d+ bytes/,
    },
    {
      what: 'a layer that is shorter than its descriptor says',
      part: layerPath,
      answer: (response, body) => response.writeHead(200).end(body.subarray(0, 5000)),
      code: 'DISTRIBUTION_SIZE_MISMATCH',
      why: /5000/,
    },
    {
      what: 'a layer that never ends',
      part: layerPath,
      answer(response) {
        response.writeHead(200);
        pour(response, 2 ** 30);
      },
      code: 'DISTRIBUTION_SIZE_MISMATCH',
      why: /more than the \d+ bytes/,
    },
    {
      what: 'a web page instead of a layer',
      part: layerPath,
      answer: sendHtml,
      code: 'DISTRIBUTION_BAD_ANSWER',
      why: /web page/,
    },
    {
      what: 'a web page instead of the configuration',
      part: (image) => new RegExp(image.configDigest),
      answer: sendHtml,
      code: 'DISTRIBUTION_BAD_ANSWER',
      why: /web page/,
    },
    {
      what: 'no layer',
      part: layerPath,
      answer: (response) => response.writeHead(404).end(),
      code: 'DISTRIBUTION_NOT_FOUND',
      why: /blob/,
    },
    {
      what: 'a web page instead of the referrers',
      part: () => /\/referrers\//,
      answer: sendHtml,
      code: 'IMAGES_UNDECIDED',
      why: /web page|text\/html/,
    },
    {
      what: 'an error instead of the referrers',
      part: () => /\/referrers\//,
      answer: (response) => response.writeHead(500).end(),
      code: 'IMAGES_UNDECIDED',
      why: /500/,
    },
    {
      what: 'no referrers and no fallback tag',
      part: () => /\/referrers\/|\/manifests\/sha256-/,
      answer: (response) => response.writeHead(404).end(),
      code: 'IMAGES_DENIED',
      why: /no signature/i,
    },
  ];
  for (const [index, { what, part, answer, code, why }] of parts.entries()) {
    it(`a registry that serves ${what}`, async () => {
      const name = `part/a${index}`;
      const { image } = await stage.publish(`${name}:1`, { layers: [await uniqueLayer()] });
      const hits = part(image);
      handle = (request, response) => {
        if (hits.test(request.url ?? ''))
          return answer(response, Buffer.from(image.layers.at(-1) ?? assert.fail()));
        response.writeHead(307, { location: `${stage.registry.url}${request.url ?? ''}` }).end();
      };
      const failure = await failureOf(stage.pull(`mean.test/${name}:1`));
      assert.equal(failure.code, code, failure.message);
      assert.match(failure.message, why);
      const needles = [(image.layers.at(-1) ?? assert.fail()).subarray(2000, 2064), image.config];
      assert.deepEqual(filesThatHold([stage.folders.root], needles), []);
      // Nothing is lost: the same image can be pulled from a correct registry.
      const id = await stage.pull(`${registryName}/${name}:1`);
      await stage.daemon.cri.image.removeImage({ image: { image: id } });
    });
  }

  it('a registry whose manifest names a wrong size', async () => {
    const [layer] = [await uniqueLayer()];
    const { reference } = await stage.publish('size/a:1', { layers: [layer], manifest: {} });
    const { image } = await stage.publish('size/b:1', { layers: [layer] }, { sign: false });
    const manifest = JSON.parse(Buffer.from(image.manifest).toString()) as { layers: { size: number }[] };
    const wrong = {
      ...manifest,
      layers: manifest.layers.map((one, index) => (index === 1 ? { ...one, size: one.size + 1 } : one)),
    };
    // A real registry does not refuse such a manifest.
    const { digest } = await stage
      .repository('size/b')
      .pushManifest(Buffer.from(JSON.stringify(wrong)), mediaTypes.ociManifest, { tag: '1' });
    await stage.sign('size/b', digest);
    const failure = await failureOf(stage.pull(`${registryName}/size/b:1`));
    assert.equal(failure.code, 'DISTRIBUTION_SIZE_MISMATCH');
    assert.match(failure.message, new RegExp(`${layer.blob.length + 1}`));
    await stage.daemon.cri.image.removeImage({ image: { image: await stage.pull(reference) } });
  });

  it('a registry whose token service returns a web page, or redirects clients elsewhere', async () => {
    const realms: [string, RegExp][] = [
      [`${server.url}/token`, /DISTRIBUTION_(BAD_ANSWER|UNAUTHORIZED)/],
      ['http://127.0.0.1:1/token', /DISTRIBUTION_(UNREACHABLE|UNAUTHORIZED)/],
      ['file:///etc/shadow', /DISTRIBUTION_(BAD_ANSWER|BAD_REDIRECT|UNAUTHORIZED)/],
    ];
    for (const [realm, code] of realms) {
      handle = (request, response) => {
        if (request.url?.startsWith('/token') === true) return html(request, response);
        response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="s"` }).end();
      };
      assert.match((await failureOf(stage.pull('mean.test/a:1'))).code, code, realm);
    }
  });

  it('a registry that repeatedly closes the connection within every type of answer', async () => {
    const { image } = await stage.publish('break/a:1', { layers: [await uniqueLayer()] });
    const paths = [
      '/manifests/1',
      '/referrers/',
      '.sig',
      image.configDigest,
      layerPath(image).source,
      `/manifests/sha256-`,
    ];
    for (const path of paths) {
      for (const way of ['before', 'in the head', 'in the body'] as const) {
        handle = (request, response) => {
          if (request.url?.includes(path) !== true)
            return void response
              .writeHead(307, { location: `${stage.registry.url}${request.url ?? ''}` })
              .end();
          if (way === 'before') return void request.socket.destroy();
          if (way === 'in the head') return void request.socket.end('HTTP/1.1 200 OK\r\nContent-Le');
          response.writeHead(200, { 'content-type': mediaTypes.ociManifest, 'content-length': '1000' });
          response.write('{"schemaVersion"', () => request.socket.destroy());
        };
        // One signature that was found is sufficient, even if other requests fail.
        const outcome = await stage
          .pull('mean.test/break/a:1')
          .catch((thrown: unknown) => (thrown as { code: string }).code);
        assert.match(outcome, /^(DISTRIBUTION_\w+|IMAGES_UNDECIDED|sha256:.*)$/, `${path}, ${way}`);
        if (outcome.startsWith('sha256:'))
          await stage.daemon.cri.image.removeImage({ image: { image: outcome } });
      }
    }
  });

  it('a pull that its caller cancels leaves nothing', async () => {
    const { image } = await stage.publish('slow/a:1', { layers: [await uniqueLayer()] });
    const slow = layerPath(image);
    let asked = false;
    handle = (request, response) => {
      if (!slow.test(request.url ?? ''))
        return void response.writeHead(307, { location: `${stage.registry.url}${request.url ?? ''}` }).end();
      asked = true;
      response.writeHead(200).write(Buffer.alloc(20_000));
    };
    const giveUp = new AbortController();
    const call = stage.daemon.cri.image.pullImage(
      { image: { image: 'mean.test/slow/a:1' } },
      { signal: giveUp.signal },
    );
    while (!asked) await pause(10);
    await pause(50);
    giveUp.abort();
    assert.equal((await failureOf(call)).kind, 'cancelled');
    const ingest = (): string[] => readdirSync(join(stage.folders.root, 'images/ingest'));
    for (let waited = 0; ingest().length > 0; waited += 50) {
      assert.ok(waited < 60_000, ingest().join());
      await pause(50);
    }
    // The cancelled pull does not delay the next one.
    const id = await stage.pull(`${registryName}/slow/a:1`);
    await stage.daemon.cri.image.removeImage({ image: { image: id } });
  });

  it('ten concurrent pulls of an image whose layer fails once: each pull retries', async () => {
    const { image } = await stage.publish('herd/a:1', { layers: [await uniqueLayer()] });
    const layer = layerPath(image);
    let failures = 0;
    handle = (request, response) => {
      if (layer.test(request.url ?? '') && failures++ === 0) return void response.writeHead(404).end();
      response.writeHead(307, { location: `${stage.registry.url}${request.url ?? ''}` }).end();
    };
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, () => stage.pull('mean.test/herd/a:1')),
    );
    const pulled = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    assert.ok(pulled.length >= 9, String(pulled.length));
    assert.equal(new Set(pulled).size, 1);
    await stage.daemon.cri.image.removeImage({ image: { image: pulled[0] ?? assert.fail() } });
  });

  it('and a normal pod still runs', () => expectServing(stage, serving));

  it('fifty refused pulls cost neither descriptors nor memory', { timeout: 60_000 }, async () => {
    const { reference } = await stage.publish('many/a:1', { layers: [await uniqueLayer()] }, { sign: false });
    handle = html;
    const once = async (): Promise<void> => {
      assert.equal((await failureOf(stage.pull(reference))).code, 'IMAGES_DENIED');
      assert.equal((await failureOf(stage.pull('mean.test/a:1'))).code, 'DISTRIBUTION_BAD_ANSWER');
    };
    for (let round = 0; round < 10; round += 1) await once();
    const before = stage.daemon.usage();
    for (let round = 0; round < 50; round += 1) await once();
    const now = stage.daemon.usage();
    assert.ok(
      now.descriptors <= before.descriptors + 5,
      `${before.descriptors} → ${now.descriptors} descriptors`,
    );
    assert.ok(
      now.residentMiB <= before.residentMiB + 25,
      `${before.residentMiB.toFixed(0)} → ${now.residentMiB.toFixed(0)} MiB`,
    );
  });
});

function layerPath(image: PushedImage): RegExp {
  const digest = (
    JSON.parse(Buffer.from(image.manifest).toString()) as { layers: { digest: string }[] }
  ).layers.at(-1)?.digest;
  return new RegExp(digest ?? assert.fail());
}

function sendHtml(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/html' }).end(`<html>${'x'.repeat(100_000)}</html>`);
}

/** Writes as fast as the client reads, up to `total` or the end of the connection. */
function pour(response: ServerResponse, total: number): void {
  const chunk = Buffer.alloc(65_536, 0x20);
  let sent = 0;
  const more = (): void => {
    while (sent < total && !response.destroyed) {
      sent += chunk.length;
      if (!response.write(chunk)) {
        response.once('drain', more);
        return;
      }
    }
    response.end();
  };
  response.on('error', () => undefined);
  more();
}
