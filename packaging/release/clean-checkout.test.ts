import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { requireCleanCheckout } from './clean-checkout.ts';

describe('the checkout of a release', () => {
  let folder = '';
  const git = (...words: readonly string[]): void => {
    const author = ['-c', 'user.name=release', '-c', 'user.email=release@example.com'];
    execFileSync('git', ['-C', folder, ...author, ...words], { stdio: 'pipe' });
  };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-clean-'));
    git('init', '--quiet');
    writeFileSync(join(folder, '.gitignore'), 'dist/\n');
    writeFileSync(join(folder, 'source.ts'), '1;\n');
    git('add', '--all');
    git('commit', '--quiet', '--no-verify', '--message', 'Add');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is accepted if it equals its commit', () => {
    assert.doesNotThrow(() => requireCleanCheckout(folder));
  });

  it('is refused with a changed file', () => {
    writeFileSync(join(folder, 'source.ts'), '2;\n');
    assert.throws(() => requireCleanCheckout(folder), /source\.ts differ from the commit/u);
  });

  it('is refused with a new file', () => {
    writeFileSync(join(folder, 'new.ts'), '');
    writeFileSync(join(folder, 'other.ts'), '');
    assert.throws(() => requireCleanCheckout(folder), /new\.ts and 1 other files differ/u);
  });

  it('is refused with a staged change', () => {
    writeFileSync(join(folder, 'source.ts'), '2;\n');
    git('add', '--all');
    assert.throws(() => requireCleanCheckout(folder), /source\.ts/u);
  });

  it('is refused if it is not a git repository', () => {
    rmSync(join(folder, '.git'), { recursive: true });
    assert.throws(() => requireCleanCheckout(folder), /not a git repository/u);
  });
});
