import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import { createRegistryClient } from '../../base/distribution/index.ts';
import { attestImage } from '../signing/attest-image.ts';
import { notarySigner } from '../notation/fixtures/notary-signer.ts';
import { signImage } from '../signing/sign-image.ts';
import { decide } from '../verdict/decide.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import type { Requirement } from '../requirements/types.ts';
import { amd64, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { faults, generatedFaults } from '../evidence/fixtures/faults.ts';
import type { Fault } from '../evidence/fixtures/faults.ts';
import { answerFixtures } from '../evidence/fixtures/fixture-registry.ts';
import type { FixtureRepository } from '../evidence/fixtures/fixture-registry.ts';
import { by, newKey } from '../evidence/fixtures/sample-evidence.ts';
import { contentToSign, useFallbackTag } from '../evidence/fixtures/signed-content.ts';
import { gather } from './gather.ts';
import { defaultLimits } from '../evidence/limits.ts';

/**
 * Tests every request of gathering with every wrong answer: the result is never an admission, and stays
 * within time and memory limits.
 */
const json = 'application/vnd.oci.image.index.v1+json';

/** The certificates of the notation envelopes were made today. */
const now = new Date();

const key = newKey('ours.pub');
const statement = { type: 'https://example.com/review/v1', predicate: { by: 'somebody' } };
const attested: Requirement = {
  kind: 'attestation',
  predicateType: statement.type,
  by: { kind: 'cosign-key', key: key.public },
  cel: [],
};

const folder = mkdtempSync(join(tmpdir(), 'faults-'));
after(() => rmSync(folder, { recursive: true }));
const notation = await notarySigner(folder);

/** How evidence of each type is made, and the requirement for it. */
const kinds: Readonly<
  Record<
    string,
    {
      readonly require: Requirement;
      readonly make: (to: ReturnType<typeof contentToSign>) => Promise<unknown>;
    }
  >
> = {
  'a bundle': { require: by(key), make: (to) => signImage({ ...to, key, format: 'bundle', now }) },
  'a signature in the older form': {
    require: by(key),
    make: (to) => signImage({ ...to, key, format: 'legacy', now }),
  },
  'a notation envelope': {
    require: notation.require,
    make: (to) => signImage({ ...to, key: notation.signer, format: 'notation-jws', now }),
  },
  'an attestation': {
    require: attested,
    make: (to) => attestImage({ ...to, ...statement, key, format: 'bundle', now }),
  },
  'an attestation in the older form': {
    require: attested,
    make: (to) => attestImage({ ...to, ...statement, key, format: 'legacy', now }),
  },
};

/** The requests that get a wrong answer. */
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
  options: {
    readonly position: string;
    readonly fault?: Fault;
    readonly referrers: boolean;
    readonly waits?: number;
  },
): Promise<{
  readonly outcome: string;
  readonly hit: boolean;
  readonly text: string;
  readonly milliseconds: number;
}> {
  let hit = false;
  const { position, fault, referrers, waits = 1 } = options;
  const server = createHttpServer((request, response) => {
    const path = request.url ?? '';
    const right = answerFixtures(new Map([['app', content]]), referrers, request);
    if (positions[position]?.(path) === true) {
      hit = true;
      if (fault !== undefined) return fault(request, response, right.body);
    }
    if (path.startsWith('/token'))
      return void response.writeHead(200, { 'content-type': 'application/json' }).end('{"token":"good"}');
    if (position === 'the token service' && request.headers.authorization !== 'Bearer good')
      return void response
        .writeHead(401, {
          'www-authenticate': `Bearer realm="http://${request.headers.host ?? ''}/token",service="test"`,
        })
        .end();
    if (position === 'the second page' && path.includes('/referrers/') && !path.includes('page=2')) {
      // The evidence is on the page after this one.
      const empty =
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}';
      return void response
        .writeHead(200, { 'content-type': json, link: `<${path}?page=2>; rel="next"` })
        .end(empty);
    }
    return void response
      .writeHead(right.status, right.headers)
      .end(request.method === 'HEAD' ? undefined : right.body);
  });
  server.on('clientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const registry = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  // A correct answer gets enough time also on a busy machine. A wrong one is waited for many times, so it
  // gets less.
  const patience = fault === undefined ? 20 : waits;
  const client = createRegistryClient({
    timeouts: {
      connect: 500 * patience,
      headers: 500 * patience,
      idle: 500 * patience,
      document: 1000 * patience,
    },
    retry: { attempts: 2, maxDelayMs: 50 },
  });
  const started = performance.now();
  try {
    const policy = policyOf({ require });
    const repositories = client.repositories({ registry, repository: 'app' });
    const reference = `${registry}/app:1`;
    const dossier = await gather(
      { reference, digest, manifestDigest: digest, repositories, policy, now },
      { ...defaultLimits, milliseconds: 1500 * patience },
    );
    const verdict = decide({ dossier, reference, namespace: '', platform: amd64, policy, now });
    return {
      outcome: verdict.outcome,
      hit,
      text: explainVerdict(verdict),
      milliseconds: performance.now() - started,
    };
  } finally {
    await client.close();
    server.closeAllConnections();
    server.close();
  }
}

/** Returns the requests that this evidence depends on. Failures of other requests do not affect it. */
function carrying(kind: string, referrers: boolean): readonly string[] {
  if (kind.endsWith('older form')) return ['the token service', 'the tag', 'the blob'];
  return [
    'the token service',
    ...(referrers ? ['the listing', 'the second page'] : ['the tag']),
    'the manifest',
    'the blob',
  ];
}

/** Requests without an answer wait in parallel, up to this many. */
const together = 32;
const every = Object.entries({ ...faults, ...generatedFaults(4) });

// Tests that wait for a registry run in parallel.
describe('faults in evidence', { concurrency: 2 }, () => {
  for (const [kind, { require, make }] of Object.entries(kinds)) {
    for (const referrers of [true, false]) {
      test(`${kind}, ${referrers ? 'with the referrers API' : 'with fallback tags'}: no fault leads to an admission`, async () => {
        const made = contentToSign();
        await make(made);
        if (!referrers) useFallbackTag(made.content, made.digest);
        const good = await outcomeOf(made.content, made.digest, require, { position: '', referrers });
        assert.equal(good.outcome, 'admit', good.text);
        for (const position of carrying(kind, referrers)) {
          // Cases that wait run in parallel.
          const outcomes: ({ readonly name: string } & Awaited<ReturnType<typeof outcomeOf>>)[] = [];
          // On a busy machine an earlier request may time out before this position is reached. The test then
          // repeats with longer timeouts, because otherwise it would test nothing.
          for (let waits = 1; waits <= 4 && !outcomes.some(({ hit }) => hit); waits *= 2)
            for (let at = 0; at < every.length; at += together)
              outcomes.push(
                ...(await Promise.all(
                  every.slice(at, at + together).map(async ([name, fault]) => ({
                    name,
                    ...(await outcomeOf(made.content, made.digest, require, {
                      position,
                      fault,
                      referrers,
                      waits,
                    })),
                  })),
                )),
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
