import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createAuthority, rootExtensions, signerExtensions } from '../notation/fixtures/authority.ts';
import type { Issued } from '../notation/fixtures/authority.ts';
import { readCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { findPath } from './path.ts';

const codeSigning = '1.3.6.1.5.5.7.3.3';
const folder = mkdtempSync(join(tmpdir(), 'x509-path-'));
after(() => rmSync(folder, { recursive: true }));
const authority = createAuthority(folder);
const read = ({ certificate }: Issued): Certificate => readCertificate(new X509Certificate(readFileSync(certificate)).raw);
const root = authority.issue('root', { extensions: rootExtensions });

const rows: readonly (readonly [what: string, usage: readonly string[], fits: boolean])[] = [
  ['says nothing of its use', [], true],
  ['may issue for code signing', ['extendedKeyUsage=codeSigning'], true],
  ['may issue for any use', ['extendedKeyUsage=anyExtendedKeyUsage'], true],
  ['may issue for time stamps alone', ['extendedKeyUsage=timeStamping'], false],
  ['may issue for servers and clients', ['extendedKeyUsage=serverAuth,clientAuth'], false],
];
for (const [index, [what, usage, fits]] of rows.entries()) {
  test(`below an authority that ${what} a certificate for code signing ${fits ? 'counts' : 'does not count'}`, () => {
    const middle = authority.issue(`middle-${index}`, { extensions: [...rootExtensions, ...usage], by: root });
    const leaf = authority.issue(`leaf-${index}`, { extensions: [...signerExtensions], by: middle });
    const found = findPath(read(leaf), { anchors: [read(root)], intermediates: [read(middle)] }, [], codeSigning);
    assert.equal('path' in found, fits, JSON.stringify('problem' in found ? found.problem : ''));
    if ('problem' in found) assert.match(found.problem, /for another use/);
  });
}
