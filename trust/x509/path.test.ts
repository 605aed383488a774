import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createAuthority, p256, rootExtensions, signerExtensions } from '../notation/fixtures/authority.ts';
import type { Issued } from '../notation/fixtures/authority.ts';
import { readCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { authorityExtensions, buildCertificate } from './fixtures/build-certificate.ts';
import type { Built } from './fixtures/build-certificate.ts';
import { findPath } from './path.ts';

const codeSigning = '1.3.6.1.5.5.7.3.3';
const folder = mkdtempSync(join(tmpdir(), 'x509-path-'));
after(() => rmSync(folder, { recursive: true }));
const authority = createAuthority(folder);
const read = ({ certificate }: Issued): Certificate =>
  readCertificate(new X509Certificate(readFileSync(certificate)).raw);
const root = authority.issue('root', { extensions: rootExtensions });

const rows: readonly (readonly [what: string, usage: readonly string[], fits: boolean])[] = [
  ['states no use', [], true],
  ['may issue for code signing', ['extendedKeyUsage=codeSigning'], true],
  ['may issue for any use', ['extendedKeyUsage=anyExtendedKeyUsage'], true],
  ['may issue for time stamps alone', ['extendedKeyUsage=timeStamping'], false],
  ['may issue for servers and clients', ['extendedKeyUsage=serverAuth,clientAuth'], false],
];
for (const [index, [what, usage, fits]] of rows.entries()) {
  test(`below an authority that ${what} a certificate for code signing ${fits ? 'counts' : 'does not count'}`, () => {
    const middle = authority.issue(`middle-${index}`, {
      extensions: [...rootExtensions, ...usage],
      by: root,
    });
    const leaf = authority.issue(`leaf-${index}`, { extensions: [...signerExtensions], by: middle });
    const found = findPath(
      read(leaf),
      { anchors: [read(root)], intermediates: [read(middle)] },
      [],
      codeSigning,
    );
    assert.equal('path' in found, fits, JSON.stringify('problem' in found ? found.problem : ''));
    if ('problem' in found) assert.match(found.problem, /for another use/);
  });
}

test('of several authorities with one name, the problem is that of the one that has issued the certificate', () => {
  const named = { extensions: [...rootExtensions, 'extendedKeyUsage=timeStamping'], subject: '/CN=renewed' };
  const former = authority.issue('former', named);
  const renewed = authority.issue('renewed', { ...named, extensions: rootExtensions });
  const leaf = read(authority.issue('below-former', { extensions: [...signerExtensions], by: former }));
  const roots = [read(former), read(renewed)];
  for (const anchors of [roots, roots.toReversed()]) {
    const found = findPath(leaf, { anchors, intermediates: [] }, [], codeSigning);
    assert.match('problem' in found ? found.problem : '', /for another use/);
  }
});

/** Creates a certificate of version 1, which openssl writes when no extension is requested. */
function firstVersion(name: string, by?: Issued): Issued {
  const issued = { name, key: join(folder, `${name}.key`), certificate: join(folder, `${name}.crt`) };
  authority.openssl('genpkey', ...p256, '-out', issued.key);
  authority.openssl(
    'req',
    '-new',
    '-config',
    'ca.cnf',
    '-key',
    issued.key,
    '-subj',
    `/CN=${name}`,
    '-out',
    `${name}.csr`,
  );
  const issuing =
    by === undefined
      ? ['-signkey', issued.key]
      : ['-CA', by.certificate, '-CAkey', by.key, '-CAcreateserial'];
  authority.openssl(
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    ...issuing,
    '-days',
    '2',
    '-out',
    issued.certificate,
  );
  return issued;
}

test('a version 1 certificate can be a trusted root, but neither an intermediate authority nor an issuing leaf', () => {
  const old = firstVersion('old-root');
  const leaf = authority.issue('below-old', { extensions: [...signerExtensions], by: old });
  assert.equal(read(old).version, 1);
  assert.ok(
    'path' in findPath(read(leaf), { anchors: [read(old)], intermediates: [] }, [Date.now()], codeSigning),
  );
  const between = firstVersion('old-between', root);
  const below = authority.issue('below-between', { extensions: [...signerExtensions], by: between });
  const found = findPath(
    read(below),
    { anchors: [read(root)], intermediates: [read(between)] },
    [Date.now()],
    codeSigning,
  );
  assert.match('problem' in found ? found.problem : '', /not belong to an authority/);
  // Version 3 can state it.
  const silent = authority.issue('silent-root', { extensions: ['subjectKeyIdentifier=hash'] });
  const belowSilent = authority.issue('below-silent', { extensions: [...signerExtensions], by: silent });
  assert.ok(
    'problem' in
      findPath(read(belowSilent), { anchors: [read(silent)], intermediates: [] }, [Date.now()], codeSigning),
  );
});

test('finds the path through authorities that certify each other', () => {
  const extensions = authorityExtensions();
  const top = buildCertificate('top', { extensions });
  const authorities = ['a', 'b', 'c', 'd'].map((name) => buildCertificate(name, { extensions }));
  const certify = ({ spki, subject }: Built, by: Built): Certificate =>
    readCertificate(buildCertificate('', { extensions, by, subject, spki: () => spki }).der);
  const crossed = authorities.flatMap((one) =>
    authorities.filter((other) => other !== one).map((other) => certify(one, other)),
  );
  const [first = assert.fail()] = authorities;
  const last = authorities.at(-1) ?? assert.fail();
  const intermediates = [...crossed, certify(last, top)];
  const leaf = readCertificate(buildCertificate('leaf', { by: first }).der);
  const found = findPath(leaf, { anchors: [readCertificate(top.der)], intermediates }, []);
  assert.ok('path' in found, JSON.stringify(found));
});

test('finds the path through an authority that has certified its new key with its old key', () => {
  const extensions = authorityExtensions();
  const old = buildCertificate('authority', { extensions });
  const renewed = buildCertificate('authority', { extensions, by: old });
  const leaf = readCertificate(buildCertificate('leaf', { by: renewed }).der);
  const at = { anchors: [readCertificate(old.der)], intermediates: [readCertificate(renewed.der)] };
  const found = findPath(leaf, at, []);
  assert.ok('path' in found, JSON.stringify(found));
});

const rsa = ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'];
const pssRows: readonly (readonly [options: string, accepted: boolean])[] = [
  ['sha256 32', true],
  ['sha384 48', true],
  ['sha512 64', true],
  ['sha256 20', false],
  ['sha1 20', false],
  ['sha256 32 sha1', false],
];
test('a signature by RSA-PSS counts with the digest of its mask and a salt as long as the digest, as for Go', () => {
  const issuer = authority.issue('pss-root', { extensions: rootExtensions, algorithm: rsa });
  for (const [index, [options, accepted]] of pssRows.entries()) {
    const [hash = '', salt = '', mask = hash] = options.split(' ');
    const name = `pss-${index}`;
    authority.openssl('genpkey', ...p256, '-out', `${name}.key`);
    authority.openssl(
      'req',
      '-new',
      '-config',
      'ca.cnf',
      '-key',
      `${name}.key`,
      '-subj',
      `/CN=${name}`,
      '-out',
      `${name}.csr`,
    );
    writeFileSync(join(folder, 'leaf.ext'), signerExtensions.join('\n'));
    const pss = ['rsa_padding_mode:pss', `rsa_pss_saltlen:${salt}`, `rsa_mgf1_md:${mask}`].flatMap((one) => [
      '-sigopt',
      one,
    ]);
    const by = ['-CA', issuer.certificate, '-CAkey', issuer.key, '-CAcreateserial', '-extfile', 'leaf.ext'];
    authority.openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      ...by,
      `-${hash}`,
      ...pss,
      '-days',
      '2',
      '-out',
      `${name}.crt`,
    );
    const leaf = read({ name, key: '', certificate: join(folder, `${name}.crt`) });
    const found = findPath(leaf, { anchors: [read(issuer)], intermediates: [] }, [Date.now()], codeSigning);
    assert.equal('path' in found, accepted, options);
    const changed = Buffer.from(leaf.raw);
    changed[changed.length - 9] = (changed.at(-9) ?? 0) ^ 1;
    assert.ok(
      'problem' in
        findPath(
          readCertificate(changed),
          { anchors: [read(issuer)], intermediates: [] },
          [Date.now()],
          codeSigning,
        ),
    );
  }
});
