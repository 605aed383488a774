import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { document } from '../cve/document.ts';
import { sections } from '../cve/table.ts';

const root = join(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const rows = sections.flatMap(({ rows: some }) => some);
const ids = rows.map(({ id }) => id);

describe('the table of published flaws', () => {
  it('has a row for each id of the lists, and no id twice', () => {
    const listed = ['published.txt', 'ways-in.txt'].map((file) =>
      read(`test/cve/${file}`)
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#')),
    );
    const [published = [], waysIn = []] = listed;
    assert.ok(published.length > 100);
    assert.ok(waysIn.length > 30);
    assert.deepEqual(
      listed.flat().filter((id) => !ids.includes(id)),
      [],
    );
    assert.deepEqual(
      ids.filter((id, index) => ids.indexOf(id) !== index),
      [],
    );
  });

  it('has a row for each flaw that product code names', () => {
    // entitlements/cve has a separate list: it evaluates profiles against attacks on the kernel.
    const found = execFileSync(
      'git',
      [
        'grep',
        '-hoE',
        '(CVE-[0-9]{4}-[0-9]{4,}|GHSA(-[a-z0-9]{4}){3})',
        '--',
        '*.ts',
        ':!test/cve',
        ':!entitlements/cve',
        ':!cli/entitlements',
      ],
      { cwd: root, encoding: 'utf8' },
    );
    const elsewhere = ['GHSA-4q85-33p6-j5g6'];
    const named = [...new Set(found.trim().split('\n'))].filter((id) => !elsewhere.includes(id));
    assert.ok(named.length > 20);
    assert.deepEqual(
      named.filter((id) => !ids.includes(id)),
      [],
    );
  });

  it('names either tests or a reason for each row', () => {
    const wrong = rows.filter(({ held = [], absent = '' }) => held.length > 0 === absent.length > 0);
    assert.deepEqual(wrong, []);
  });

  it('names only tests that exist', () => {
    const missing = rows.flatMap(({ id, held = [] }) =>
      held
        .filter(([file, name]) => !existsSync(join(root, file)) || !isTest(read(file), name))
        .map((test) => [id, ...test].join(' | ')),
    );
    assert.deepEqual(missing, []);
  });

  it('distinguishes a test from other text', () => {
    assert.ok(isTest("it('a name', () => 1);", 'a name'));
    assert.ok(isTest('  test(\n    `a ${name}`, () => 1)', 'a ${name}'));
    assert.ok(isTest("it.skip('x'); describe('it’s', () => {", 'it’s'));
    for (const text of [
      "// it('a name')x",
      "it('a name and more', f)",
      "const a = 'a name';",
      "it('other', () => f('a name'))",
      "it.skip('a name', f)",
    ])
      assert.ok(!isTest(text, 'a name'), text);
  });

  it('equals docs/security-advisories.md: `npm run advisories:update`', () => {
    const plain = (text: string): string => text.replace(/ *\| */g, '|').replace(/-{3,}/g, '---');
    assert.equal(plain(read('docs/security-advisories.md')), plain(document()));
  });
});

/** Returns whether a test file contains a test that runs and has this title, as the source writes it. */
function isTest(source: string, name: string): boolean {
  const quoted = [`'${name.replaceAll("'", "\\'")}'`, `\`${name}\``, `"${name}"`];
  return quoted.some((text) => {
    for (let at = source.indexOf(text); at >= 0; at = source.indexOf(text, at + 1)) {
      const before = source.slice(Math.max(0, at - 80), at);
      if (
        /(?:^|\n)(?!\s*\/\/)[^\n]*\b(?:test|it|describe)\(\s*$/.test(before) &&
        /^\s*,/.test(source.slice(at + text.length))
      )
        return true;
    }
    return false;
  });
}
