import assert from 'node:assert/strict';
import { createHash, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { createRequire } from 'node:module';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { writePem } from '../../base/pem/index.ts';
import { der } from '../x509/der-writer.ts';
import { buildCertificate } from '../x509/fixtures/build-certificate.ts';
import { fileOf, signed, testKey, testRepository, written } from '../tuf/fixtures/repository.fixture.ts';
import { tufCanonicalJson } from './canonical.ts';
import { notaryKeyId, readNotaryKey, readTufKey, signedBy } from './keys.ts';
import { readMetadata } from './read.ts';

/** The canonical JSON that tuf-js signs. */
const { canonicalize } = createRequire(import.meta.resolve('tuf-js'))('@tufjs/canonical-json') as {
  canonicalize: (value: unknown) => string;
};

const text = fc.string({
  unit: fc.oneof(
    fc.constantFrom('"', '\\', '\n', '\u0000', '\u2028', 'é', 'ｚ', '😀', '\ue000'),
    fc.string(),
  ),
  maxLength: 8,
});
const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.maxSafeInteger(),
    text,
    fc.boolean(),
    fc.constant(null),
    tie('list'),
    tie('object'),
  ),
  list: fc.array(tie('value'), { maxLength: 4 }),
  object: fc.dictionary(text, tie('value'), { maxKeys: 4 }),
}));

test('canonical JSON equals that of tuf-js for keys below U+D800', () => {
  const plain = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.maxSafeInteger(),
      text,
      fc.boolean(),
      fc.constant(null),
      tie('list'),
      tie('object'),
    ),
    list: fc.array(tie('value'), { maxLength: 4 }),
    object: fc.dictionary(fc.string(), tie('value'), { maxKeys: 4 }),
  }));
  fc.assert(
    fc.property(plain.value, (value) => {
      assert.equal(
        tufCanonicalJson(value).toString('utf8'),
        Buffer.from(canonicalize(value)).toString('utf8'),
      );
    }),
  );
});

test('canonical JSON orders keys by code point, as Python and Go do, and does not depend on their order', () => {
  assert.equal(
    tufCanonicalJson({ '😀': 1, '\uffff': 2, a: 3, B: 4 }).toString('utf8'),
    '{"B":4,"a":3,"\uffff":2,"😀":1}',
  );
  fc.assert(
    fc.property(fc.dictionary(text, json.value), (record) => {
      const reversed = Object.fromEntries(Object.entries(record).reverse());
      assert.deepEqual(tufCanonicalJson(reversed), tufCanonicalJson(record));
    }),
  );
});

test('an unpaired surrogate has no canonical form: it would share a signature with any other', () => {
  for (const value of ['\ud83d', 'a\ude00b', '\ude00\ud83d']) {
    assert.throws(() => tufCanonicalJson({ value }), /unpaired surrogate/u);
    assert.throws(() => tufCanonicalJson({ [value]: 1 }), /unpaired surrogate/u);
  }
  assert.equal(tufCanonicalJson('😀\ufffd').toString('utf8'), '"😀\ufffd"');
});

test('a number that is not whole has no canonical form', () => {
  for (const value of [1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])
    assert.throws(() => tufCanonicalJson({ value }), /not a whole number/u);
});

void suite('keys:', () => {
  const message = Buffer.from('message');
  const pem = (key: KeyObject): string => String(key.export({ format: 'pem', type: 'spki' }));

  test('each scheme verifies its own signatures, and no other’s', () => {
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const rows = [
      {
        keytype: 'ecdsa',
        scheme: 'ecdsa-sha2-nistp256',
        public: pem(ec.publicKey),
        signature: sign('sha256', message, ec.privateKey),
      },
      {
        keytype: 'rsa',
        scheme: 'rsa-pkcs1v15-sha256',
        public: pem(rsa.publicKey),
        signature: sign('sha256', message, rsa.privateKey),
      },
      {
        keytype: 'rsa',
        scheme: 'rsassa-pss-sha256',
        public: pem(rsa.publicKey),
        signature: sign('sha256', message, { key: rsa.privateKey, padding: 6, saltLength: 32 }),
      },
    ];
    for (const [index, { keytype, scheme, public: written, signature }] of rows.entries()) {
      const key = readTufKey('id', { keytype, scheme, keyval: { public: written } });
      for (const [other, row] of rows.entries())
        assert.equal(signedBy(key, message, row.signature), index === other, `${scheme} ${row.scheme}`);
      assert.equal(signedBy(key, Buffer.from('other'), signature), false);
      assert.equal(signedBy(key, message, signature.subarray(1)), false);
    }
  });

  test('a key of an unknown type, curve or size is kept, and never verifies', () => {
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const other = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const rows = [
      { keytype: 'sphincs', scheme: 'sphincs-1', keyval: { public: 'x' } },
      { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: 'not hex' } },
      { keytype: 'rsa', scheme: 'rsassa-pss-sha256', keyval: { public: pem(small.publicKey) } },
      { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256', keyval: { public: pem(other.publicKey) } },
    ];
    for (const row of rows)
      assert.equal(signedBy(readTufKey('id', row), message, Buffer.alloc(64)), false, row.scheme);
  });

  test('a TUF key is one PEM block with a public key, not a text that contains one', () => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const built = buildCertificate('x');
    const keyOf = (keytype: string, scheme: string, text: string): KeyObject | undefined =>
      readTufKey('id', { keytype, scheme, keyval: { public: text } }).key;
    const rsa = (text: string): KeyObject | undefined => keyOf('rsa', 'rsassa-pss-sha256', text);
    const pkcs1 = publicKey.export({ format: 'pem', type: 'pkcs1' });
    for (const text of [pem(publicKey), pkcs1]) assert.ok(rsa(text)?.equals(publicKey));
    for (const type of ['pkcs1', 'pkcs8'] as const)
      assert.equal(rsa(privateKey.export({ format: 'pem', type }).toString()), undefined);
    assert.equal(rsa(`${pem(publicKey)}${pem(publicKey)}`), undefined);
    assert.equal(rsa(pem(publicKey).slice(0, -10)), undefined);
    const ecdsa = (text: string): KeyObject | undefined => keyOf('ecdsa', 'ecdsa-sha2-nistp256', text);
    assert.ok(ecdsa(writePem('PUBLIC KEY', built.spki)) !== undefined);
    assert.equal(ecdsa(writePem('CERTIFICATE', built.der)), undefined);
  });

  test('two ids of one key are one signer', () => {
    const key = testKey('tuf');
    assert.equal(readTufKey('one', key.entry).material, readTufKey('two', key.entry).material);
  });

  test('two ways to write the point of one key are one signer', () => {
    for (const [curve, scheme, identifier] of [
      ['P-256', 'ecdsa-sha2-nistp256', '06082a8648ce3d030107'],
      ['P-384', 'ecdsa-sha2-nistp384', '06052b81040022'],
      ['P-521', 'ecdsa-sha2-nistp521', '06052b81040023'],
    ] as const) {
      const { publicKey } = generateKeyPairSync('ec', { namedCurve: curve });
      const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
      const odd = (Buffer.from(y, 'base64url').at(-1) ?? 0) & 1;
      const point = Buffer.concat([Buffer.from([2 + odd]), Buffer.from(x, 'base64url')]);
      const algorithm = der(0x30, Buffer.from(`06072a8648ce3d0201${identifier}`, 'hex'));
      const spki = der(0x30, algorithm, der(0x03, Buffer.from([0]), point));
      const short = createPublicKey({ key: spki, format: 'der', type: 'spki' });
      const tuf = (key: KeyObject): string =>
        readTufKey('id', { keytype: 'ecdsa', scheme, keyval: { public: pem(key) } }).material;
      assert.notEqual(pem(short), pem(publicKey));
      assert.equal(tuf(short), tuf(publicKey));
      const notary = (key: KeyObject): string => {
        const text = key.export({ format: 'der', type: 'spki' }).toString('base64');
        return readNotaryKey(notaryKeyId('ecdsa', text), {
          keytype: 'ecdsa',
          keyval: { private: null, public: text },
        }).material;
      };
      assert.equal(notary(short), notary(publicKey));
    }
  });

  test('a key of Notary is listed under its own id', () => {
    const key = testKey('notary', 'ecdsa');
    assert.equal(signedBy(readNotaryKey(key.id, key.entry), message, key.sign(message)), true);
    assert.throws(() => readNotaryKey('a'.repeat(64), key.entry), /not its own/u);
  });
});

for (const dialect of ['tuf', 'notary'] as const) {
  void suite(`${dialect}:`, () => {
    const repository = testRepository(dialect);
    repository.targets['targets'] = { 'a/1': fileOf(dialect, Buffer.from('one')) };
    const files = written(repository);

    test('written metadata is read again', () => {
      const targets = readMetadata(dialect, 'targets', files['targets'] ?? Buffer.alloc(0));
      const file = targets.signed.targets.get('a/1');
      assert.equal(file?.hashes['sha256'], createHash('sha256').update('one').digest('hex'));
      assert.equal(readMetadata(dialect, 'root', files['root'] ?? Buffer.alloc(0)).signed.keys.size, 4);
    });

    test('changed bytes are refused, or read as changed', () => {
      for (const type of ['root', 'timestamp', 'snapshot', 'targets'] as const) {
        const bytes = files[type] ?? Buffer.alloc(0);
        const before = readMetadata(dialect, type, bytes);
        fc.assert(
          fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
            const changed = Buffer.from(bytes);
            changed[at] = (changed[at] ?? 0) ^ mask;
            try {
              const after = readMetadata(dialect, type, changed);
              const same =
                after.message.equals(before.message) &&
                JSON.stringify(after.signatures) === JSON.stringify(before.signatures);
              // Whitespace, escapes and the case of hexadecimal digits do not change the meaning.
              if (same) assert.deepEqual(after.signed, before.signed);
            } catch (error) {
              assert.ok(
                error instanceof Error && !(error instanceof TypeError) && !(error instanceof RangeError),
                String(error),
              );
            }
          }),
          { numRuns: 300 },
        );
      }
    });

    test('any JSON in place of metadata is refused with a readable error', () => {
      const head = {
        _type: dialect === 'tuf' ? 'targets' : 'Targets',
        spec_version: '1.0.0',
        version: 1,
        expires: '2030-01-01T00:00:00Z',
      };
      fc.assert(
        fc.property(
          fc.dictionary(
            fc.constantFrom('targets', 'delegations', 'version', 'expires', 'meta', 'keys', 'roles'),
            json.value,
          ),
          (fields) => {
            const bytes = Buffer.from(JSON.stringify({ signed: { ...head, ...fields }, signatures: [] }));
            for (const type of ['root', 'timestamp', 'snapshot', 'targets'] as const) {
              try {
                readMetadata(dialect, type, bytes);
              } catch (error) {
                assert.ok(
                  error instanceof Error && !(error instanceof TypeError) && error.message.length > 0,
                  String(error),
                );
              }
            }
          },
        ),
      );
    });

    test('bad input: the reason names it', () => {
      const body = {
        _type: dialect === 'tuf' ? 'timestamp' : 'Timestamp',
        spec_version: '1.0.34',
        version: 1,
        expires: '2030-01-01T00:00:00Z',
      };
      const name = dialect === 'tuf' ? 'snapshot.json' : 'snapshot';
      const meta = { [name]: { version: 1, ...fileOf(dialect, Buffer.from('x')) } };
      const rows: [change: object, says: RegExp][] = [
        [{ version: 0 }, /version must be a whole number of at least 1/u],
        [{ version: 1.5 }, /whole number/u],
        [{ version: '1' }, /whole number/u],
        [{ version: 2 ** 60 }, /whole number/u],
        [{ expires: 'tomorrow' }, /expires must be a time/u],
        [{ expires: '2030-13-01T00:00:00Z' }, /expires must be a time/u],
        [{ expires: '2030-02-31T00:00:00Z' }, /expires must be a time/u],
        [{ _type: 'snapshot' }, /metadata, not timestamp/u],
        [
          { meta: { [name]: { version: 1, length: -1, hashes: { sha256: '' } } } },
          /length must be a whole number/u,
        ],
        [{ meta: { [name]: { version: 1, length: 1, hashes: {} } } }, /must contain a/u],
        [{ meta: [] }, /meta must be an object/u],
        ...(dialect === 'tuf'
          ? ([[{ spec_version: '2.0.0' }, /spec_version "2\.0\.0" is not supported/u]] as [object, RegExp][])
          : []),
      ];
      const key = testKey(dialect);
      assert.ok(readMetadata(dialect, 'timestamp', signed(dialect, { ...body, meta }, [key])));
      for (const [change, says] of rows) {
        const bytes = Buffer.from(JSON.stringify({ signed: { ...body, meta, ...change }, signatures: [] }));
        assert.throws(() => readMetadata(dialect, 'timestamp', bytes), says, JSON.stringify(change));
      }
      const whole = signed(dialect, { ...body, meta }, [key]).toString('utf8');
      const texts: [bytes: Buffer, says: RegExp][] = [
        [Buffer.from([0xff, 0xfe]), /not UTF-8/u],
        [
          Buffer.from(whole.replace('"version":1', '"version":1,"version":2')),
          /contains the key "version" twice/u,
        ],
        [Buffer.from('['.repeat(100_000)), /nested deeper/u],
        [Buffer.from(whole.slice(0, -1)), /not JSON/u],
        [Buffer.from(`\ufeff${whole}`), /not JSON/u],
      ];
      for (const [bytes, says] of texts) assert.throws(() => readMetadata(dialect, 'timestamp', bytes), says);
    });
  });
}
