import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, sign as signBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { digestOf } from '../../base/distribution/index.ts';
import { serveFiles, serveOcsp, serveTimestamps } from '../../test/fixtures/notation.ts';
import type { Served } from '../../test/fixtures/notation.ts';
import { createCollection } from '../evidence/collection.ts';
import { sealDossier } from '../evidence/dossier.ts';
import { amd64, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { defaultLimits } from '../evidence/limits.ts';
import { policyKey } from '../keys/public-key.ts';
import { keySigner } from '../signers/signer.ts';
import type { Signer } from '../signers/signer.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import { decide } from '../verdict/decide.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { notationCollectors } from './collector.ts';
import {
  chainOf,
  createAuthority,
  rootExtensions,
  signerExtensions,
  stampExtensions,
} from './fixtures/authority.ts';
import type { Authority, Issued } from './fixtures/authority.ts';
import { levels } from '../requirements/notation.ts';
import type { LevelName, NotationRequirement, StoreType } from '../requirements/notation.ts';
import { makeNotationSignature } from './sign.ts';

const manifest = Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}');
const digest = digestOf(manifest);
const target = {
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  digest,
  size: manifest.length,
  annotations: { build: '7' },
};
const reference = 'registry.example.com/app:1';
const hour = 3600 * 1000;
const day = 24 * hour;

describe('Notary Project signatures', () => {
  const folder = mkdtempSync(join(tmpdir(), 'notation-'));
  let authority: Authority;
  let root: Issued;
  let middle: Issued;
  let stampRoot: Issued;
  let lists: Served;
  let stamps: Served;
  let responder: Served;
  const files = new Map<string, Uint8Array>();
  const issued = new Map<string, Issued>();

  before(async () => {
    authority = createAuthority(folder);
    lists = await serveFiles(files);
    root = authority.issue('root', { extensions: rootExtensions });
    middle = authority.issue('middle', { extensions: rootExtensions, by: root });
    responder = await serveOcsp(authority, middle);
    const ocsp = `authorityInfoAccess=OCSP;URI:${responder.url}`;
    const crl = `crlDistributionPoints=URI:${lists.url}/middle.crl`;
    const make = (name: string, extensions: readonly string[], more: object = {}): void =>
      void issued.set(name, authority.issue(name, { extensions, by: middle, ...more }));
    make('plain', signerExtensions);
    make('ocsp', [...signerExtensions, ocsp]);
    make('ocsp-revoked', [...signerExtensions, ocsp]);
    make('crl', [...signerExtensions, crl]);
    make('both', [...signerExtensions, 'authorityInfoAccess=OCSP;URI:http://127.0.0.1:1/', crl]);
    make('unreachable', [...signerExtensions, 'authorityInfoAccess=OCSP;URI:http://127.0.0.1:1/']);
    make('short', signerExtensions, {
      from: new Date(Date.now() - 2 * day),
      to: new Date(Date.now() + hour),
    });
    make('p384', signerExtensions, {
      algorithm: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384'],
    });
    make('p521', signerExtensions, {
      algorithm: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-521'],
    });
    make('rsa2048', signerExtensions, {
      algorithm: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
    });
    make('rsa3072', signerExtensions, {
      algorithm: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:3072'],
    });
    make('no-usage', ['basicConstraints=CA:FALSE', 'extendedKeyUsage=codeSigning']);
    make('loose-usage', ['basicConstraints=CA:FALSE', 'keyUsage=digitalSignature']);
    make('encipher', ['basicConstraints=CA:FALSE', 'keyUsage=critical,digitalSignature,keyEncipherment']);
    make('server', [
      'basicConstraints=CA:FALSE',
      'keyUsage=critical,digitalSignature',
      'extendedKeyUsage=codeSigning,serverAuth',
    ]);
    make('authority', rootExtensions);
    make('sha1', signerExtensions, { hash: 'sha1' });
    make('rsa2560', signerExtensions, {
      algorithm: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2560'],
    });
    authority.revoke(middle, get('ocsp-revoked'));
    files.set('/middle.crl', authority.list(middle));
    stampRoot = authority.issue('stamp-root', { extensions: rootExtensions });
    const stamper = authority.issue('stamper', { extensions: stampExtensions, by: stampRoot });
    stamps = await serveTimestamps(authority, stamper, stampRoot);
  });
  after(async () => {
    await Promise.all([lists.close(), stamps.close(), responder.close()]);
    rmSync(folder, { recursive: true, force: true });
  });

  const get = (name: string): Issued => {
    const found = issued.get(name);
    assert.ok(found, name);
    return found;
  };
  const signerOf = (name: string, timestamps: readonly string[] = []): Signer => {
    const leaf = get(name);
    const key = createPrivateKey(readFileSync(leaf.key));
    const half = policyKey(name, createPublicKey(key));
    assert.ok('spki' in half);
    return keySigner(
      { public: half, private: key },
      { certificates: chainOf(leaf, middle, root), witnesses: { logs: [], timestamps } },
    );
  };
  const storeOf = (
    type: StoreType,
    ...certificates: readonly Issued[]
  ): NotationRequirement['stores'][number] => ({
    type,
    name: `${type}/test`,
    certificates: chainOf(...certificates).map((der) => ({ file: 'test.crt', der: der.toString('base64') })),
  });
  const requirement = (level: LevelName, more: Partial<NotationRequirement> = {}): NotationRequirement => ({
    kind: 'notation',
    stores: [storeOf('ca', root)],
    identities: '*',
    level,
    actions: levels[level],
    verifyTimestamp: 'always',
    ...more,
  });
  const itemOf = (mediaType: string, envelope: Uint8Array): EvidenceItem => ({
    kind: 'notation-signature',
    attachedTo: digest,
    foundBy: 'referrers',
    servedBy: 'registry.example.com',
    manifestDigest: `sha256:${'d'.repeat(64)}`,
    blobDigest: digestOf(envelope),
    mediaType,
    annotations: {},
    bytes: Buffer.from(envelope).toString('base64'),
    subjectBytes: manifest.toString('base64'),
  });
  /**
   * Gathers the revocation answers that the signature requires, then decides; at a different time if given.
   */
  const decided = async (
    items: readonly EvidenceItem[],
    wanted: NotationRequirement,
    at: { readonly gathered?: Date; readonly decided?: Date } = {},
  ): Promise<Verdict> => {
    const gathered = at.gathered ?? new Date();
    const policy = policyOf({ require: wanted });
    const collection = createCollection(defaultLimits, undefined);
    for (const one of items) collection.add(one);
    const input = { reference, digest, manifestDigest: digest, repositories: [], policy, now: gathered };
    await notationCollectors[0]?.complete?.({ input, wanted: [wanted], collection });
    collection.close();
    const dossier = sealDossier({
      reference,
      digest,
      manifestDigest: digest,
      items: collection.items(),
      unreachable: collection.unreachable(),
      gatheredAt: gathered.toISOString(),
    });
    return decide({
      dossier,
      reference,
      namespace: '',
      platform: amd64,
      policy,
      now: at.decided ?? gathered,
    });
  };
  const sign = async (
    name: string,
    format: 'jws' | 'cose' = 'jws',
    more: object = {},
  ): Promise<EvidenceItem> => {
    const made = await makeNotationSignature({
      format,
      target,
      signer: signerOf(name),
      now: new Date(),
      ...more,
    });
    return itemOf(made.mediaType, made.envelope);
  };
  const expect = (verdict: Verdict, outcome: Verdict['outcome'], says?: RegExp): void => {
    const text = explainVerdict(verdict);
    assert.equal(verdict.outcome, outcome, text);
    if (says !== undefined) assert.match(text, says);
  };

  for (const name of ['plain', 'p384', 'p521', 'rsa2048', 'rsa3072'])
    for (const format of ['jws', 'cose'] as const)
      it(`${format} by ${name} counts`, async () =>
        expect(await decided([await sign(name, format)], requirement('strict')), 'admit'));

  for (const [name, says] of [
    ['no-usage', /has no key usage/],
    ['loose-usage', /does not mark its key usage as critical/],
    ['encipher', /other uses than digital signatures/],
    ['server', /another purpose than code signing/],
    ['authority', /belongs to an authority, and must not sign/],
    ['sha1', /is not issued by the next one/],
    ['rsa2560', /a key that the Notary Project does not allow/],
  ] as const)
    it(`no signature is made with a certificate that is not for it: ${name}`, () =>
      assert.rejects(sign(name), says));

  it('an authority that no trust store contains does not count, and audit only logs that: the verdict says unverified', async () => {
    const item = await sign('plain');
    const stores = [storeOf('ca', stampRoot)];
    const denied = await decided([item], requirement('strict', { stores }));
    expect(denied, 'deny', /authenticity: its chain contains no certificate of the rule's trust stores/);
    expect(await decided([item], requirement('permissive', { stores })), 'deny');
    const logged = await decided([item], requirement('audit', { stores }));
    expect(logged, 'admit', /only logged by the rule, level audit/);
    assert.equal(logged.unverified, true);
    assert.equal((await decided([item], requirement('audit'))).unverified, false);
  });

  it('a trust store of the other scheme does not count', async () =>
    expect(
      await decided(
        [await sign('plain')],
        requirement('strict', { stores: [storeOf('signingAuthority', root)] }),
      ),
      'deny',
      /of type ca/,
    ));

  it('any certificate of the chain may be the trusted one', async () => {
    const item = await sign('plain');
    for (const one of [root, middle, get('plain')])
      expect(await decided([item], requirement('strict', { stores: [storeOf('ca', one)] })), 'admit');
  });

  for (const [identities, outcome] of [
    [['C=US, ST=WA, O=example.com'], 'admit'],
    [['C=US, ST=WA, O=example.com, CN=plain'], 'admit'],
    [['CN=plain,O=example.com,ST=WA,C=US'], 'admit'],
    [['C=US, ST=WA, O=example.com, CN=other'], 'deny'],
    [['C=US, ST=WA, O=example.com, CN=plai'], 'deny'],
    [['C=US, ST=WA, O=example.com, OU=x'], 'deny'],
    [['C=us, ST=WA, O=example.com'], 'deny'],
    [['C=DE, ST=WA, O=example.com', 'C=US, ST=WA, O=example.com'], 'admit'],
  ] as const)
    it(`identities ${JSON.stringify(identities)}: ${outcome}`, async () =>
      expect(await decided([await sign('plain')], requirement('strict', { identities })), outcome));

  it('another digest, size or media type is not this image', async () => {
    const other = async (change: object): Promise<Verdict> => {
      const made = await makeNotationSignature({
        format: 'cose',
        target: { ...target, ...change },
        signer: signerOf('plain'),
        now: new Date(),
      });
      return decided([itemOf(made.mediaType, made.envelope)], requirement('audit'));
    };
    expect(await other({ digest: `sha256:${'a'.repeat(64)}` }), 'deny', /a signature of another digest/);
    expect(await other({ size: manifest.length + 1 }), 'deny', /names a manifest of \d+ bytes/);
    expect(
      await other({ mediaType: 'application/vnd.oci.image.index.v1+json' }),
      'deny',
      /manifest of another type/,
    );
  });

  it('without the bytes of the manifest nothing counts', async () => {
    const { subjectBytes: _gone, ...rest } = await sign('plain');
    expect(await decided([rest], requirement('audit')), 'deny', /not available/);
  });

  describe('signatures of a signing authority', () => {
    /**
     * Returns an envelope that no tool here creates: signed by the test, with these additional protected
     * headers.
     */
    const byHand = (header: object, name = 'plain'): EvidenceItem => {
      const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
      const payload = encode({ targetArtifact: target });
      const head = encode({ alg: 'ES256', cty: 'application/vnd.cncf.notary.payload.v1+json', ...header });
      const key = createPrivateKey(readFileSync(get(name).key));
      const signature = signBytes('sha256', Buffer.from(`${head}.${payload}`), {
        key,
        dsaEncoding: 'ieee-p1363',
      }).toString('base64url');
      const x5c = chainOf(get(name), middle, root).map((one) => one.toString('base64'));
      return itemOf(
        'application/jose+json',
        Buffer.from(JSON.stringify({ payload, protected: head, header: { x5c }, signature })),
      );
    };
    const scheme = 'io.cncf.notary.signingScheme';
    const time = 'io.cncf.notary.authenticSigningTime';
    const at = (milliseconds: number): string =>
      new Date(Math.floor(milliseconds / 1000) * 1000).toISOString().replace('.000Z', 'Z');
    const right = (): Record<string, unknown> => ({
      crit: [scheme, time],
      [scheme]: 'notary.x509.signingAuthority',
      [time]: at(Date.now()),
    });
    const trusting = (): NotationRequirement =>
      requirement('strict', { stores: [storeOf('signingAuthority', root)] });

    it('count for stores of that type, and outlive their certificates', async () => {
      const item = byHand(right(), 'short');
      expect(await decided([item], trusting()), 'admit', /according to the signing authority/);
      expect(await decided([item], trusting(), { decided: new Date(Date.now() + 2 * hour) }), 'admit');
      expect(await decided([item], requirement('strict')), 'deny', /of type signingAuthority/);
    });

    it('do not count if a certificate was not valid at the time of signing', async () => {
      const early = byHand({ ...right(), [time]: at(Date.now() - 5 * day) }, 'short');
      expect(await decided([early], trusting()), 'deny', /was not valid when it was signed/);
    });

    for (const [name, change, says] of [
      ['no critical headers', { crit: [] }, /lists no critical headers/],
      [
        'a time that is not critical',
        { crit: [scheme] },
        /does not mark io\.cncf\.notary\.authenticSigningTime as critical/,
      ],
      ['another time beside it', { 'io.cncf.notary.signingTime': '2026-01-01T00:00:00Z' }, /does not allow/],
      [
        'an unknown critical header',
        { crit: [scheme, time, 'x'], x: 1 },
        /critical header "x" is not supported/,
      ],
      ['a critical header that is missing', { crit: [scheme, time, 'x'] }, /does not contain it/],
      [
        'a verification plugin',
        {
          crit: [scheme, time, 'io.cncf.notary.verificationPlugin'],
          'io.cncf.notary.verificationPlugin': 'p',
        },
        /verificationPlugin" is not supported/,
      ],
      [
        'a verification plugin that is not critical',
        { 'io.cncf.notary.verificationPlugin': 'p' },
        /names a verification plugin, and does not mark that as critical/,
      ],
      ['another scheme', { [scheme]: 'notary.x509.other' }, /signing scheme is neither/],
      [
        'an expiry that is not critical',
        { 'io.cncf.notary.expiry': '2030-01-01T00:00:00Z' },
        /does not mark io\.cncf\.notary\.expiry/,
      ],
      ['an invalid time', { [time]: '2026-02-31T00:00:00Z' }, /is not a time/],
      ['another algorithm', { alg: 'PS256' }, /its signing key requires ES256/],
      ['no algorithm', { alg: 'none' }, /its signing key requires ES256/],
      ['another content type', { cty: 'text/plain' }, /its content type is not/],
    ] as const)
      it(`with ${name} are malformed`, async () =>
        expect(await decided([byHand({ ...right(), ...change })], trusting()), 'deny', says));
  });

  describe('expiry', () => {
    it('ends the verdict, and is only logged by permissive', async () => {
      const expiry = new Date(Math.floor(Date.now() / 1000) * 1000 + hour);
      for (const format of ['jws', 'cose'] as const) {
        const item = await sign('plain', format, { expiry });
        const now = await decided([item], requirement('strict'));
        expect(now, 'admit');
        assert.equal(now.validUntil, expiry.toISOString());
        const later = { decided: expiry };
        expect(await decided([item], requirement('strict'), later), 'deny', /it expired at/);
        expect(
          await decided([item], requirement('permissive'), later),
          'admit',
          /expiry: it expired at .* \(only logged by the rule, level permissive\)/,
        );
        const strictButExpiry = requirement('strict', { actions: { ...levels.strict, expiry: 'log' } });
        expect(await decided([item], strictButExpiry, later), 'admit');
      }
    });
  });

  describe('the time of signing', () => {
    it('without a time stamp the certificates must be valid now', async () => {
      const item = await sign('short');
      expect(await decided([item], requirement('strict')), 'admit');
      const later = { decided: new Date(Date.now() + 2 * hour) };
      expect(
        await decided([item], requirement('strict'), later),
        'deny',
        /authentic time: its certificate .* expired at/,
      );
      expect(await decided([item], requirement('permissive'), later), 'admit', /only logged/);
      expect(
        await decided([item], requirement('strict'), { decided: new Date(Date.now() - 3 * day) }),
        'deny',
        /is not valid before/,
      );
    });

    for (const format of ['jws', 'cose'] as const)
      it(`${format}: a time stamp lets a signature outlive its certificate`, async () => {
        const signer = signerOf('short', [stamps.url]);
        const made = await makeNotationSignature({ format, target, signer, now: new Date() });
        const item = itemOf(made.mediaType, made.envelope);
        const stores = [storeOf('ca', root), storeOf('tsa', stampRoot)];
        const later = { decided: new Date(Date.now() + 2 * hour) };
        for (const verifyTimestamp of ['always', 'afterCertExpiry'] as const)
          expect(
            await decided([item], requirement('strict', { stores, verifyTimestamp }), later),
            'admit',
            /its time stamp is dated/,
          );
        expect(
          await decided([item], requirement('strict', { stores: [storeOf('ca', root)] }), later),
          'deny',
          /expired/,
        );
        expect(
          await decided(
            [item],
            requirement('strict', { stores: [storeOf('ca', root), storeOf('tsa', root)] }),
            later,
          ),
          'deny',
          /does not lead to/,
        );
      });

    it('an age is proven by a time stamp, not by a claim of the signer', async () => {
      const aged = { constraints: { maxAge: 3600 } };
      expect(
        await decided([await sign('plain')], requirement('strict', aged)),
        'deny',
        /nothing proves when it was signed/,
      );
      const signer = signerOf('plain', [stamps.url]);
      const made = await makeNotationSignature({ format: 'cose', target, signer, now: new Date() });
      const stores = [storeOf('ca', root), storeOf('tsa', stampRoot)];
      const item = itemOf(made.mediaType, made.envelope);
      expect(await decided([item], requirement('strict', { stores, ...aged })), 'admit');
      expect(
        await decided(
          [item],
          requirement('strict', { stores, constraints: { annotations: { build: '7' } } }),
        ),
        'admit',
      );
      expect(
        await decided(
          [item],
          requirement('strict', { stores, constraints: { annotations: { build: '8' } } }),
        ),
        'deny',
      );
    });

    it('a required time stamp that is missing denies', async () => {
      const stores = [storeOf('ca', root), storeOf('tsa', stampRoot)];
      expect(
        await decided([await sign('plain')], requirement('strict', { stores })),
        'deny',
        /has no time stamp/,
      );
      expect(
        await decided(
          [await sign('plain')],
          requirement('strict', { stores, verifyTimestamp: 'afterCertExpiry' }),
        ),
        'admit',
      );
    });

    it("another signature's time stamp does not count", async () => {
      const stamped = async (): Promise<{ header: Record<string, string> } & Record<string, string>> => {
        const made = await makeNotationSignature({
          format: 'jws',
          target,
          signer: signerOf('plain', [stamps.url]),
          now: new Date(),
        });
        return JSON.parse(made.envelope.toString()) as { header: Record<string, string> } & Record<
          string,
          string
        >;
      };
      const [one, two] = [await stamped(), await stamped()];
      const label = 'io.cncf.notary.timestampSignature';
      const mixed = { ...one, header: { ...one.header, [label]: two.header[label] } };
      const stores = [storeOf('ca', root), storeOf('tsa', stampRoot)];
      const item = (json: unknown): EvidenceItem =>
        itemOf('application/jose+json', Buffer.from(JSON.stringify(json)));
      expect(await decided([item(one)], requirement('strict', { stores })), 'admit');
      expect(
        await decided([item(mixed)], requirement('strict', { stores })),
        'deny',
        /it is not for this signature/,
      );
    });
  });

  describe('revocation', () => {
    for (const [name, outcome, says] of [
      ['ocsp', 'admit', /its OCSP responder says that it is good/],
      ['ocsp-revoked', 'deny', /its OCSP responder says it was revoked/],
      ['crl', 'admit', /its revocation list, which is valid until .*, does not contain it/],
      ['both', 'admit', /its revocation list, which is valid until .*, does not contain it/],
      ['unreachable', 'undecided', /could not be reached/],
    ] as const)
      it(`${name}: ${outcome} under strict`, async () => {
        const verdict = await decided([await sign(name)], requirement('strict'));
        expect(verdict, outcome, says);
        if (outcome === 'admit') assert.ok(Date.parse(verdict.validUntil ?? '') < Date.now() + 8 * day);
      });

    it('of the certificate of a time stamping authority counts as well (CVE-2024-56138)', async () => {
      const asked = await serveOcsp(authority, stampRoot);
      const extensions = [...stampExtensions, `authorityInfoAccess=OCSP;URI:${asked.url}`];
      try {
        for (const [name, outcome] of [
          ['stamper-good', 'admit'],
          ['stamper-revoked', 'deny'],
        ] as const) {
          const stamper = authority.issue(name, { extensions, by: stampRoot });
          if (outcome === 'deny') authority.revoke(stampRoot, stamper);
          const service = await serveTimestamps(authority, stamper, stampRoot);
          const item = await sign('plain', 'jws', { signer: signerOf('plain', [service.url]) });
          await service.close();
          const stores = [storeOf('ca', root), storeOf('tsa', stampRoot)];
          expect(
            await decided([item], requirement('strict', { stores })),
            outcome,
            outcome === 'deny' ? /was revoked/ : /its time stamp is dated/,
          );
        }
      } finally {
        await asked.close();
      }
    });

    it('is only logged by permissive, and is not requested if it is skipped', async () => {
      for (const name of ['ocsp-revoked', 'unreachable']) {
        const verdict = await decided([await sign(name)], requirement('permissive'));
        expect(verdict, 'admit', /revocation: .*only logged by the rule, level permissive/);
        const skipped = await decided(
          [await sign(name)],
          requirement('strict', { actions: { ...levels.strict, revocation: 'skip' } }),
        );
        expect(skipped, 'admit', /revocation: its revocation was not checked \(skipped by the rule\)/);
      }
    });

    it('an answer is valid until its stated time, and a missing list is unknown', async () => {
      const item = await sign('crl');
      expect(
        await decided([item], requirement('strict'), { decided: new Date(Date.now() + 8 * day) }),
        'undecided',
        /held until/,
      );
      const saved = files.get('/middle.crl');
      files.delete('/middle.crl');
      expect(await decided([item], requirement('strict')), 'undecided', /HTTP status 404/);
      files.set('/middle.crl', Buffer.from('nonsense'));
      expect(await decided([item], requirement('strict')), 'undecided', /cannot be used/);
      files.set('/middle.crl', authority.list(root));
      expect(await decided([item], requirement('strict')), 'undecided', /is not from its issuer/);
      if (saved !== undefined) files.set('/middle.crl', saved);
    });

    it('no revocation request is sent for an untrusted chain', async () => {
      const item = await sign('unreachable');
      const verdict = await decided([item], requirement('audit', { stores: [storeOf('ca', stampRoot)] }));
      expect(verdict, 'admit', /no answer was requested/);
    });
  });
});
