import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { mockIssuer, mockSubject, startMockSigstore } from './fixtures/mock-sigstore.ts';
import type { MockSigstore, SignOptions } from './fixtures/mock-sigstore.ts';
import { verifyArtifact } from './verify-artifact.ts';
import type { Artifact, ArtifactFinding } from './verify-artifact.ts';
import { processorMs } from '../../test/fixtures/cost.ts';

type Json = Record<string, unknown>;

const artifact = Buffer.from('what is signed');
const sha256 = createHash('sha256').update(artifact).digest('hex');
const statement = Buffer.from(
  JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: 'artifact', digest: { sha256 } }],
    predicateType: 'https://example.com/p',
    predicate: {},
  }),
);

let services: MockSigstore;
let root: Json;
before(async () => {
  services = await startMockSigstore();
  root = services.trustedRoot();
});
after(() => services.close());

const made = new Map<string, Promise<Json>>();
/** Returns a valid bundle; signed once for each set of options. */
async function bundleOf(options: SignOptions): Promise<Json> {
  const key = JSON.stringify(options);
  const bundle = made.get(key) ?? services.sign(options.inToto === true ? statement : artifact, options);
  made.set(key, bundle);
  return structuredClone(await bundle);
}

interface Given {
  readonly artifact?: Artifact;
  readonly identity?: string;
  readonly issuer?: string;
  readonly root?: Json;
  readonly now?: Date;
}

const verify = (bundle: Json | Buffer, given: Given = {}): Promise<ArtifactFinding> =>
  verifyArtifact({
    bundle: Buffer.isBuffer(bundle) ? bundle : Buffer.from(JSON.stringify(bundle)),
    artifact: given.artifact ?? { bytes: artifact },
    signer: { identity: given.identity ?? mockSubject, issuer: given.issuer ?? mockIssuer },
    trustedRoot: Buffer.from(JSON.stringify(given.root ?? root)),
    now: given.now ?? new Date(),
  });

/** Returns the value at a path like `a.0.b`, and a function to replace it. */
function place(json: Json, path: string): { readonly value: unknown; set(value: unknown): void } {
  const names = path.split('.');
  const last = names.pop() as string;
  const holder = names.reduce<unknown>((at, name) => (at as Json)[name], json) as Json;
  return {
    value: holder[last],
    set: (value) => {
      if (value === undefined) Reflect.deleteProperty(holder, last);
      else holder[last] = value;
    },
  };
}

const entry = 'verificationMaterial.tlogEntries.0';
const stamp = 'verificationMaterial.timestampVerificationData.rfc3161Timestamps.0.signedTimestamp';

const kinds: readonly (readonly [string, SignOptions])[] = [
  ['a message with Rekor v1', { rekor: 1 }],
  ['a message with Rekor v1 and a time stamp', { rekor: 1, timeStamp: true }],
  ['an envelope with Rekor v1', { rekor: 1, inToto: true }],
  ['a message with Rekor v2', { rekor: 2 }],
  ['an envelope with Rekor v2', { rekor: 2, inToto: true }],
  ['an envelope with an early Rekor v2', { rekor: 2, inToto: true, envelopeEntry: true }],
];

for (const [name, options] of kinds) {
  test(`${name}: by file and by digest`, async () => {
    const bundle = await bundleOf(options);
    for (const given of [{ bytes: artifact }, { sha256 }]) {
      const finding = await verify(bundle, { artifact: given });
      assert.deepEqual(finding.verified || finding, true);
      assert.ok(finding.verified && finding.identity?.issuer === mockIssuer);
    }
  });

  test(`${name}: does not verify for another file, identity or issuer`, async () => {
    const bundle = await bundleOf(options);
    const other = createHash('sha256').update('other').digest('hex');
    for (const given of [
      { artifact: { bytes: Buffer.from('other') } },
      { artifact: { sha256: other } },
      { identity: `${mockSubject}0` },
      { identity: mockSubject.slice(0, -1) },
      { identity: mockSubject.replaceAll('.', 'x') },
      { issuer: `${mockIssuer}/` },
    ])
      assert.equal((await verify(bundle, given)).verified, false, JSON.stringify(given));
  });

  test(`${name}: no bit of any value can be changed`, async () => {
    const bundle = await bundleOf(options);
    const values = textsIn(bundle).filter(
      ({ text }) => Buffer.from(text, 'base64').toString('base64') === text && text.length > 8,
    );
    assert.ok(values.length >= 4);
    await fc.assert(
      fc.asyncProperty(fc.nat(values.length - 1), fc.nat(), async (which, at) => {
        const { path, text } = values[which] as { path: string; text: string };
        const changed = structuredClone(bundle);
        const bytes = Buffer.from(text, 'base64');
        const bit = at % (bytes.length * 8);
        bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
        place(changed, path).set(bytes.toString('base64'));
        assert.equal((await verify(changed)).verified, false, `${path}, bit ${bit}`);
      }),
      fuzzing(5, 120),
    );
  });

  test(`${name}: no changed byte makes the file count for other content`, async () => {
    const text = Buffer.from(JSON.stringify(await bundleOf(options)));
    await fc.assert(
      fc.asyncProperty(fc.nat(text.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
        const changed = Buffer.from(text);
        changed[at] = (changed[at] as number) ^ mask;
        const finding = await verify(changed);
        if (!finding.verified) return;
        // A copy of the checkpoint's root that is no longer a hash is ignored: the checkpoint's own root
        // counts.
        const [start = -1, end = -1] =
          /"rootHash":"[^"]*"/d.exec(text.toString('latin1'))?.indices?.[0] ?? [];
        if (at >= start && at < end) return;
        // The keyid of an envelope, and the index that Rekor v2 writes beside its proof, are neither signed
        // nor read.
        assert.match(text.subarray(Math.max(0, at - 12), at + 2).toString('latin1'), /keyid|"logIndex":"/);
      }),
      fuzzing(6, 300),
    );
  });
}

function textsIn(value: unknown, path = ''): { readonly path: string; readonly text: string }[] {
  if (typeof value === 'string') return [{ path: path.slice(1), text: value }];
  if (value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([name, part]) => textsIn(part, `${path}.${name}`));
}

const day = 86_400_000;

/** Changes of the bundle or of the root that must not verify, each with the resulting code. */
const table: readonly (readonly [
  name: string,
  options: SignOptions,
  change: (bundle: Json, root: Json) => void,
  code: string,
  says: RegExp,
])[] = [
  [
    'no log entry',
    { rekor: 1 },
    (b) => place(b, 'verificationMaterial.tlogEntries').set([]),
    'TRUST_SIGSTORE_LOG',
    /no proof of a transparency log/,
  ],
  [
    'no promise and no time stamp',
    { rekor: 1 },
    (b) => place(b, `${entry}.inclusionPromise`).set(undefined),
    'TRUST_SIGSTORE_TIME',
    /nothing proves when/,
  ],
  [
    'a promise without its signature, beside a time stamp',
    { rekor: 1, timeStamp: true },
    (b) => place(b, `${entry}.inclusionPromise`).set({}),
    'TRUST_SIGNATURE_MALFORMED',
    /signedEntryTimestamp is missing/,
  ],
  [
    'no inclusion proof',
    { rekor: 1 },
    (b) => place(b, `${entry}.inclusionProof`).set(undefined),
    'TRUST_SIGSTORE_LOG',
    /no inclusion proof/,
  ],
  [
    'no inclusion proof with Rekor v2',
    { rekor: 2 },
    (b) => place(b, `${entry}.inclusionProof`).set(undefined),
    'TRUST_SIGSTORE_LOG',
    /neither/,
  ],
  [
    'no time stamp with Rekor v2',
    { rekor: 2 },
    (b) => place(b, 'verificationMaterial.timestampVerificationData').set(undefined),
    'TRUST_SIGSTORE_TIME',
    /nothing proves when/,
  ],
  [
    'a time that nobody signed',
    { rekor: 2 },
    (b) => {
      place(b, 'verificationMaterial.timestampVerificationData').set(undefined);
      place(b, `${entry}.integratedTime`).set(String(Math.floor(Date.now() / 1000)));
    },
    'TRUST_SIGSTORE_TIME',
    /nothing proves when/,
  ],
  [
    'another time in the entry',
    { rekor: 1 },
    (b) => place(b, `${entry}.integratedTime`).set('1'),
    'TRUST_SIGSTORE_LOG',
    /promise \(SET\)/,
  ],
  // Must be refused even when a log signs it: every attempt to print such a time would fail.
  [
    'an invalid time',
    { rekor: 1 },
    (b) => place(b, `${entry}.integratedTime`).set('8640000000001'),
    'TRUST_SIGNATURE_MALFORMED',
    /integratedTime is not a time/,
  ],
  [
    'another index in the entry',
    { rekor: 1 },
    (b) => place(b, `${entry}.logIndex`).set('1'),
    'TRUST_SIGSTORE_LOG',
    /promise \(SET\)/,
  ],
  [
    'a negative index',
    { rekor: 1 },
    (b) => place(b, `${entry}.logIndex`).set('-1'),
    'TRUST_SIGNATURE_MALFORMED',
    /logIndex is not a count/,
  ],
  [
    'another kind',
    { rekor: 1 },
    (b) => place(b, `${entry}.kindVersion.kind`).set('dsse'),
    'TRUST_SIGSTORE_LOG',
    /another kind/,
  ],
  [
    'another place in the tree',
    { rekor: 2 },
    (b) => place(b, `${entry}.inclusionProof.logIndex`).set('0'),
    'TRUST_SIGSTORE_LOG',
    /does not lead to the root/,
  ],
  [
    'another size of the tree',
    { rekor: 2 },
    (b) => place(b, `${entry}.inclusionProof.treeSize`).set('7'),
    'TRUST_SIGSTORE_LOG',
    /of different trees/,
  ],
  [
    'a checkpoint without the log',
    { rekor: 2 },
    (b) => {
      const at = place(b, `${entry}.inclusionProof.checkpoint.envelope`);
      at.set(String(at.value).replace(/\u2014 \S+ /, '\u2014 witness.example '));
    },
    'TRUST_SIGSTORE_LOG',
    /has not signed the checkpoint/,
  ],
  [
    'an unknown version',
    { rekor: 1 },
    (b) => place(b, 'mediaType').set('application/vnd.dev.sigstore.bundle.v0.4+json'),
    'TRUST_SIGNATURE_MALFORMED',
    /version/,
  ],
  [
    'an unknown field',
    { rekor: 1 },
    (b) => place(b, 'verificationMaterial.tlogEntrys').set([]),
    'TRUST_SIGNATURE_MALFORMED',
    /unknown field "tlogEntrys"/,
  ],
  [
    'the root certificate in the bundle',
    { rekor: 1 },
    (b, r) => {
      const { value } = place(b, 'verificationMaterial.certificate');
      const root0 = place(r, 'certificateAuthorities.0.certChain.certificates.0').value;
      place(b, 'verificationMaterial.certificate').set(undefined);
      place(b, 'verificationMaterial.x509CertificateChain').set({ certificates: [value, root0] });
      place(b, 'mediaType').set('application/vnd.dev.sigstore.bundle+json;version=0.2');
    },
    'TRUST_SIGNATURE_MALFORMED',
    /root certificate/,
  ],
  [
    'another digest beside the signature',
    { rekor: 1 },
    (b) => place(b, 'messageSignature.messageDigest.digest').set(Buffer.alloc(32).toString('base64')),
    'TRUST_SIGNATURE_OTHER_DIGEST',
    /another digest/,
  ],
  [
    'a log that is not trusted',
    { rekor: 1 },
    (_, r) => (r['tlogs'] as unknown[]).shift(),
    'TRUST_SIGSTORE_LOG',
    /not in the trusted root/,
  ],
  [
    'a log that was not trusted then',
    { rekor: 1 },
    (_, r) => endAll(r['tlogs']),
    'TRUST_SIGSTORE_LOG',
    /was not trusted when it was signed/,
  ],
  [
    'a log of Rekor v2 that was not trusted then',
    { rekor: 2 },
    (_, r) => endAll(r['tlogs']),
    'TRUST_SIGSTORE_LOG',
    /was not trusted when it was signed/,
  ],
  [
    'a certificate log that is not trusted',
    { rekor: 1 },
    (_, r) => (r['ctlogs'] as unknown[]).pop(),
    'TRUST_SIGSTORE_CERTIFICATE_LOG',
    /certificate log/,
  ],
  [
    'a certificate log that was not trusted then',
    { rekor: 1 },
    (_, r) => endAll(r['ctlogs']),
    'TRUST_SIGSTORE_CERTIFICATE_LOG',
    /was not trusted at that time/,
  ],
  [
    'an authority that was not trusted then',
    { rekor: 1 },
    (_, r) => endAll(r['certificateAuthorities']),
    'TRUST_SIGSTORE_CERTIFICATE',
    /was not trusted when it was made/,
  ],
  [
    'no authority',
    { rekor: 1 },
    (_, r) => (r['certificateAuthorities'] as unknown[]).pop(),
    'TRUST_SIGSTORE_CERTIFICATE',
    /no authority/,
  ],
  [
    'a time stamp authority that was not trusted then',
    { rekor: 2 },
    (_, r) => endAll(r['timestampAuthorities']),
    'TRUST_SIGSTORE_TIME',
    /was not trusted at/,
  ],
  [
    'another time stamp authority',
    { rekor: 2 },
    (_, r) =>
      place(r, 'timestampAuthorities.0.certChain.certificates').set(
        place(r, 'certificateAuthorities.0.certChain.certificates').value,
      ),
    'TRUST_SIGSTORE_TIME',
    /no authority of the trusted root made it/,
  ],
  [
    'an invalid time stamp',
    { rekor: 2 },
    (b) => place(b, stamp).set('MAA='),
    'TRUST_SIGSTORE_TIME',
    /has 0 members, not 2 at byte/,
  ],
];

/** Ends the validity of every member a day before anything was signed. */
function endAll(members: unknown): void {
  for (const member of members as Json[]) {
    const holder = (member['publicKey'] ?? member) as Json;
    holder['validFor'] = {
      start: new Date(Date.now() - 2 * day).toISOString(),
      end: new Date(Date.now() - day).toISOString(),
    };
  }
}

for (const [name, options, change, code, says] of table) {
  test(`does not verify: ${name}`, async () => {
    const bundle = await bundleOf(options);
    const changedRoot = structuredClone(root);
    change(bundle, changedRoot);
    const finding = await verify(bundle, { root: changedRoot });
    assert.ok(!finding.verified);
    assert.match(finding.why, says);
    assert.equal(finding.code, code);
  });
}

test('parts of two valid bundles do not make a valid one', async () => {
  const [ours, other] = [
    await bundleOf({ rekor: 1 }),
    await services.sign(Buffer.from('other'), { rekor: 1 }),
  ];
  for (const path of [entry, 'verificationMaterial.certificate', 'messageSignature.signature']) {
    const mixed = structuredClone(ours);
    place(mixed, path).set(place(other, path).value);
    assert.equal((await verify(mixed)).verified, false, path);
  }
});

test('a time in the future does not count', async () => {
  const finding = await verify(await bundleOf({ rekor: 1 }), { now: new Date(Date.now() - day) });
  assert.ok(!finding.verified && finding.why.includes('in the future'));
});

test('versions 0.1 and 0.2 verify, and in 0.1 the promise alone is sufficient', async () => {
  const bundle = await bundleOf({ rekor: 1 });
  for (const version of ['0.1', '0.2', '0.3']) {
    place(bundle, 'mediaType').set(`application/vnd.dev.sigstore.bundle+json;version=${version}`);
    assert.equal((await verify(bundle)).verified, true, version);
  }
  place(bundle, `${entry}.inclusionProof`).set(undefined);
  for (const [version, verified] of [
    ['0.1', true],
    ['0.2', false],
  ]) {
    place(bundle, 'mediaType').set(`application/vnd.dev.sigstore.bundle+json;version=${String(version)}`);
    assert.equal((await verify(bundle)).verified, verified);
  }
});

test('a key in place of the certificate is not an identity, and a key verifies only its own signatures', async () => {
  const bundle = await bundleOf({ rekor: 1 });
  place(bundle, 'verificationMaterial.certificate').set(undefined);
  place(bundle, 'verificationMaterial.publicKey').set({ hint: 'x' });
  const finding = await verify(bundle);
  assert.ok(!finding.verified && finding.code === 'TRUST_SIGSTORE_CERTIFICATE');
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    .publicKey.export({ type: 'spki', format: 'pem' })
    .toString();
  const byKey = await verifyArtifact({
    bundle: Buffer.from(JSON.stringify(bundle)),
    artifact: { bytes: artifact },
    signer: { key },
    trustedRoot: Buffer.from(JSON.stringify(root)),
    now: new Date(),
  });
  assert.ok(!byKey.verified && byKey.code === 'TRUST_SIGNATURE_WRONG');
});

test('random bytes and JSON never verify, and never take long', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.uint8Array({ maxLength: 4096 }),
        fc.json().map((text) => Buffer.from(text)),
      ),
      async (bytes) => {
        const began = processorMs();
        assert.equal((await verify(Buffer.from(bytes))).verified, false);
        assert.equal(
          (
            await verifyArtifact({
              bundle: Buffer.from('{}'),
              artifact: { sha256 },
              signer: { key: '' },
              trustedRoot: bytes,
              now: new Date(),
            })
          ).verified,
          false,
        );
        assert.ok(processorMs() - began < 1000);
      },
    ),
    fuzzing(7, 200),
  );
});
