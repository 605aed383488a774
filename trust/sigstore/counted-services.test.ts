/** Which logs and authorities count towards a threshold, and until when. */
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { after, before, test } from 'node:test';
import { verifyForAuthority } from '../cosign/authority.ts';
import { policyKey } from '../keys/public-key.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { keySigner } from '../signers/signer.ts';
import type { WitnessUrls } from '../signers/signer.ts';
import { imageStatement, signBundle } from '../signing/dsse-bundle.ts';
import { readBundle } from './bundle.ts';
import type { Bundle } from './bundle.ts';
import { startMockSigstore } from './fixtures/mock-sigstore.ts';
import type { MockSigstore } from './fixtures/mock-sigstore.ts';
import { distinctServices, readTrustedRoot } from './trusted-root.ts';

interface Period {
  readonly start: string;
  readonly end?: string;
}

interface Member {
  publicKey: { validFor: Period };
  operator?: string;
}

interface Root {
  tlogs: Member[];
  timestampAuthorities: { operator?: string }[];
}

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const named = policyKey('cosign.pub', createPublicKey(pair.privateKey));
assert.ok('spki' in named);
const key: SigningKey = { public: named, private: pair.privateKey };
const statement = imageStatement(`sha256:${'a'.repeat(64)}`);
const now = Date.now();
const hour = 3_600_000;
const at = (milliseconds: number): string => new Date(now + milliseconds).toISOString();

let services: MockSigstore;
before(async () => {
  services = await startMockSigstore();
});
after(() => services.close());

async function bundleBy(logs: readonly (1 | 2)[], stamped = false): Promise<Bundle> {
  const witnesses: WitnessUrls = {
    logs: logs.map((version) => ({ url: services.url, version })),
    timestamps: stamped ? [services.url] : [],
  };
  return readBundle(await signBundle(statement, keySigner(key, { witnesses })));
}

/** Verifies for a policy of a key with a log, under a root that was changed. */
function verifyAt(bundle: Bundle, time: number, change: (root: Root) => void, logs = 1) {
  const json = services.trustedRoot() as unknown as Root;
  change(json);
  const content = Buffer.from(JSON.stringify(json)).toString('base64');
  const root = { name: 'root.json', digest: '', content };
  const log = { root, logs, timeStamps: 0, certificateLogs: 0 };
  return verifyForAuthority(
    bundle,
    undefined,
    { kind: 'cosign-key', key: named as typeof key.public, log },
    new Date(time),
  );
}

const trusted =
  (validFor: Period) =>
  ({ tlogs }: Root): void => {
    for (const log of tlogs) log.publicKey.validFor = validFor;
  };

test('an entry of a Rekor v2 log without a proven time counts only while the log is trusted', async () => {
  const bundle = await bundleBy([2]);
  const retired = verifyAt(bundle, now, trusted({ start: at(-3 * hour), end: at(-hour) }));
  assert.ok('problem' in retired, JSON.stringify(retired));
  assert.equal(retired.code, 'TRUST_SIGSTORE_TIME');
  assert.match(retired.problem, /log\.example is not trusted now, and nothing proves when it was signed/);
  const later = verifyAt(bundle, now, trusted({ start: at(hour) }));
  assert.ok('problem' in later);
  assert.equal(later.validUntil, at(hour));

  const ending = trusted({ start: at(-3 * hour), end: at(hour) });
  const current = verifyAt(bundle, now, ending);
  assert.ok('proven' in current, JSON.stringify(current));
  // Nothing that keeps the answer may keep it for longer.
  assert.equal(current.validUntil, at(hour));
  assert.ok('problem' in verifyAt(bundle, now + hour + 1, ending));
});

test('with a proven time, the log must have been trusted at that time, and may have been retired since', async () => {
  const period = { start: at(-hour), end: at(hour) };
  for (const bundle of [await bundleBy([1]), await bundleBy([2], true)]) {
    const result = verifyAt(bundle, now + 2 * hour, trusted(period));
    assert.ok('proven' in result, JSON.stringify(result));
    assert.equal(result.validUntil, undefined);
  }
});

test('a refusal because of a clock that is behind ends when the signature is not in the future any more', async () => {
  const bundle = await bundleBy([1]);
  const early = verifyAt(bundle, now - hour, () => undefined);
  assert.ok('problem' in early, JSON.stringify(early));
  assert.match(early.problem, /which is in the future/);
  const end = Date.parse(String(early.validUntil));
  assert.ok('problem' in verifyAt(bundle, end - 1, () => undefined));
  assert.ok('proven' in verifyAt(bundle, end, () => undefined));
});

test('two logs of one operator count once', async () => {
  const bundle = await bundleBy([1, 2]);
  const of =
    (...operators: readonly (string | undefined)[]) =>
    ({ tlogs }: Root): void => {
      for (const [index, operator] of operators.entries())
        if (operator !== undefined) (tlogs[index] as Member).operator = operator;
    };
  assert.ok('proven' in verifyAt(bundle, now, of(undefined, undefined), 2));
  assert.ok('proven' in verifyAt(bundle, now, of('a.example', 'b.example'), 2));
  const same = verifyAt(bundle, now, of('a.example', 'a.example'), 2);
  assert.ok('problem' in same, JSON.stringify(same));
  assert.match(same.problem, /proofs of 1 of the 2 transparency logs/);
});

test('a root states its operators, and those of one operator count once', () => {
  const json = services.trustedRoot() as unknown as Root;
  for (const member of [...json.tlogs, ...json.timestampAuthorities]) member.operator = 'a.example';
  const root = readTrustedRoot(Buffer.from(JSON.stringify(json)));
  assert.equal(root.logs.length, 2);
  assert.equal(distinctServices(root.logs), 1);
  assert.equal(root.timeStampAuthorities[0]?.operator, 'a.example');
  (json.tlogs[0] as { operator?: unknown }).operator = 7;
  assert.throws(() => readTrustedRoot(Buffer.from(JSON.stringify(json))), /tlogs\[0\]\.operator is not text/);
});
