import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { dearmor } from '../../gpg/armor.ts';
import type { ImportedPolicy } from '../mapping/imported.ts';
import { importContainersPolicy } from './import.ts';

const { privateKey, publicKey } = generateKeyPairSync('ec', {
  namedCurve: 'P-256',
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});
const gpgKey = dearmor(readFileSync(join(import.meta.dirname, '../../gpg/fixtures/rsa2048.asc')));
/** A packet of a secret subkey (RFC 9580, section 5.5.1.4). */
const secretSubkey = Buffer.from([0xc7, 4, 4, 0, 0, 0]);
const gpgSecret = `-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlFgEaw4VHRYJ\n-----END PGP PRIVATE KEY BLOCK-----\n`;
const base64 = (content: string | Buffer): string => Buffer.from(content).toString('base64');
const gpg = { type: 'signedBy', keyType: 'GPGKeys' };
const sigstore = { type: 'sigstoreSigned' };

function importOf(requirement: object, registries?: string): Promise<ImportedPolicy> {
  const text = JSON.stringify({
    default: [{ type: 'reject' }],
    transports: { docker: { 'r.example/a': [requirement] } },
  });
  return importContainersPolicy({
    policyJson: { file: 'policy.json', text },
    directory: tmpdir(),
    ...(registries === undefined ? {} : { registriesD: [{ file: 'default.yaml', text: registries }] }),
  });
}

const contained: readonly (readonly [what: string, requirement: object])[] = [
  ['keyData', { ...sigstore, keyData: base64(privateKey) }],
  ['the second of keyDatas', { ...sigstore, keyDatas: [base64(publicKey), base64(privateKey)] }],
  ['rekorPublicKeyData', { ...sigstore, keyData: base64(publicKey), rekorPublicKeyData: base64(privateKey) }],
  ['caRootsData', { ...sigstore, pki: { caRootsData: base64(privateKey), subjectEmail: 'a@b' } }],
  ['armor of GPG', { ...gpg, keyData: base64(gpgSecret) }],
  ['a ring of public keys', { ...gpg, keyData: base64(Buffer.concat([gpgKey, secretSubkey])) }],
];
for (const [what, requirement] of contained)
  test(`a private key in ${what} denies its scope, and is in no file of the imported policy`, async () => {
    const { files, rules, unmapped } = await importOf(requirement);
    assert.deepEqual(files, []);
    assert.equal(typeof rules[0]?.rule['deny'], 'string');
    assert.equal(unmapped.length, 1);
  });

test('only the keys that rules name are files of the imported policy', async () => {
  const key = base64(publicKey);
  const { files } = await importOf({ ...sigstore, keyData: key, rekorPublicKeyData: key });
  assert.deepEqual(files.map(({ name }) => name.replace(/^imported-[0-9a-f]+/u, '')).sort(), [
    '.pub',
    '.trusted-root.json',
  ]);
});

const named: readonly (readonly [what: string, requirement: object, secret: RegExp])[] = [
  ['keyPath', { ...sigstore, keyPath: privateKey }, /PRIVATE KEY/u],
  ['keyPath, in base64', { ...sigstore, keyPath: base64(privateKey) }, /LS0tLS1C/u],
  ['keyPaths of GPG', { ...gpg, keyPaths: [gpgSecret] }, /PRIVATE KEY/u],
];
for (const [what, requirement, secret] of named)
  test(`the text of a key in ${what} denies its scope, and is not repeated`, async () => {
    const { files, rules, unmapped } = await importOf(requirement);
    assert.deepEqual(files, []);
    assert.doesNotMatch(JSON.stringify([rules, unmapped]), secret);
    assert.match(unmapped[0]?.why ?? '', /text of a key or certificate/u);
  });

test('the password in the address of a lookaside is not repeated', async () => {
  const registries = 'default-docker: { lookaside: "https://user:words@sigs.example/a" }';
  const { rules, unmapped } = await importOf({ ...gpg, keyData: base64(gpgKey) }, registries);
  assert.doesNotMatch(JSON.stringify([rules, unmapped]), /words/u);
  assert.match(unmapped[0]?.why ?? '', /sigs\.example\/a cannot be used/u);
});

const unusual = [
  'https://user:wor/ds@sigs.example/a',
  'https://user:wor#ds@sigs.example/a',
  'https://user:wor?ds@sigs.example/a',
  'https:/user:words@sigs.example/a',
  'https:user:words@sigs.example/a',
  'https://sigs.example/a?token=words',
];
for (const lookaside of unusual)
  test(`no secret of the lookaside ${lookaside} is repeated`, async () => {
    const registries = `default-docker: { lookaside: "${lookaside}" }`;
    const { rules, unmapped } = await importOf({ ...gpg, keyData: base64(gpgKey) }, registries);
    assert.doesNotMatch(JSON.stringify([rules, unmapped]), /user:|words|wor\W|ds@/u);
    assert.match(unmapped[0]?.why ?? '', /sigs\.example\/a.* cannot be used/u);
  });
