import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { encode, Tagged } from 'cborg';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { digestOf } from '../../base/distribution/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { sealDossier } from '../evidence/dossier.ts';
import { amd64, now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { importNotation } from '../import/notation/import.ts';
import { policyKey } from '../keys/public-key.ts';
import { keySigner } from '../signers/signer.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import { decide } from '../verdict/decide.ts';
import { readCertificate } from '../x509/certificate.ts';
import { openEnvelope } from './envelope.ts';
import { chainOf, createAuthority, rootExtensions, signerExtensions } from './fixtures/authority.ts';
import { levels } from '../requirements/notation.ts';
import { judgeCrl } from './revocation/crl.ts';
import { judgeOcsp } from './revocation/ocsp.ts';
import { makeNotationSignature } from './sign.ts';
import { readStoreFile } from './store-file.ts';
import { verifyTimestamp } from './timestamp.ts';
import { processorMs } from '../../test/fixtures/cost.ts';

const seeded = fuzzing(20_261_120, 300);
const manifest = Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}');
const digest = digestOf(manifest);
const types = { jws: 'application/jose+json', cose: 'application/cose' } as const;

/** Bytes in which some were changed, removed or inserted. */
const damaged = (original: () => Uint8Array): fc.Arbitrary<Buffer> =>
  fc
    .array(
      fc.record({
        at: fc.double({ min: 0, max: 0.999, noNaN: true }),
        remove: fc.nat(3),
        insert: fc.uint8Array({ maxLength: 4 }),
      }),
      {
        minLength: 1,
        maxLength: 4,
      },
    )
    .map((edits) =>
      edits.reduce((bytes, { at, remove, insert }) => {
        const position = Math.floor(bytes.length * at);
        return Buffer.concat([bytes.subarray(0, position), insert, bytes.subarray(position + remove)]);
      }, Buffer.from(original())),
    );

/** Runs `act`, checks its duration, and returns the thrown error. */
function within(act: () => unknown): unknown {
  const start = processorMs();
  try {
    act();
    return undefined;
  } catch (error) {
    return error;
  } finally {
    assert.ok(processorMs() - start < 1000, 'it took more than a second of processor time');
  }
}

/** Asserts a plain error with a sentence, as the readers of this folder throw them: errors become reasons. */
function sentence(error: unknown): void {
  if (error === undefined) return;
  assert.ok(error instanceof Error && error.message !== '');
  assert.ok(!(error instanceof TypeError) && !(error instanceof ReferenceError), String(error.stack));
}

describe('hostile Notary Project signatures', () => {
  const folder = mkdtempSync(join(tmpdir(), 'notation-hostile-'));
  const authority = createAuthority(folder);
  const envelopes: Record<'jws' | 'cose', Buffer> = { jws: Buffer.alloc(0), cose: Buffer.alloc(0) };
  let chain: readonly Buffer[] = [];
  let list: Buffer = Buffer.alloc(0);
  let answer: Buffer = Buffer.alloc(0);
  let policy = policyOf({});

  before(async () => {
    const year = 365 * 24 * 3600 * 1000;
    const dates = { from: new Date(now.getTime() - year), to: new Date(now.getTime() + year) };
    const root = authority.issue('root', { extensions: rootExtensions, ...dates });
    const leaf = authority.issue('leaf', { extensions: signerExtensions, by: root, ...dates });
    chain = chainOf(leaf, root);
    const key = createPrivateKey(readFileSync(leaf.key));
    const half = policyKey('leaf', createPublicKey(key));
    assert.ok('spki' in half);
    const signer = keySigner({ public: half, private: key }, { certificates: chain });
    const target = {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest,
      size: manifest.length,
      annotations: {},
    };
    for (const format of ['jws', 'cose'] as const)
      envelopes[format] = (await makeNotationSignature({ format, target, signer, now })).envelope;
    list = authority.list(root);
    const { ocspRequest } = await import('./revocation/ocsp.ts');
    answer = authority.answer(
      root,
      ocspRequest(readCertificate(chain[0] ?? list), readCertificate(chain[1] ?? list)),
    );
    const der = (chain[1] ?? list).toString('base64');
    policy = policyOf({
      require: {
        kind: 'notation',
        stores: [{ type: 'ca', name: 'ca/test', certificates: [{ file: 'root.crt', der }] }],
        identities: '*',
        level: 'strict',
        actions: levels.strict,
        verifyTimestamp: 'always',
      },
    });
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const decided = (mediaType: string, envelope: Uint8Array, more: Partial<EvidenceItem> = {}): Verdict => {
    const item: EvidenceItem = {
      kind: 'notation-signature',
      attachedTo: digest,
      foundBy: 'referrers',
      servedBy: 'registry.example.com',
      manifestDigest: digest,
      blobDigest: digestOf(envelope),
      mediaType,
      annotations: {},
      bytes: Buffer.from(envelope).toString('base64'),
      subjectBytes: manifest.toString('base64'),
      ...more,
    };
    const reference = 'registry.example.com/app:1';
    const parts = {
      reference,
      digest,
      manifestDigest: digest,
      items: [item],
      unreachable: [],
      gatheredAt: now.toISOString(),
    };
    return decide({ dossier: sealDossier(parts), reference, namespace: '', platform: amd64, policy, now });
  };

  /** The content that an admitted envelope must have kept: signed parts and chain as they were made. */
  const core = (type: string, bytes: Uint8Array): string => {
    const { chain: certificates, target, signature, signingTime, scheme } = openEnvelope(type, bytes);
    return JSON.stringify([
      certificates.map(({ thumbprint }) => thumbprint),
      target,
      signature.toString('hex'),
      signingTime,
      scheme,
    ]);
  };

  for (const format of ['jws', 'cose'] as const) {
    it(`a damaged ${format} envelope admits nothing but what was signed`, () => {
      assert.equal(decided(types[format], envelopes[format]).outcome, 'admit');
      const original = core(types[format], envelopes[format]);
      fc.assert(
        fc.property(
          damaged(() => envelopes[format]),
          (bytes) => {
            let verdict: Verdict | undefined;
            const thrown = within(() => (verdict = decided(types[format], bytes)));
            assert.equal(thrown, undefined);
            // A change of the unsigned header (the signing agent) does not invalidate the signature.
            if (verdict?.outcome === 'admit') assert.equal(core(types[format], bytes), original);
          },
        ),
        seeded,
      );
    });

    it(`every flipped bit of a ${format} envelope`, () => {
      const original = core(types[format], envelopes[format]);
      const bytes = Buffer.from(envelopes[format]);
      for (let position = 0; position < bytes.length; position += 7) {
        const bit = 1 << (position & 7);
        bytes[position] = (bytes[position] ?? 0) ^ bit;
        if (decided(types[format], bytes).outcome === 'admit')
          assert.equal(core(types[format], bytes), original, `byte ${position}`);
        bytes[position] = (bytes[position] ?? 0) ^ bit;
      }
    });

    it(`a ${format} envelope under another media type`, () => {
      for (const type of [types.jws, types.cose, 'application/json', '']) {
        if (type !== types[format]) assert.equal(decided(type, envelopes[format]).outcome, 'deny');
      }
    });
  }

  it('an item whose bytes, digest or subject were exchanged', () => {
    const bytes = envelopes.jws;
    for (const more of [
      { blobDigest: digestOf(Buffer.from('x')) },
      { bytes: 'AAAA' },
      { bytes: '!' },
      { attachedTo: `sha256:${'a'.repeat(64)}` },
      { subjectBytes: Buffer.from('{}').toString('base64') },
      { problem: 'it could not be read' },
      { blobDigest: 'md5:00' },
      { blobDigest: '' },
    ])
      assert.equal(decided(types.jws, bytes, more).outcome, 'deny', JSON.stringify(more));
  });

  it('arbitrary bytes and JSON as envelopes', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }),
        fc.constantFrom(types.jws, types.cose),
        (bytes, type) => {
          sentence(within(() => openEnvelope(type, bytes)));
          assert.equal(decided(type, bytes).outcome, 'deny');
        },
      ),
      seeded,
    );
    fc.assert(
      fc.property(fc.json(), (text) => sentence(within(() => openEnvelope(types.jws, Buffer.from(text))))),
      seeded,
    );
  });

  it('arbitrary protected headers', () => {
    const labels = fc.constantFrom(
      'alg',
      'cty',
      'crit',
      'io.cncf.notary.signingScheme',
      'io.cncf.notary.signingTime',
      'io.cncf.notary.expiry',
      'x',
    );
    const values = fc.oneof(
      fc.string(),
      fc.integer(),
      fc.constantFrom('ES256', 'notary.x509', '2026-11-20T12:00:00Z', null, true),
      fc.array(labels),
    );
    const original = JSON.parse(envelopes.jws.toString()) as Record<string, unknown>;
    fc.assert(
      fc.property(fc.dictionary(labels, values), (header) => {
        const encoded = Buffer.from(JSON.stringify(header)).toString('base64url');
        const bytes = Buffer.from(JSON.stringify({ ...original, protected: encoded }));
        sentence(within(() => openEnvelope(types.jws, bytes)));
        assert.equal(decided(types.jws, bytes).outcome, 'deny');
      }),
      seeded,
    );
  });

  it('arbitrary CBOR values in the place of each part', () => {
    const value = fc.oneof(
      fc.integer(),
      fc.string(),
      fc.uint8Array(),
      fc.constant(null),
      fc.array(fc.integer()),
      fc.constant(new Map([[1, 2]])),
    );
    fc.assert(
      fc.property(fc.array(value, { maxLength: 6 }), fc.constantFrom(18, 98, 1), (parts, tag) => {
        const bytes = encode(new Tagged(tag, parts));
        sentence(within(() => openEnvelope(types.cose, bytes)));
        assert.equal(decided(types.cose, bytes).outcome, 'deny');
      }),
      seeded,
    );
  });

  it('deep nesting, declared lengths and size are bounded', () => {
    const deep = Buffer.concat([Buffer.from([0xd2]), Buffer.alloc(500_000, 0x81), Buffer.from([0])]);
    const wide = Buffer.concat([Buffer.from([0xd2, 0x9b, 0, 0, 0, 1, 0, 0, 0, 0])]);
    const map = Buffer.concat([Buffer.from([0xd2, 0x84, 0x5a, 0x7f, 0xff, 0xff, 0xff])]);
    for (const bytes of [deep, wide, map]) {
      sentence(within(() => openEnvelope(types.cose, bytes)));
      assert.equal(decided(types.cose, bytes).outcome, 'deny');
    }
    const brackets = Buffer.from('['.repeat(500_000));
    sentence(within(() => openEnvelope(types.jws, brackets)));
    const long = JSON.parse(envelopes.jws.toString()) as { header: { x5c: string[] } };
    long.header.x5c = Array.from({ length: 300 }, () => long.header.x5c[0] ?? '');
    sentence(within(() => openEnvelope(types.jws, Buffer.from(JSON.stringify(long)))));
    const sequences = Buffer.concat(Array.from({ length: 20_000 }, () => Buffer.from([0x30, 0x80])));
    for (const read of [readCertificate, (bytes: Buffer) => verifyTimestamp(bytes, bytes, [])])
      sentence(within(() => read(sequences)));
  });

  it('damaged certificates, lists, answers and time stamps', () => {
    const [leaf, root] = chain.map((one) => readCertificate(one));
    assert.ok(leaf !== undefined && root !== undefined);
    fc.assert(
      fc.property(
        damaged(() => chain[0] ?? list),
        (bytes) => sentence(within(() => readCertificate(bytes))),
      ),
      seeded,
    );
    const good = judgeCrl(list, () => undefined, { certificate: leaf, issuer: root, now: Date.now() });
    assert.equal(good.status, 'good', good.says);
    assert.equal(judgeOcsp(answer, { certificate: leaf, issuer: root, now: Date.now() }).status, 'good');
    fc.assert(
      fc.property(
        damaged(() => list),
        damaged(() => answer),
        (crl, ocsp) => {
          assert.equal(
            within(() =>
              judgeCrl(crl, () => undefined, { certificate: leaf, issuer: root, now: Date.now() }),
            ),
            undefined,
          );
          if (!crl.equals(list))
            assert.notEqual(
              judgeCrl(crl, () => undefined, { certificate: leaf, issuer: root, now: Date.now() }).status,
              'good',
            );
          assert.equal(
            within(() => judgeOcsp(ocsp, { certificate: leaf, issuer: root, now: Date.now() })),
            undefined,
          );
        },
      ),
      seeded,
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) =>
        sentence(within(() => verifyTimestamp(bytes, bytes, [root]))),
      ),
      seeded,
    );
  });

  it('damaged trust store files give an error sentence, and never another trusted certificate', () => {
    const pem = readFileSync(join(folder, 'root.crt'));
    assert.ok(Array.isArray(readStoreFile('root.crt', pem, 'ca')));
    fc.assert(
      fc.property(
        damaged(() => pem),
        (bytes) => {
          let read: unknown;
          assert.equal(
            within(() => (read = readStoreFile('root.crt', bytes, 'ca'))),
            undefined,
          );
          if (typeof read !== 'string')
            assert.deepEqual(
              (read as { der: string }[]).map(({ der }) => der),
              [chain[1]?.toString('base64')],
            );
        },
      ),
      seeded,
    );
    assert.match(
      JSON.stringify(readStoreFile('leaf.key', readFileSync(join(folder, 'leaf.key')), 'ca')),
      /private key/,
    );
    assert.match(
      JSON.stringify(readStoreFile('leaf.crt', readFileSync(join(folder, 'leaf.crt')), 'ca')),
      /neither belongs to an authority nor is self-signed/,
    );
  });

  it('arbitrary trust policies give an error with code and position, or rules', () => {
    const text = JSON.stringify(
      {
        version: '1.0',
        trustPolicies: [
          {
            name: 'one',
            registryScopes: ['*'],
            signatureVerification: { level: 'strict', override: { expiry: 'log' } },
            trustStores: ['ca:example'],
            trustedIdentities: ['x509.subject: C=US, ST=WA, O=example.com'],
          },
        ],
      },
      null,
      1,
    );
    fc.assert(
      fc.property(
        fc.oneof(
          damaged(() => Buffer.from(text)).map((bytes) => bytes.toString('utf8')),
          fc.json(),
          fc.string(),
        ),
        (damagedText) => {
          const thrown = within(() =>
            importNotation(damagedText, { file: 'trustpolicy.json', truststoreFolder: 'truststore' }),
          );
          if (thrown === undefined) return;
          assert.ok(isPortcullisError(thrown));
          assert.equal(thrown.code, 'TRUST_IMPORT_INVALID');
          assert.match(thrown.message, /trustpolicy\.json:\d+:\d+/);
        },
      ),
      seeded,
    );
  });
});
