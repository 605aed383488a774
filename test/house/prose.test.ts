import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { gates } from './gates.ts';
import { lintProse, proseFiles } from './prose.ts';
import { replacedWords } from './prose-words.ts';

const messagesIn = async (path: string, text: string): Promise<string[]> =>
  (await lintProse(path, text)).map(({ message }) => message);

describe('the prose linter', () => {
  for (const { pattern, write, reported, fine, opens } of replacedWords)
    it(`reports /${pattern}/: write ${write}`, async () => {
      const path = opens === 'comment' ? 'a.ts' : 'a.md';
      const [message, ...others] = await messagesIn(path, reported);
      assert.deepEqual([message?.endsWith(`: write ${write}`), others], [true, []]);
      if (fine !== undefined) assert.deepEqual(await messagesIn(path, fine), []);
    });

  it('finds a phrase in each text of a source, with its place', async () => {
    const source = [
      '/**',
      ' * It can',
      ' * not start.',
      ' */',
      'export const a = /can not `/; // It is told.',
      "it('starts anew', () => {});",
      'throw new Error(`${name} can not ${verb(`a b can ${x} not`)} unless told`);',
      "const b = { 'why': 'it stands at the door' /* at hand */ };",
      '// Of two,',
      '// the second.',
      '/*',
      ' * What follows',
      ' * What is left.',
      ' */ // What it is.',
    ].join('\n');
    assert.deepEqual(
      (await lintProse('x/a.ts', source)).map(
        ({ place, message }) => `${place} ${message.split('": ')[0] ?? ''}`,
      ),
      [
        'x/a.ts:2:7 "can not',
        'x/a.ts:5:37 "is told',
        'x/a.ts:6:12 "anew',
        'x/a.ts:7:26 "can not',
        'x/a.ts:7:62 "unless told',
        'x/a.ts:8:24 "stands at',
        'x/a.ts:8:47 "at hand',
        'x/a.ts:9:4 "Of',
        'x/a.ts:12:4 "What',
        'x/a.ts:14:8 "What',
      ],
    );
  });

  it('finds a phrase in each text of a document, also over two lines and in a table', async () => {
    const document =
      '# It can not\n\nIt can\nnot.\n\n| a | b |\n| --- | --- |\n| can not | c |\n\n- [can not](x.md)\n';
    const places = (await lintProse('a.md', document)).map(({ place }) => place);
    assert.deepEqual(places, ['a.md:1:6', 'a.md:3:4', 'a.md:8:3', 'a.md:10:4']);
  });

  it('leaves code and values alone', async () => {
    assert.deepEqual(await messagesIn('a.md', 'Run `can not`.\n\n```sh\necho can not\n```\n'), []);
    const source = [
      '/** The column `a realm`, and {@link of nobody}. */',
      "db.exec('UPDATE lease SET the realm = 1');",
      "const desk = 'unwell';",
    ].join('\n');
    assert.deepEqual(await messagesIn('a.ts', source), []);
  });

  it('reads all documents and sources', () => {
    const files = proseFiles();
    for (const file of [
      'README.md',
      'docs/policy.md',
      'base/errors/README.md',
      'cli/main.ts',
      'docs/examples/push-image.mjs',
    ])
      assert.ok(files.includes(file), file);
    assert.ok(!files.some((file) => file.includes('node_modules/')));
  });

  it('is a gate, which fails for a file with such a phrase', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-prose-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'a.ts');
    writeFileSync(file, '// It can not start.\n');
    const command = gates.find(({ name }) => name === 'prose')?.command() ?? [];
    const run = (path: string) => spawnSync(process.execPath, [...command, path], { encoding: 'utf8' });
    const { status, stdout } = run(file);
    assert.deepEqual([status, stdout], [1, `${file}:1:7: "can not": write "cannot"\n`]);
    writeFileSync(file, '// It cannot start.\n');
    assert.equal(run(file).status, 0);
  });
});
