import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { createRegistryClient } from '../../base/distribution/index.ts';
import { attestImage } from '../attestation/attest-image.ts';
import { signImage } from '../signing/sign-image.ts';
import { decide } from '../verdict/decide.ts';
import { explainVerdict } from '../verdict/explain.ts';
import type { Requirement } from '../types.ts';
import { amd64, now, policyOf } from './fixtures/fixture-image.ts';
import { answerFixtures } from './fixtures/fixture-registry.ts';
import type { FixtureRepository } from './fixtures/fixture-registry.ts';
import { by, newKey } from './fixtures/made-evidence.ts';
import { contentToSign, useFallbackTag } from './fixtures/signed-content.ts';
import { gather } from './gather.ts';
import { defaultLimits } from './limits.ts';

/** Every request that gathering makes, answered wrongly in every way: never an admit, within time and memory. */
type Fault = (request: IncomingMessage, response: ServerResponse, right: Buffer) => void;

const endless = (response: ServerResponse, piece: Buffer, everyMs: number): void => {
  const timer = setInterval(() => response.write(piece), everyMs);
  response.on('close', () => clearInterval(timer));
};
const json = 'application/vnd.oci.image.index.v1+json';
const bomb = gzipSync(Buffer.alloc(8 * 1024 * 1024));

const faults: Readonly<Record<string, Fault>> = {
  'a connection that is reset': (request) => void request.socket.destroy(),
  'no answer': () => undefined,
  'an answer that stops': (_request, response) => void response.writeHead(200, { 'content-length': 1000 }).write('{'),
  'an answer that drips': (_request, response) => endless(response.writeHead(200, { 'content-type': json }), Buffer.from(' '), 20),
  'an answer without end': (_request, response) =>
    endless(response.writeHead(200, { 'content-type': json }), Buffer.alloc(1024 * 1024, 32), 1),
  'an answer cut short': (_request, response, right) => {
    response.writeHead(200, { 'content-type': json, 'content-length': right.length + 1 }).write(right, () => response.destroy());
  },
  'a length of terabytes': (_request, response) =>
    void response.writeHead(200, { 'content-type': json, 'content-length': 2 ** 42 }).write('{'),
  'nothing in it': (_request, response) => void response.writeHead(200, { 'content-type': json }).end(),
  garbage: (_request, response) => void response.writeHead(200, { 'content-type': json }).end(Buffer.alloc(500, 0xff)),
  'JSON of another kind': (_request, response) =>
    void response.writeHead(200, { 'content-type': json }).end('[null, 7, {"manifests": {}}]'),
  'JSON too deep': (_request, response) => void response.writeHead(200, { 'content-type': json }).end('['.repeat(100_000)),
  'a flipped byte': (_request, response, right) => {
    const wrong = Buffer.from(right);
    // Where it matters: in a digest, or in the middle of what is signed.
    const last = wrong.lastIndexOf('sha256:');
    const place = last < 0 ? wrong.length >> 1 : last + 12;
    wrong[place] = (wrong[place] ?? 0) ^ 1;
    response.writeHead(200, { 'content-type': json, 'content-length': wrong.length }).end(wrong);
  },
  'a web page': (_request, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>log in</html>'),
  'a bomb of gzip': (_request, response) => void response.writeHead(200, { 'content-type': json, 'content-encoding': 'gzip' }).end(bomb),
  'a redirect to itself': (request, response) => void response.writeHead(307, { location: request.url ?? '' }).end(),
  'a redirect to a file': (_request, response) => void response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
  'a redirect to nowhere': (_request, response) => void response.writeHead(302).end(),
  '400': (_request, response) => void response.writeHead(400).end(),
  '401': (_request, response) => void response.writeHead(401).end(),
  '403': (_request, response) => void response.writeHead(403).end(),
  '404': (_request, response) => void response.writeHead(404).end(),
  '410': (_request, response) => void response.writeHead(410).end(),
  '429': (_request, response) => void response.writeHead(429, { 'retry-after': '1' }).end(),
  '429 for an hour': (_request, response) => void response.writeHead(429, { 'retry-after': '3600' }).end(),
  '500': (_request, response) => void response.writeHead(500).end(),
  '503': (_request, response) => void response.writeHead(503, { 'retry-after': '0' }).end(),
  'no HTTP': (request) => void request.socket.end('SSH-2.0-OpenSSH_9\r\n'),
};

const key = newKey('ours.pub');
const statement = { type: 'https://example.com/review/v1', predicate: { by: 'somebody' } };
const attested: Requirement = { kind: 'attestation', predicateType: statement.type, by: { kind: 'cosign-key', key: key.public }, cel: [] };

/** How evidence of a kind is made, and what demands it. */
const kinds: Readonly<
  Record<string, { readonly require: Requirement; readonly make: (to: ReturnType<typeof contentToSign>) => Promise<unknown> }>
> = {
  'a bundle': { require: by(key), make: (to) => signImage({ ...to, key, format: 'bundle', now }) },
  'a signature in the older form': { require: by(key), make: (to) => signImage({ ...to, key, format: 'legacy', now }) },
  'an attestation': { require: attested, make: (to) => attestImage({ ...to, ...statement, key, format: 'bundle', now }) },
  'an attestation in the older form': { require: attested, make: (to) => attestImage({ ...to, ...statement, key, format: 'legacy', now }) },
};

/** Which request is answered wrongly. */
const positions: Readonly<Record<string, (path: string) => boolean>> = {
  'the listing': (path) => path.includes('/referrers/'),
  'the second page': (path) => path.includes('page=2'),
  'the tag': (path) => /manifests\/sha256-/.test(path),
  'the manifest': (path) => /manifests\/sha256:/.test(path),
  'the blob': (path) => path.includes('/blobs/'),
  'the token service': (path) => path.startsWith('/token'),
};

async function outcomeOf(
  content: FixtureRepository,
  digest: string,
  require: Requirement,
  options: { readonly position: string; readonly fault?: Fault; readonly referrers: boolean },
): Promise<{ readonly outcome: string; readonly hit: boolean; readonly text: string; readonly milliseconds: number }> {
  let hit = false;
  const { position, fault, referrers } = options;
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    const right = answerFixtures(new Map([['app', content]]), referrers, request);
    if (positions[position]?.(path) === true) {
      hit = true;
      if (fault !== undefined) return fault(request, response, right.body);
    }
    if (path.startsWith('/token')) return void response.writeHead(200, { 'content-type': 'application/json' }).end('{"token":"good"}');
    if (position === 'the token service' && request.headers.authorization !== 'Bearer good')
      return void response
        .writeHead(401, { 'www-authenticate': `Bearer realm="http://${request.headers.host ?? ''}/token",service="test"` })
        .end();
    if (position === 'the second page' && path.includes('/referrers/') && !path.includes('page=2')) {
      // The evidence stands on the page after this one.
      const empty = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}';
      return void response.writeHead(200, { 'content-type': json, link: `<${path}?page=2>; rel="next"` }).end(empty);
    }
    return void response.writeHead(right.status, right.headers).end(request.method === 'HEAD' ? undefined : right.body);
  });
  server.on('clientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const registry = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = createRegistryClient({
    timeouts: { connect: 500, headers: 500, idle: 500, document: 1000 },
    retry: { attempts: 2, maxDelayMs: 50 },
  });
  const started = performance.now();
  try {
    const policy = policyOf({ require });
    const repositories = client.repositories({ registry, repository: 'app' });
    const reference = `${registry}/app:1`;
    const dossier = await gather(
      { reference, digest, manifestDigest: digest, repositories, policy, now },
      { ...defaultLimits, milliseconds: 1500 },
    );
    const verdict = decide({ dossier, reference, namespace: '', platform: amd64, policy, now });
    return { outcome: verdict.outcome, hit, text: explainVerdict(verdict), milliseconds: performance.now() - started };
  } finally {
    await client.close();
    server.closeAllConnections();
    server.close();
  }
}

/** The requests that this evidence comes through; what fails beside it takes nothing from it. */
function carrying(kind: string, referrers: boolean): readonly string[] {
  if (kind.endsWith('older form')) return ['the token service', 'the tag', 'the blob'];
  return ['the token service', ...(referrers ? ['the listing', 'the second page'] : ['the tag']), 'the manifest', 'the blob'];
}

// What waits for a registry waits side by side.
describe('faults in evidence', { concurrency: 3 }, () => {
  for (const [kind, { require, make }] of Object.entries(kinds)) {
    for (const referrers of [true, false]) {
      test(`${kind}, ${referrers ? 'with the referrers API' : 'with fallback tags'}: no fault admits`, async () => {
        const made = contentToSign();
        await make(made);
        if (!referrers) useFallbackTag(made.content, made.digest);
        const good = await outcomeOf(made.content, made.digest, require, { position: '', referrers });
        assert.equal(good.outcome, 'admit', good.text);
        for (const position of carrying(kind, referrers)) {
          // Those that wait, wait side by side.
          const outcomes = await Promise.all(
            Object.entries(faults).map(async ([name, fault]) => ({
              name,
              ...(await outcomeOf(made.content, made.digest, require, { position, fault, referrers })),
            })),
          );
          assert.ok(
            outcomes.some(({ hit }) => hit),
            `${position} was not asked for`,
          );
          for (const { name, outcome, text, milliseconds } of outcomes) {
            assert.notEqual(outcome, 'admit', `${position}: ${name}\n${text}`);
            assert.ok(milliseconds < 10_000, `${position}: ${name} took ${milliseconds} ms`);
          }
        }
        assert.ok(process.memoryUsage().rss < 700 * 1024 * 1024);
      });
    }
  }
});
