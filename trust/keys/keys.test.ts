import assert from 'node:assert/strict';
import { constants, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { writePem } from '../../base/pem/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { decryptCosignKey } from './cosign-key-file.ts';
import type { PassphraseSource } from './passphrase.ts';
import { ensureKeyPair, generateKeyPair, loadSigningKey, signMessage } from './private-key.ts';
import { describeKey, parsePublicKey, policyKey } from './public-key.ts';
import { verifySignature } from './verify-signature.ts';

const fixtures = join(import.meta.dirname, '../evidence/fixtures/keys');
const words = (passphrase: string): PassphraseSource => ({ environment: { COSIGN_PASSWORD: passphrase } });
const message = Buffer.from('a message');
let folder = '';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trust-keys-'));
});
after(() => rm(folder, { recursive: true }));

test("reads cosign's encrypted key file and its plain SEC1 form as the same key", async () => {
  const encrypted = await loadSigningKey(join(fixtures, 'ecdsa-p256.key'), words('fixture'));
  const plain = await loadSigningKey(join(fixtures, 'ecdsa-p256.sec1.pem'), { environment: {} });
  const published = parsePublicKey('p', await readFile(join(fixtures, 'ecdsa-p256.pub'), 'utf8'));
  assert.equal(encrypted.public.spki, plain.public.spki);
  assert.equal('spki' in published ? published.spki : '', plain.public.spki);
});

test('a wrong passphrase is a clear error', async () => {
  await assert.rejects(
    loadSigningKey(join(fixtures, 'ecdsa-p256.key'), words('wrong')),
    /passphrase is wrong or the file is damaged.*TRUST_KEY_UNREADABLE/,
  );
});

test('an encrypted key without any passphrase source names the ways to give one', async () => {
  await assert.rejects(
    loadSigningKey(join(fixtures, 'ecdsa-p256.key'), { environment: {} }),
    /PORTCULLIS_PASSPHRASE.*TRUST_PASSPHRASE_MISSING/,
  );
});

test('a passphrase file takes precedence over the environment, and only its first line counts', async () => {
  const file = join(folder, 'words');
  await writeFile(file, 'fixture\nmore\n');
  await loadSigningKey(join(fixtures, 'ecdsa-p256.key'), { ...words('wrong'), file });
});

test('a public key given as the private key is reported as such', async () => {
  await assert.rejects(loadSigningKey(join(fixtures, 'ecdsa-p256.pub'), words('')), /name the private key/);
});

test('scrypt parameters that need too much memory are refused before they are used', async () => {
  const bomb = {
    kdf: { name: 'scrypt', params: { N: 2 ** 30, r: 8, p: 1 }, salt: 'AA==' },
    cipher: { name: 'nacl/secretbox', nonce: 'AA==' },
    ciphertext: 'AA==',
  };
  await assert.rejects(decryptCosignKey(Buffer.from(JSON.stringify(bomb)), ''), /scrypt parameters/);
});

test('a generated pair is encrypted, mode 0600, loads again, and is never overwritten', async () => {
  const prefix = join(folder, 'pair');
  const { privateFile, publicFile } = await generateKeyPair(prefix, words('open sesame'));
  assert.equal((await stat(privateFile)).mode & 0o777, 0o600);
  assert.match(await readFile(privateFile, 'utf8'), /^-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n/);
  const key = await loadSigningKey(privateFile, words('open sesame'));
  const published = parsePublicKey('pair.pub', await readFile(publicFile, 'utf8'));
  assert.ok('spki' in published && verifySignature(published, message, signMessage(key, message)));
  await assert.rejects(
    generateKeyPair(prefix, words('x')),
    (error) => isPortcullisError(error) && error.code === 'TRUST_KEY_EXISTS',
  );
});

test('a prefix without a name, such as a folder, is refused, so that no hidden files are written', async () => {
  for (const prefix of ['', `${folder}/`])
    await assert.rejects(generateKeyPair(prefix, words('x')), /does not end in a name; .*cosign/u);
});

test('a key that cannot be written is reported with the advice of the failed write', async () => {
  await assert.rejects(
    generateKeyPair(join(folder, 'none/cosign'), words('x')),
    /its folder does not exist; check that the folder exists.*TRUST_KEY_NOT_WRITTEN/u,
  );
});

test('a pair is completed after a run that wrote only its private key, and is then unchanged', async () => {
  const prefix = join(folder, 'halves');
  const { privateFile, publicFile } = await ensureKeyPair(prefix, words('open sesame'));
  const [made, published] = [await readFile(privateFile), await readFile(publicFile)];
  await rm(publicFile);
  await assert.rejects(ensureKeyPair(prefix, words('wrong')), /TRUST_KEY_UNREADABLE/);
  await ensureKeyPair(prefix, words('open sesame'));
  await ensureKeyPair(prefix, words('a whole pair needs no passphrase'));
  assert.deepEqual([await readFile(privateFile), await readFile(publicFile)], [made, published]);
  await rm(privateFile);
  await assert.rejects(ensureKeyPair(prefix, words('open sesame')), /TRUST_KEY_EXISTS/);
});

test('a new passphrase that a person types is asked for twice', async () => {
  const typing = (...words: string[]): PassphraseSource => ({
    environment: {},
    prompt: () => Promise.resolve(words.shift() ?? ''),
  });
  await generateKeyPair(join(folder, 'typed'), typing('one', 'one'));
  await loadSigningKey(join(folder, 'typed.key'), typing('one'));
  await assert.rejects(
    generateKeyPair(join(folder, 'mistyped'), typing('one', 'two', 'one', 'two', 'one', 'two', 'six', 'six')),
    /TRUST_PASSPHRASE_DIFFERS/,
  );
});

test('a person who mistypes a new passphrase is asked again, and told why', async () => {
  const typed = ['one', 'two', 'three', 'three'];
  const asked: string[] = [];
  const prompt = (question: string): Promise<string> => {
    asked.push(question);
    return Promise.resolve(typed.shift() ?? '');
  };
  const prefix = join(folder, 'retyped');
  await generateKeyPair(prefix, { environment: {}, prompt });
  assert.match(asked[2] ?? '', /^The two entries differ\.\nNew passphrase for /u);
  await loadSigningKey(`${prefix}.key`, words('three'));
});

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve });
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const rsaPss = generateKeyPairSync('rsa-pss', {
  modulusLength: 2048,
  hashAlgorithm: 'sha256',
  mgf1HashAlgorithm: 'sha256',
});
const p384 = ec('secp384r1');
const p521 = ec('secp521r1');
const ed25519 = generateKeyPairSync('ed25519');
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };

const signatures: readonly (readonly [
  name: string,
  publicKey: KeyObject,
  signature: Buffer,
  counts: boolean,
])[] = [
  ['P-384 over SHA-384, as cosign signs', p384.publicKey, sign('sha384', message, p384.privateKey), true],
  ['P-384 over SHA-256, as cosign verifies', p384.publicKey, sign('sha256', message, p384.privateKey), true],
  ['P-384 over SHA-1', p384.publicKey, sign('sha1', message, p384.privateKey), false],
  ['P-521 over SHA-512', p521.publicKey, sign('sha512', message, p521.privateKey), true],
  ['Ed25519', ed25519.publicKey, sign(null, message, ed25519.privateKey), true],
  ['RSA PKCS #1 v1.5', rsa.publicKey, sign('sha256', message, rsa.privateKey), true],
  ['RSA PKCS #1 v1.5 over SHA-1', rsa.publicKey, sign('sha1', message, rsa.privateKey), false],
  ['RSA PSS', rsa.publicKey, sign('sha256', message, { key: rsa.privateKey, ...pss }), true],
  ['RSASSA-PSS key', rsaPss.publicKey, sign('sha256', message, rsaPss.privateKey), true],
  ['an empty signature', p384.publicKey, Buffer.alloc(0), false],
  ['another key', p384.publicKey, sign('sha384', message, ec('secp384r1').privateKey), false],
];

for (const [name, publicKey, signature, counts] of signatures) {
  test(`${name} ${counts ? 'counts' : 'does not count'}`, () => {
    const key = policyKey('k', publicKey);
    assert.ok('spki' in key);
    assert.equal(verifySignature(key, message, signature), counts);
    assert.equal(verifySignature(key, Buffer.from('another message'), signature), false);
  });
}

const unusable: readonly (readonly [name: string, text: string, says: RegExp])[] = [
  ['a private key', rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), /private key/],
  [
    'RSA of 1024 bits',
    generateKeyPairSync('rsa', { modulusLength: 1024 })
      .publicKey.export({ type: 'spki', format: 'pem' })
      .toString(),
    /1024 bits/,
  ],
  ['secp256k1', ec('secp256k1').publicKey.export({ type: 'spki', format: 'pem' }).toString(), /secp256k1/],
  [
    'Ed448',
    generateKeyPairSync('ed448').publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    /ed448/,
  ],
  ['no PEM', 'hello', /not PEM/],
  ['half a block', '-----BEGIN PUBLIC KEY-----\nAAAA\n', /damaged/],
  ['another block', writePem('CERTIFICATE', Buffer.from('hello')), /"CERTIFICATE", not/],
  ['a block with headers', writePem('PUBLIC KEY', Buffer.from('hello'), { role: 'root' }), /headers/],
  ['a damaged block', writePem('PUBLIC KEY', Buffer.from('hello')), /not a readable public key/],
  [
    'two keys',
    `${rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString()}${p384.publicKey.export({ type: 'spki', format: 'pem' }).toString()}`,
    /2 PEM blocks/,
  ],
];

for (const [name, text, says] of unusable) {
  test(`refuses ${name} as a policy's key`, () => {
    const key = parsePublicKey('k', text);
    assert.match('problem' in key ? key.problem : '', says);
  });
}

test('reads a key after the parameters of its curve, as `openssl ecparam -genkey` writes it', async () => {
  const file = join(folder, 'ecparam.pem');
  const { privateKey } = ec('prime256v1');
  const block = privateKey.export({ type: 'sec1', format: 'pem' }).toString();
  const parameters = writePem('EC PARAMETERS', Buffer.from('06082a8648ce3d030107', 'hex'));
  await writeFile(file, parameters + block);
  assert.ok((await loadSigningKey(file, { environment: {} })).private.equals(privateKey));
  await writeFile(file, parameters);
  await assert.rejects(loadSigningKey(file, { environment: {} }), /it is not PEM/);
});

const short = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
const encryption = { cipher: 'aes-256-cbc', passphrase: 'fixture' } as const;
const unusablePrivate: readonly (readonly [name: string, text: string | Buffer, says: RegExp])[] = [
  [
    'an encrypted key that is too short',
    short.export({ type: 'pkcs8', format: 'pem', ...encryption }),
    /1024 bits/,
  ],
  ['a key that is too short', short.export({ type: 'pkcs8', format: 'pem' }), /1024 bits/],
  ['Ed448', generateKeyPairSync('ed448').privateKey.export({ type: 'pkcs8', format: 'pem' }), /ed448/],
  ['secp256k1', ec('secp256k1').privateKey.export({ type: 'sec1', format: 'pem' }), /secp256k1/],
  [
    "OpenSSL's older encryption",
    short.export({ type: 'pkcs1', format: 'pem', ...encryption }),
    /openssl pkcs8 -topk8/,
  ],
  ["SSH's form", writePem('OPENSSH PRIVATE KEY', Buffer.from('openssh-key-v1')), /ssh-keygen -p/],
  ['another block', writePem('DSA PRIVATE KEY', Buffer.from('hello')), /name a private key file/],
];
for (const [name, text, says] of unusablePrivate)
  test(`says why a private key cannot be used: ${name}`, async () => {
    const file = join(folder, 'unusable.key');
    await writeFile(file, text);
    await assert.rejects(loadSigningKey(file, words('fixture')), says);
  });

test('an RSA key in the form of PKCS #1 is the same key', () => {
  const read = parsePublicKey('k', rsa.publicKey.export({ type: 'pkcs1', format: 'pem' }).toString());
  assert.deepEqual(read, policyKey('k', rsa.publicKey));
});

for (const [name, options] of [
  ['with explicit parameters of its curve', { paramEncoding: 'explicit' }],
  ['of a named curve', {}],
] as const)
  test(`a private key ${name} has a public key that other tools read`, async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1', ...options });
    const file = join(folder, 'ec.pem');
    await writeFile(file, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const { public: key } = await loadSigningKey(file, { environment: {} });
    // Go's crypto/x509 reads this encoding of a P-256 key, and no other.
    assert.match(Buffer.from(key.spki, 'base64').toString('hex'), /^3059301306072a8648ce3d02/);
    assert.equal(verifySignature(key, message, sign('sha256', message, privateKey)), true);
  });

test('a key is described by name, algorithm and digest', () => {
  const key = policyKey('ci.pub', p384.publicKey);
  assert.match('spki' in key ? describeKey(key) : '', /^ci\.pub \(ECDSA P-384, sha256:[0-9a-f]{12}\)$/);
});
