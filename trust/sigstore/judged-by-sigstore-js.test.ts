import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { changeAt, changesOf } from './fixtures/bundle-changes.ts';
import type { Change, Json } from './fixtures/bundle-changes.ts';
import { intendedDifferences } from './fixtures/intended-differences.ts';
import type { Intended } from './fixtures/intended-differences.ts';
import { mockIssuer, mockSubject, startMockSigstore } from './fixtures/mock-sigstore.ts';
import type { MockSigstore, SignOptions } from './fixtures/mock-sigstore.ts';
import { judgeWithRoot } from './fixtures/sigstore-js.ts';
import { verifyArtifact } from './verify-artifact.ts';

/**
 * Portcullis and @sigstore/verify judge the same bundles, and many changed copies of each. They must agree,
 * except about the intended differences.
 */

const artifact = Buffer.from('what is signed');
const statementAbout = (subject: Uint8Array): Buffer =>
  Buffer.from(
    JSON.stringify({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ name: 'artifact', digest: { sha256: createHash('sha256').update(subject).digest('hex') } }],
      predicateType: 'https://example.com/p',
      predicate: {},
    }),
  );

const entry = 'verificationMaterial.tlogEntries.0';
const material = 'verificationMaterial';
const valueIn = (bundle: Json, place: string): unknown =>
  place.split('.').reduce<unknown>((at, name) => (at as Json | undefined)?.[name], bundle);

/** An older version of a bundle, which names a chain of certificates. */
function asVersion(version: '0.1' | '0.2', bundle: Json): Json {
  const { certificate, ...others } = bundle[material] as Json;
  return {
    ...bundle,
    mediaType: `application/vnd.dev.sigstore.bundle+json;version=${version}`,
    [material]: { ...others, x509CertificateChain: { certificates: [certificate] } },
  };
}

const withoutProof = (bundle: Json): Json =>
  changeAt(bundle, `${entry}.inclusionProof`, '', undefined).bundle;

interface Kind {
  readonly options: SignOptions;
  readonly as?: (bundle: Json) => Json;
}

const kinds: Readonly<Record<string, Kind>> = {
  'a message with Rekor v1': { options: { rekor: 1 } },
  'a message with Rekor v1 and a time stamp': { options: { rekor: 1, timeStamp: true } },
  'an envelope with Rekor v1': { options: { rekor: 1, inToto: true } },
  'a message with Rekor v2': { options: { rekor: 2 } },
  'an envelope with Rekor v2': { options: { rekor: 2, inToto: true } },
  'an envelope with an early Rekor v2': { options: { rekor: 2, inToto: true, envelopeEntry: true } },
  'a bundle of version 0.1 without a proof': {
    options: { rekor: 1 },
    as: (bundle) => withoutProof(asVersion('0.1', bundle)),
  },
  'a bundle of version 0.2': {
    options: { rekor: 1, inToto: true },
    as: (bundle) => asVersion('0.2', bundle),
  },
};
const names = Object.keys(kinds);

/**
 * A time without a fraction of a second, which sigstore-js would refuse in most time stamps: see the last
 * test. It is later than the start of the services' certificates.
 */
const secondsFromNow = (seconds: number): Date => new Date((Math.floor(Date.now() / 1000) + seconds) * 1000);

let services: MockSigstore;
let root: Json;
const bundles: Record<string, Json> = {};
const others: Record<string, Json> = {};

before(async () => {
  services = await startMockSigstore(secondsFromNow(5));
  root = services.trustedRoot();
  for (const [name, { options, as = (bundle: Json) => bundle }] of Object.entries(kinds)) {
    const sign = async (of: Buffer): Promise<Json> =>
      as(await services.sign(options.inToto === true ? statementAbout(of) : of, options));
    bundles[name] = await sign(artifact);
    others[name] = await sign(Buffer.from('other'));
  }
});
after(() => services.close());

/** The trusted root of each service, which would export it again at each call. */
const rootBytes = new WeakMap<MockSigstore, Buffer>();
function rootOf(of: MockSigstore): Buffer {
  const bytes = rootBytes.get(of) ?? Buffer.from(JSON.stringify(of.trustedRoot()));
  rootBytes.set(of, bytes);
  return bytes;
}

async function ourOpinion(
  bundle: Json,
  of: MockSigstore = services,
  subject = mockSubject,
  trustedRoot = rootOf(of),
): Promise<string | undefined> {
  const finding = await verifyArtifact({
    bundle: Buffer.from(JSON.stringify(bundle)),
    artifact: { bytes: artifact },
    signer: { identity: subject, issuer: mockIssuer },
    trustedRoot,
    now: new Date(),
  });
  return finding.verified ? undefined : finding.why;
}

const exactly = (text: string): RegExp => new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')}$`);
const expected = { subjectAlternativeName: exactly(mockSubject), extensions: { issuer: mockIssuer } };

const used = new Set<Intended>();
/** The kinds of bundles that were judged with all their changes. */
const judged = new Set<string>();

/** Fails for a difference that is not intended. */
function compare(where: string, place: string, ours: string | undefined, theirs: string | undefined): void {
  if ((ours === undefined) === (theirs === undefined)) return;
  const accepts = ours === undefined ? 'portcullis' : 'sigstore-js';
  const refusal = ours ?? theirs ?? '';
  const row = intendedDifferences.find(
    (one) => one.accepts === accepts && one.place.test(place) && one.refusal.test(refusal),
  );
  assert.ok(row !== undefined, `${where}: only ${accepts} accepts it; the other one says: ${refusal}`);
  used.add(row);
}

const checkpoint = `${entry}.inclusionProof.checkpoint.envelope`;

/** Changes that the value alone does not suggest. */
const chosen: readonly (readonly [place: string, what: string, change: (text: string) => string])[] = [
  ['mediaType', 'a later version', (text) => text.replace(/0\.\d/, '0.4')],
  [checkpoint, 'a line that is not a signature', (text) => `${text}no signature\n`],
  [checkpoint, 'the signatures twice', (text) => `${text}${text.slice(text.lastIndexOf('\n\n') + 2)}`],
  [checkpoint, 'one more line of text', (text) => text.replace('\n\n', '\nx\n\n')],
];

function* allChangesOf(name: string): Generator<Change> {
  const bundle = bundles[name] as Json;
  for (const [place, what, change] of chosen) {
    const text = valueIn(bundle, place);
    if (typeof text === 'string') yield changeAt(bundle, place, what, change(text));
  }
  const next = bundles[names[(names.indexOf(name) + 1) % names.length] as string] as Json;
  const { numRuns } = fuzzing(0, 3);
  const exchanges = { 'the next kind': next, 'another signature': others[name] as Json };
  let strange = 0;
  for (const change of changesOf(bundle, exchanges, numRuns)) {
    if (!change.what.startsWith('is ')) yield change;
    // In turn, one of three strange values at a place; with FUZZ_TIMES all of them.
    else if (strange++ % 3 === 0 || numRuns > 3) yield change;
  }
}

for (const name of names)
  test(`agrees with sigstore-js about ${name} and its changes`, async () => {
    const judge = judgeWithRoot(root);
    const bundle = bundles[name] as Json;
    assert.deepEqual([await ourOpinion(bundle), judge(bundle, artifact, expected)], [undefined, undefined]);
    let accepted = 0;
    let refused = 0;
    for (const { place, what, bundle: changed } of allChangesOf(name)) {
      const ours = await ourOpinion(changed);
      compare(`${name}: ${place}: ${what}`, place, ours, judge(changed, artifact, expected));
      if (ours === undefined) accepted += 1;
      else refused += 1;
    }
    judged.add(name);
    // Changes of what no one signs or reads, such as a keyid.
    assert.ok(accepted > 3 && refused > 200, `${accepted} changes were accepted, ${refused} were refused`);
  });

test('each intended difference occurs', (t) => {
  if (judged.size < names.length) return t.skip('only some of the tests ran');
  const unused = intendedDifferences.filter((row) => !used.has(row)).map(({ name }) => name);
  assert.deepEqual(unused, [], 'remove rows that no change needs');
});

test('agrees with sigstore-js about logs that are listed again for another period', async () => {
  interface Listed {
    readonly publicKey: object;
  }
  const for2020 = { start: '2020-01-01T00:00:00Z', end: '2020-12-31T00:00:00Z' };
  const during = (validFor: object) => (log: Listed) => ({
    ...log,
    publicKey: { ...log.publicKey, validFor },
  });
  const lists = ['tlogs', 'ctlogs'].map((list) => [list, root[list] as readonly Listed[]] as const);
  const again = lists.map(([list, logs]) => [list, [...logs.map(during(for2020)), ...logs]] as const);
  const changed: Json = { ...root, ...Object.fromEntries(again) };
  const judge = judgeWithRoot(changed);
  const bytes = Buffer.from(JSON.stringify(changed));
  for (const name of names) {
    const bundle = bundles[name] as Json;
    assert.equal(judge(bundle, artifact, expected), undefined, name);
    assert.equal(await ourOpinion(bundle, services, mockSubject, bytes), undefined, name);
  }
});

test('only sigstore-js takes the name of an identity for a pattern that may match anywhere', async () => {
  const bundle = bundles[names[0] as string] as Json;
  const judge = judgeWithRoot(root);
  for (const subject of [mockSubject.slice(8, -1), 'team.app', '.']) {
    assert.equal(
      judge(bundle, artifact, { ...expected, subjectAlternativeName: subject }),
      undefined,
      subject,
    );
    assert.match(String(await ourOpinion(bundle, services, subject)), /not by/, subject);
  }
});

test('only sigstore-js accepts a statement about something else than the artifact', async () => {
  const bundle = others['an envelope with Rekor v1'] as Json;
  assert.equal(judgeWithRoot(root)(bundle, artifact, expected), undefined);
  assert.match(String(await ourOpinion(bundle)), /statement is about something else/);
});

test('only Portcullis accepts a time stamp whose fraction of a second has fewer than three digits', async (t) => {
  const half = await startMockSigstore(secondsFromNow(5.5));
  t.after(() => half.close());
  const bundle = await half.sign(artifact, { rekor: 2 });
  assert.equal(await ourOpinion(bundle, half), undefined);
  // X.690 section 11.7.3: a fraction has no trailing zeros.
  assert.equal(judgeWithRoot(half.trustedRoot())(bundle, artifact, expected), 'invalid time');
});
