import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import manifest from '../../package.json' with { type: 'json' };
import { commands } from '../../cli/commands.ts';
import { commandTree, withSubcommands } from '../../cli/completion/tree.ts';
import { configOptions } from '../../runtime/config/generate-reference.ts';
import { manualPages } from './pages.ts';
import { prose, roff } from './roff.ts';

const tree = await commandTree(commands);
const pages = manualPages(tree, { ...manifest, date: '2026-01-02' });
const groff = spawnSync('groff', ['--version']).status === 0 ? false : 'no groff: apt-get install groff';

/** Returns the text of a page on a terminal of 100 columns, and what groff warns about. */
function shown(text: string): { readonly text: string; readonly warnings: string } {
  const { stdout, stderr } = spawnSync(
    'groff',
    ['-man', '-ww', '-Tascii', '-P-c', '-P-b', '-P-u', '-rLL=100n'],
    { input: text, encoding: 'utf8' },
  );
  return { text: stdout, warnings: stderr };
}

test('there is a page for the program, each command, the daemon and its configuration', () => {
  const paths = pages.map(({ path }) => path);
  assert.deepEqual(paths.slice(-2), ['man8/portcullisd.8', 'man5/portcullis-config.5']);
  for (const { words } of tree) assert.ok(paths.includes(`man1/portcullis-${words.join('-')}.1`));
});

test('a page is ASCII, and begins with its heading', () => {
  for (const { path, text } of pages) {
    assert.match(text, /^[\n -~]*$/u, path);
    assert.match(
      text,
      /^\.TH PORTCULLIS[A-Z-]* [158] 2026-01-02 "portcullis \d+\.\d+\.\d+" Portcullis\n/u,
      path,
    );
  }
});

test('groff formats every page without a warning', { skip: groff }, () => {
  for (const { path, text } of pages) assert.equal(shown(text).warnings, '', path);
});

test('a page shows every subcommand and option, and the examples, as they are typed', { skip: groff }, () => {
  for (const node of tree) {
    const page = pages.find(({ path }) => path === `man1/portcullis-${node.words.join('-')}.1`);
    const { text } = shown(page?.text ?? '');
    for (const { words, options } of withSubcommands(node)) {
      assert.ok(text.includes(`portcullis ${words.join(' ')}`), words.join(' '));
      for (const name of options.flatMap(({ names }) => names))
        assert.ok(text.includes(name), `${words.join(' ')} ${name}`);
    }
  }
  const sign = shown(pages.find(({ path }) => path === 'man1/portcullis-sign.1')?.text ?? '').text;
  assert.match(sign, /^ {9}\$ portcullis sign registry\.example\.com\/team\/app:1 --key cosign\.key$/mu);
});

test('the page of the configuration has every option', { skip: groff }, () => {
  const { text } = shown(pages.at(-1)?.text ?? '');
  const words = text.replaceAll(/\s+/gu, ' ');
  for (const { name } of configOptions()) assert.ok(words.includes(name), name);
});

test('text is escaped', () => {
  assert.equal(roff(".so /etc/passwd\n.x 'a' \\n"), '\\&.so /etc/passwd\n\\&.x \\(aqa\\(aq \\en');
  assert.equal(roff('’…'), '\\[u2019]...');
  assert.equal(prose('set `a-b` here'), 'set \\fBa\\-b\\fR here');
});
