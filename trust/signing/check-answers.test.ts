/** Answers of logs and timestamp authorities with which no verifier would accept the signature. */
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { after, before, test } from 'node:test';
import { serveHttp } from '../../test/fixtures/registry.ts';
import { policyKey } from '../keys/public-key.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { keySigner } from '../signers/signer.ts';
import { startMockSigstore } from '../sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore, SignOptions } from '../sigstore/fixtures/mock-sigstore.ts';
import { legacyAnnotationsOf } from './legacy-annotations.ts';
import { signArtifact } from './sign-artifact.ts';

const artifact = Buffer.from('what is signed');
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const named = policyKey('cosign.pub', createPublicKey(pair.privateKey));
assert.ok('spki' in named);
const key: SigningKey = { public: named, private: pair.privateKey };

let services: MockSigstore;
before(async () => {
  services = await startMockSigstore();
});
after(() => services.close());

type Json = Record<string, unknown>;
/** No service answers there. */
const nowhere = [{ url: 'http://127.0.0.1:9', majorApiVersion: 1 }];

type Change = (path: string, answer: Buffer) => Buffer | string;

/** Passes requests to the services, and changes their answers. */
async function behind<T>(change: Change, act: (url: string) => Promise<T>): Promise<T> {
  const server = await serveHttp((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const path = request.url ?? '';
      const headers = { 'content-type': request.headers['content-type'] ?? '' };
      void fetch(`${services.url}${path}`, { method: 'POST', headers, body: Buffer.concat(chunks) }).then(
        async (answer) => {
          response.writeHead(answer.status);
          response.end(change(path, Buffer.from(await answer.arrayBuffer())));
        },
      );
    });
  });
  try {
    return await act(`http://${server.host}`);
  } finally {
    await server.close();
  }
}

function sign(options: SignOptions, url: string, stampUrl = url): Promise<Buffer> {
  const config = JSON.stringify(services.signingConfig(options)).replaceAll(services.url, url);
  const parsed = JSON.parse(config) as { tsaUrls?: { url: string }[] };
  for (const one of parsed.tsaUrls ?? []) one.url = stampUrl;
  return signArtifact({
    artifact,
    inToto: options.inToto === true,
    identityToken: services.token(options),
    signingConfig: Buffer.from(JSON.stringify(parsed)),
    now: new Date(),
  });
}

const only =
  (part: string, change: (answer: Buffer) => Buffer | string): Change =>
  (path, answer) =>
    path.includes(part) ? change(answer) : answer;

/** Returns the first answer for every request. */
function repeat(part: string): Change {
  let first: Buffer | undefined;
  return only(part, (answer) => (first ??= answer));
}

/** Changes the entry of a Rekor v1 log. */
const entry = (change: (entry: Record<string, unknown>) => void): Change =>
  only('/api/v1/log/', (answer) => {
    const json = JSON.parse(answer.toString()) as Record<string, Record<string, unknown>>;
    for (const one of Object.values(json)) change(one);
    return JSON.stringify(json);
  });

const failure = (message: RegExp) => ({ code: 'TRUST_WITNESS_FAILED', message });

const table: readonly (readonly [string, SignOptions, Change, RegExp])[] = [
  [
    'a time stamp authority behind a page for logging in',
    { rekor: 1, timeStamp: true },
    only('timestamp', () => '<html>log in</html>'),
    /its answer cannot be used: the value is cut short/,
  ],
  [
    'a time stamp authority that refuses',
    { rekor: 1, timeStamp: true },
    only('timestamp', () => Buffer.from('30053003020102', 'hex')),
    /the authority refused, with status 2/,
  ],
  [
    'a time stamp of another signature',
    { rekor: 1, timeStamp: true },
    repeat('timestamp'),
    /it is for another signature/,
  ],
  ['an entry of another signature', { rekor: 1 }, repeat('/api/v1/log/'), /it is for another signature/],
  ['an entry of Rekor v2 of another one', { rekor: 2 }, repeat('/api/v2/log/'), /for another signature/],
  [
    'an entry without its place',
    { rekor: 1 },
    entry((one) => delete one['logIndex']),
    /its answer is not an entry of a log/,
  ],
  [
    'an entry whose place is no number',
    { rekor: 1 },
    entry((one) => (one['logIndex'] = { toString: 1 })),
    /its answer is not an entry of a log/,
  ],
  [
    'an entry without a promise, and so without a proven time',
    { rekor: 1 },
    entry((one) => Reflect.deleteProperty(one['verification'] as object, 'signedEntryTimestamp')),
    /nothing in it proves when it was signed/,
  ],
  [
    'an entry without a proof',
    { rekor: 1 },
    entry((one) => {
      const { signedEntryTimestamp } = one['verification'] as Record<string, unknown>;
      one['verification'] = { signedEntryTimestamp };
    }),
    /it has no inclusion proof/,
  ],
  [
    'a proof of another tree',
    { rekor: 2 },
    only('/api/v2/log/', (answer) => {
      const json = JSON.parse(answer.toString()) as { inclusionProof: { hashes: string[] } };
      json.inclusionProof.hashes.push(Buffer.alloc(32).toString('base64'));
      return JSON.stringify(json);
    }),
    /does not lead to the root of the checkpoint/,
  ],
];

for (const [name, options, change, message] of table) {
  test(`${name} is refused`, () =>
    behind(change, async (url) => {
      // The first signature gives the answer that some of the services repeat.
      await sign(options, url).catch(() => undefined);
      await assert.rejects(sign(options, url), failure(message));
    }));
}

test('right answers are accepted', () =>
  behind(
    (_path, answer) => answer,
    async (url) => {
      for (const rekor of [1, 2] as const)
        for (const inToto of [true, false]) await sign({ rekor, timeStamp: true, inToto }, url);
    },
  ));

test('a Rekor v2 log alone is refused before a certificate is requested: it states no time', async () => {
  const { tsaUrls: _tsa, tsaConfig: _rule, ...config } = services.signingConfig({ rekor: 2 }) as Json;
  await assert.rejects(
    signArtifact({
      artifact,
      inToto: false,
      identityToken: services.token({ rekor: 2 }),
      signingConfig: Buffer.from(JSON.stringify({ ...config, caUrls: nowhere })),
      now: new Date(),
    }),
    { code: 'TRUST_SIGNING_CONFIG', message: /no time stamp authority .* a Rekor v2 log states no time/ },
  );
});

test('a time at which the certificate is not valid is refused', async (t) => {
  const late = await startMockSigstore(new Date(Date.now() + 3_600_000));
  t.after(() => late.close());
  await assert.rejects(
    sign({ rekor: 1, timeStamp: true }, services.url, late.url),
    failure(/its time is .*, and the certificate is valid from .* to /),
  );
});

test('the older form refuses them, too', async () => {
  const wrong: readonly (readonly [Change, RegExp])[] = [
    [repeat('/api/v1/log/'), /it is for another signature/],
    [repeat('timestamp'), /it is for another signature/],
    [
      entry((one) => Reflect.deleteProperty(one['verification'] as object, 'signedEntryTimestamp')),
      /annotation dev\.sigstore\.cosign\/bundle is malformed/,
    ],
  ];
  for (const [change, message] of wrong) {
    await behind(change, async (url) => {
      const signer = keySigner(key, { witnesses: { logs: [{ url, version: 1 }], timestamps: [url] } });
      const signed = (): Promise<unknown> => legacyAnnotationsOf(artifact, signer);
      await signed().catch(() => undefined);
      await assert.rejects(signed(), failure(message));
    });
  }
  await behind(
    (_path, answer) => answer,
    async (url) => {
      const signer = keySigner(key, { witnesses: { logs: [{ url, version: 1 }], timestamps: [url] } });
      assert.ok((await legacyAnnotationsOf(artifact, signer))['dev.sigstore.cosign/bundle']);
    },
  );
});
