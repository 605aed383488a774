import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { textFile } from '../archives/files.ts';
import { signRelease } from '../deb/sign-release.ts';
import { gpgFiles, requireAptSignatures } from './apt-signatures.ts';

const skip = spawnSync('gpg', ['--version']).status === 0 ? false : 'needs gpg';

describe('the signatures of the apt repository of a release', { skip }, () => {
  const outer = process.env['GNUPGHOME'];
  let folder = '';
  const at = (path: string): string => join(folder, path);
  const release = textFile('dists/stable/Release', 'Suite: stable\n- dash\nSHA256:\n 00 1 main\n');
  let signed: ReturnType<typeof signRelease> = [];

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-apt-'));
    mkdirSync(at('gnupg'), { mode: 0o700 });
    process.env['GNUPGHOME'] = at('gnupg');
    const words = ['--batch', '--passphrase', '', '--quick-generate-key', 'a@example.com', 'ed25519', 'sign'];
    assert.equal(spawnSync('gpg', words).status, 0);
    signed = signRelease([release], 'a@example.com');
  });
  after(() => {
    spawnSync('gpgconf', ['--kill', 'all']);
    if (outer === undefined) delete process.env['GNUPGHOME'];
    else process.env['GNUPGHOME'] = outer;
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(() => {
    for (const { path, content } of [release, ...signed]) {
      mkdirSync(dirname(at(`apt/${path}`)), { recursive: true });
      if ('bytes' in content) writeFileSync(at(`apt/${path}`), content.bytes);
    }
  });

  it('are valid as gpg wrote them', () => {
    assert.doesNotThrow(() => requireAptSignatures(folder));
  });

  it('may be missing', () => {
    for (const path of gpgFiles) rmSync(at(path));
    assert.doesNotThrow(() => requireAptSignatures(folder));
  });

  for (const path of gpgFiles) {
    it(`are not valid if one byte in ${path} is changed`, () => {
      const bytes = readFileSync(at(path));
      const middle = bytes.length >> 1;
      bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
      writeFileSync(at(path), bytes);
      assert.throws(() => requireAptSignatures(folder), /is not valid/u);
    });

    it(`are not complete without ${path}`, () => {
      rmSync(at(path));
      assert.throws(() => requireAptSignatures(folder), { message: `${path} is missing` });
    });
  }

  it('are not valid for another Release', () => {
    writeFileSync(at('apt/dists/stable/Release'), 'Suite: other\n');
    assert.throws(() => requireAptSignatures(folder), /Release\.gpg is not valid/u);
  });
});
