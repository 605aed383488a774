import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { amd64 } from '../evidence/fixtures/fixture-image.ts';
import { digest, dossierOf, item, otherDigest, reference } from '../evidence/fixtures/sample-evidence.ts';
import { loadPolicy } from '../policy/load.ts';
import { imageStatement } from '../signing/dsse-bundle.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { decide } from '../verdict/decide.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { mockIssuer, mockSubject, signBySigstoreJs, startMockSigstore } from './fixtures/mock-sigstore.ts';
import type { MockSigstore, SignOptions } from './fixtures/mock-sigstore.ts';

/**
 * Attacks by a signer to whom Fulcio does issue certificates, but for another identity, and who can combine
 * what other users have signed.
 */
let services: MockSigstore;
let folder: string;
before(async () => {
  services = await startMockSigstore();
  folder = await mkdtemp(join(tmpdir(), 'sigstore-hostile-'));
  await writeFile(join(folder, 'root.json'), JSON.stringify(services.trustedRoot()));
});
after(async () => {
  await services.close();
  await rm(folder, { recursive: true });
});

async function policyOf(subject: string, issuer = mockIssuer): Promise<TrustPolicy> {
  const file = join(folder, 'policy.yaml');
  const require = JSON.stringify({ sigstore: { issuer, subject, root: 'root.json' } });
  await writeFile(
    file,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require: ${require}\n`,
  );
  return (await loadPolicy({ paths: [file] })).policy;
}

function verdictOf(policy: TrustPolicy, items: readonly EvidenceItem[]): Verdict {
  return decide({
    dossier: dossierOf(items),
    reference,
    namespace: '',
    platform: amd64,
    policy,
    now: new Date(),
  });
}

type Bundle = ReturnType<typeof structuredClone<Record<string, unknown>>> & {
  verificationMaterial: {
    tlogEntries: Record<string, unknown>[];
    timestampVerificationData?: unknown;
    certificate: unknown;
  };
  dsseEnvelope: { payload: string; payloadType: string; signatures: unknown[] };
};
const signed = async (
  options: Partial<SignOptions> = {},
  text: Uint8Array = imageStatement(digest),
): Promise<Bundle> => (await services.sign(text, { rekor: 1, inToto: true, ...options })) as Bundle;
const itemOf = (bundle: unknown): EvidenceItem =>
  item('sigstore-bundle', Buffer.from(typeof bundle === 'string' ? bundle : JSON.stringify(bundle)));

const patterns = [
  mockSubject,
  'https://example.com/team/app/.github/workflows/release.yml@refs/tags/*',
  'https://example.com/team/*/.github/workflows/release.yml@refs/tags/v1',
  'https://example.com/team/**',
];
const impostors: readonly (readonly [what: string, subject: string])[] = [
  ['a line feed at the end', `${mockSubject}\n`],
  ['a line feed in front', `\n${mockSubject}`],
  ['a zero byte and more', `${mockSubject}\0.evil.example`],
  ['another case', mockSubject.replace('/team/', '/Team/')],
  ['a Cyrillic letter', mockSubject.replace('team', 'te\u0430m')],
  ['a zero-width space', mockSubject.replace('team', 'te\u200bam')],
  ['a letter and its accent apart', mockSubject.replace('team', 'te\u0301am')],
  ['a character for the dot of an expression', mockSubject.replace('example.com', 'exampleXcom')],
  ['a longer host', mockSubject.replace('example.com', 'example.com.evil.example')],
  ['a user before the host', mockSubject.replace('https://', 'https://evil.example@')],
  ['the whole name after another', `https://evil.example/${mockSubject}`],
  ['the whole name in a query', `https://evil.example/?${mockSubject}`],
  ['an upward path', mockSubject.replace('https://example.com/team', 'https://example.com/other/../team')],
  ['plain http', mockSubject.replace('https', 'http')],
  ['a space at the end', `${mockSubject.replace('/team/', '/tean/')} `],
  ['an escaped slash', mockSubject.replace('/team/', '/team%2f')],
];

test('no identity that resembles the one in a policy is accepted for it', async () => {
  const policies = await Promise.all([policyOf(mockSubject)]);
  for (const pattern of patterns.slice(1)) policies.push(await policyOf(pattern));
  // Our own signer refuses certificates that no verifier reads, and an attacker uses another one.
  const foreign = await signed({ foreign: true });
  assert.equal(verdictOf(policies[0], [itemOf(foreign)]).outcome, 'admit', 'the man himself');
  for (const [what, subject] of impostors) {
    const bundle = itemOf(await signed({ subject, foreign: true }));
    for (const policy of policies) {
      const verdict = verdictOf(policy, [bundle]);
      assert.equal(verdict.outcome, 'deny', `${what}: ${explainVerdict(verdict)}`);
    }
  }
});

test('only the exact issuer is accepted', async () => {
  const policy = await policyOf(mockSubject);
  for (const issuer of [
    `${mockIssuer}/`,
    `${mockIssuer}.evil.example`,
    mockIssuer.toUpperCase(),
    `${mockIssuer}\n`,
    `${mockIssuer}\0x`,
  ]) {
    const verdict = verdictOf(policy, [itemOf(await signed({ issuer }))]);
    assert.equal(verdict.outcome, 'deny', `${JSON.stringify(issuer)}: ${explainVerdict(verdict)}`);
  }
});

const put = (change: (bundle: Bundle, other: Bundle) => unknown) => async (): Promise<EvidenceItem> => {
  const [bundle, other] = await Promise.all([signed(), signed({}, imageStatement(otherDigest))]);
  const result = change(bundle, other);
  return itemOf(typeof result === 'string' ? result : bundle);
};
const base64 = (value: string | Uint8Array): string => Buffer.from(value).toString('base64');
const ofOther = imageStatement(otherDigest);

const tricks: readonly (readonly [what: string, make: () => Promise<EvidenceItem>])[] = [
  ['a signature of another digest', async () => itemOf(await signed({}, ofOther))],
  [
    'a good signature with its payload replaced',
    put((bundle) => (bundle.dsseEnvelope.payload = base64(ofOther))),
  ],
  [
    'another signature with our payload',
    put((bundle, other) => {
      other.dsseEnvelope.payload = bundle.dsseEnvelope.payload;
      return JSON.stringify(other);
    }),
  ],
  [
    'two signatures',
    put((bundle, other) => bundle.dsseEnvelope.signatures.push(other.dsseEnvelope.signatures[0])),
  ],
  ['no signature', put((bundle) => (bundle.dsseEnvelope.signatures = []))],
  ['another payload type', put((bundle) => (bundle.dsseEnvelope.payloadType = 'text/plain'))],
  [
    'two payloads',
    put((bundle) =>
      JSON.stringify(bundle).replace(
        '"payload":',
        `"payload":"${base64(imageStatement(digest))}","payload":`,
      ),
    ),
  ],
  [
    'two payloads, one escaped',
    put((bundle) =>
      JSON.stringify(bundle).replace('"payload":', `"p\\u0061yload":"${base64(ofOther)}","payload":`),
    ),
  ],
  [
    'the log entry of another signature',
    put(
      (bundle, other) => (bundle.verificationMaterial.tlogEntries = other.verificationMaterial.tlogEntries),
    ),
  ],
  [
    'the certificate of another signature',
    put(
      (bundle, other) => (bundle.verificationMaterial.certificate = other.verificationMaterial.certificate),
    ),
  ],
  [
    'both log entries',
    put((bundle, other) =>
      bundle.verificationMaterial.tlogEntries.push(...other.verificationMaterial.tlogEntries),
    ),
  ],
  [
    'the promise of another signature',
    put((bundle, other) => {
      const [entry, theirs] = [
        bundle.verificationMaterial.tlogEntries[0],
        other.verificationMaterial.tlogEntries[0],
      ];
      Object.assign(entry ?? {}, { inclusionPromise: theirs?.['inclusionPromise'] });
    }),
  ],
  [
    'the proof of another signature',
    put((bundle, other) => {
      const [entry, theirs] = [
        bundle.verificationMaterial.tlogEntries[0],
        other.verificationMaterial.tlogEntries[0],
      ];
      Object.assign(entry ?? {}, { inclusionProof: theirs?.['inclusionProof'] });
    }),
  ],
  [
    'the body of another log entry under our proof',
    put((bundle, other) => {
      const [entry, theirs] = [
        bundle.verificationMaterial.tlogEntries[0],
        other.verificationMaterial.tlogEntries[0],
      ];
      Object.assign(entry ?? {}, { canonicalizedBody: theirs?.['canonicalizedBody'] });
    }),
  ],
  [
    'no proof',
    put((bundle) =>
      Reflect.deleteProperty(bundle.verificationMaterial.tlogEntries[0] ?? {}, 'inclusionProof'),
    ),
  ],
  [
    'the name of another log',
    put((bundle) =>
      Object.assign(bundle.verificationMaterial.tlogEntries[0] ?? {}, {
        logId: { keyId: base64(Buffer.alloc(32)) },
      }),
    ),
  ],
  [
    'the time stamp of another signature',
    async () => {
      const [bundle, other] = await Promise.all([signed({ rekor: 2 }), signed({ rekor: 2 }, ofOther)]);
      bundle.verificationMaterial.timestampVerificationData =
        other.verificationMaterial.timestampVerificationData;
      return itemOf(bundle);
    },
  ],
  [
    'the statement of an attestation',
    async () =>
      itemOf(
        await signed(
          {},
          Buffer.from(
            imageStatement(digest)
              .toString()
              .replace('https://sigstore.dev/cosign/sign/v1', 'https://slsa.dev/provenance/v1'),
          ),
        ),
      ),
  ],
  [
    'a digest by another algorithm',
    async () =>
      itemOf(
        await signed({}, Buffer.from(imageStatement(digest).toString().replace('"sha256"', '"sha512"'))),
      ),
  ],
  [
    'a digest in capitals',
    async () => itemOf(await signed({}, imageStatement(digest.toUpperCase().replace('SHA256', 'sha256')))),
  ],
  [
    'an older statement',
    async () =>
      itemOf(await signed({}, Buffer.from(imageStatement(digest).toString().replace('/v1"', '/v0.1"')))),
  ],
  [
    'the subject twice',
    async () =>
      itemOf(
        await signed(
          {},
          Buffer.from(
            imageStatement(otherDigest)
              .toString()
              .replace('"subject"', `"subject":[{"digest":{"sha256":"${digest.slice(7)}"}}],"subject"`),
          ),
        ),
      ),
  ],
];

for (const [what, make] of tricks) {
  test(`${what} is not a signature`, async () => {
    const verdict = verdictOf(await policyOf(mockSubject), [await make()]);
    assert.equal(verdict.outcome, 'deny', explainVerdict(verdict));
  });
}

test('one log named twice does not count as two logs (CVE-2026-49834)', async () => {
  const file = join(folder, 'two-logs.yaml');
  const demand = async (log: number): Promise<TrustPolicy> => {
    const require = JSON.stringify({
      sigstore: { issuer: mockIssuer, subject: mockSubject, root: 'root.json', log },
    });
    await writeFile(
      file,
      `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require: ${require}\n`,
    );
    return (await loadPolicy({ paths: [file] })).policy;
  };
  const bundle = await signed();
  assert.equal(verdictOf(await demand(1), [itemOf(bundle)]).outcome, 'admit');
  const again = await signed();
  const entries = bundle.verificationMaterial.tlogEntries;
  const [entry = {}] = entries;
  for (const more of [
    [entry],
    [entry, entry],
    [structuredClone(entry)],
    again.verificationMaterial.tlogEntries,
  ]) {
    const twice = structuredClone(bundle);
    twice.verificationMaterial.tlogEntries = [...entries, ...more];
    const verdict = verdictOf(await demand(2), [itemOf(twice)]);
    assert.equal(verdict.outcome, 'deny', explainVerdict(verdict));
  }
  // Two signatures, each in the same log, do not count as two logs either.
  assert.equal(verdictOf(await demand(2), [itemOf(bundle), itemOf(again)]).outcome, 'deny');
});

test('a signature with a certificate that has expired, or is not yet valid, does not count', async () => {
  for (const hours of [-3, 3]) {
    // The certificate authority's clock differs from the log's: certificates of ten minutes, hours away from
    // the log's time.
    const other = await startMockSigstore(new Date(Date.now() + hours * 3_600_000));
    try {
      const [root, theirs] = [services.trustedRoot(), other.trustedRoot()] as Record<string, object[]>[];
      const merged = {
        ...root,
        certificateAuthorities: theirs?.['certificateAuthorities'],
        ctlogs: theirs?.['ctlogs'],
      };
      await writeFile(join(folder, 'merged.json'), JSON.stringify(merged));
      const config = {
        ...services.signingConfig({ rekor: 1 }),
        caUrls: (other.signingConfig({ rekor: 1 }) as { caUrls: object }).caUrls,
      };
      const token = services.token({ rekor: 1 });
      const bundle = await signBySigstoreJs(imageStatement(digest), config, token);
      const file = join(folder, 'merged.yaml');
      const require = JSON.stringify({
        sigstore: { issuer: mockIssuer, subject: mockSubject, root: 'merged.json' },
      });
      await writeFile(
        file,
        `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require: ${require}\n`,
      );
      const verdict = verdictOf((await loadPolicy({ paths: [file] })).policy, [
        itemOf(JSON.stringify(bundle)),
      ]);
      assert.equal(verdict.outcome, 'deny', explainVerdict(verdict));
      assert.match(JSON.stringify(verdict.reasons), /TRUST_SIGSTORE_CERTIFICATE"/);
    } finally {
      await other.close();
    }
  }
});
