import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { untracked, writtenInto } from './checkout.ts';

describe('the check for files that tests write into the checkout', () => {
  let folder = '';
  let clean: string[] = [];
  const write = (path: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), `${path}\n`);
  };
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-checkout-'));
    const git = (...args: string[]): string =>
      execFileSync('git', ['-C', folder, ...args], { encoding: 'utf8' });
    git('init', '--quiet');
    write('tracked.txt');
    writeFileSync(join(folder, '.gitignore'), 'node_modules/\ndist/\ncoverage/\n*.log\n');
    git('add', '.');
    git('-c', 'user.name=test', '-c', 'user.email=test@localhost', 'commit', '--quiet', '--message', 'first');
    // A change of the developer, before the run.
    write('draft/mine.ts');
    clean = untracked(folder);
  });
  after(() => rmSync(folder, { recursive: true }));

  it('reports nothing for the known outputs, and for changes from before the run', () => {
    for (const path of ['dist/portcullis.js', 'coverage/report', 'node_modules/.cache/compiled']) write(path);
    assert.deepEqual(clean, ['?? draft/mine.ts']);
    assert.deepEqual(writtenInto(folder, clean), []);
  });

  for (const path of ['32Mi/results/net-c1-eth0', 'draft/written.ts', 'audit.log', 'a b/ö.txt'])
    it(`reports ${path}`, () => {
      write(path);
      assert.deepEqual(writtenInto(folder, clean), [path]);
      rmSync(join(folder, path));
    });

  it('reports a tracked file that was changed', () => {
    writeFileSync(join(folder, 'tracked.txt'), 'changed\n');
    assert.deepEqual(writtenInto(folder, clean), ['tracked.txt']);
  });
});
