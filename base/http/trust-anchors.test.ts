import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { getCACertificates } from 'node:tls';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { trustAnchorsOf } from './trust-anchors.ts';

describe('the system’s authorities', () => {
  let folder = '';
  let [one, two] = ['', ''];
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-anchors-'));
    one = readFileSync(makeCertificate(folder, 'one').certificate, 'utf8').trim();
    two = readFileSync(makeCertificate(folder, 'two').certificate, 'utf8').trim();
  });
  after(() => rmSync(folder, { recursive: true }));

  /** Creates a store, and returns the trusted certificates and the warnings. */
  function store(name: string, files: Readonly<Record<string, string>>) {
    const path = join(folder, name);
    mkdirSync(path);
    const write = (file: string, text: string): void => writeFileSync(join(path, file), text);
    for (const [file, text] of Object.entries(files)) write(file, text);
    const warnings: string[] = [];
    const environment = { SSL_CERT_FILE: join(path, 'bundle.pem'), SSL_CERT_DIR: path };
    const anchors = trustAnchorsOf(environment, (message) => warnings.push(message), 0);
    return {
      path,
      write,
      warnings,
      read: async () => [...(await anchors.current()).certificates].sort(),
      id: async () => (await anchors.current()).id,
    };
  }

  it('are read from a file and folders, each once, without those that Node has', async () => {
    const { path, read, warnings } = store('good', {
      'bundle.pem': `# a comment\n${one}\n${one}\n`,
      'node.pem': getCACertificates('default')[0] ?? '',
      'two.pem': `${two}\n`,
    });
    symlinkSync('two.pem', join(path, 'abcdef12.0'));
    symlinkSync('.', join(path, 'loop'));
    symlinkSync('nowhere', join(path, 'dangling'));
    assert.deepEqual(await read(), [one, two].sort());
    assert.deepEqual(warnings, []);
  });

  it('that cannot be read are left out with one warning each, and the others are used', async () => {
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    const { read, warnings } = store('broken', {
      'bundle.pem': `${broken}${one}\n`,
      'cut.pem': `${two}\n${one.slice(0, 100)}`,
      'noise.pem': 'noise',
      'empty.pem': '',
      'huge.pem': 'x'.repeat(9 << 20),
    });
    assert.deepEqual(await read(), [one, two].sort());
    assert.deepEqual(await read(), [one, two].sort());
    assert.equal(warnings.length, 3, warnings.join('\n'));
    assert.match(warnings.join('\n'), /bundle\.pem.*cannot be read/u);
    assert.match(warnings.join('\n'), /cut\.pem.*cannot be read/u);
    assert.match(warnings.join('\n'), /huge\.pem.*larger than/u);
  });

  it('are read again when files change, also in place', async () => {
    const { write, read, id } = store('changing', { 'bundle.pem': `${one}\n` });
    const first = await id();
    assert.equal(await id(), first);
    write('bundle.pem', `${two}\n`);
    assert.deepEqual(await read(), [two]);
    assert.notEqual(await id(), first);
    write('more.pem', `${one}\n`);
    assert.deepEqual(await read(), [one, two].sort());
  });

  it('are empty if no file exists', async () => {
    const warnings: string[] = [];
    const anchors = trustAnchorsOf({ SSL_CERT_FILE: '/absent/file', SSL_CERT_DIR: '/absent:' }, (message) =>
      warnings.push(message),
    );
    assert.deepEqual((await anchors.current()).certificates, []);
    assert.equal(warnings.length, 1);
  });
});
