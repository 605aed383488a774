import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { table } from './table.ts';
import { paperFor, pieces, textWidth, tree } from './terminal.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const header = ['IMAGE', 'ID', 'SIZE', 'VERIFIED'];
const rows = [
  [`registry.example.com/payments/backend/settlement@${digest}`, 'aaaaaaaaaaaaa', '12.3 MB', 'yes'],
  ['app:1', 'bbbbbbbbbbbbb', '1.2 MB', 'no'],
];

describe('a table', () => {
  it('fits 80 columns, and loses no character', () => {
    const text = table(header, rows, 80);
    for (const line of text.split('\n')) assert.ok(textWidth(line) <= 80, line);
    const first = text.split('\n').slice(1, -2);
    assert.equal(first.map((line) => line.slice(0, 46).trim()).join(''), rows[0]?.[0]);
    assert.match(text, /^app:1 +bbbbbbbbbbbbb {2}1\.2 MB +no$/mu);
  });

  it('is not changed for a program, or if it fits', () => {
    const wide = table(header, rows, Number.POSITIVE_INFINITY);
    assert.equal(wide.split('\n').length, 4);
    assert.equal(table(header, rows, 200), wide);
    assert.equal(table(header, rows), wide);
  });

  it('aligns wide and combining characters', () => {
    const text = table(
      ['NAME', 'STATE'],
      [
        ['支付', 'ready'],
        ['cafe\u0301', 'ready'],
        ['web1', 'ready'],
      ],
      80,
    );
    const starts = text
      .trimEnd()
      .split('\n')
      .map((line) => textWidth(line.slice(0, line.search(/STATE|ready/u))));
    assert.deepEqual(starts, [6, 6, 6, 6]);
  });

  it('breaks no id and no word as long as other columns can be narrowed', () => {
    const text = table(
      ['CONTAINER', 'IMAGE', 'AGE', 'STATE', 'NAME', 'ATTEMPT', 'POD', 'NAMESPACE/POD'],
      [
        [
          '93cac7c7faf6d',
          '127.0.0.1:5057/shop/web:1',
          '3s',
          'in process',
          'web',
          '0',
          '4159f7c2ede70',
          'default/web',
        ],
      ],
      80,
    );
    for (const line of text.split('\n')) assert.ok(textWidth(line) <= 80, line);
    assert.match(text, /^CONTAINER .*\n(?:.*\n)*93cac7c7faf6d /u);
    assert.match(text, / in +[\s\S]*process /u);
  });

  it('has no empty line where a word is as wide as its column', () => {
    assert.deepEqual(pieces('abcdef ghijkl mnopqr', 6), ['abcdef', 'ghijkl', 'mnopqr']);
    assert.deepEqual(pieces(' abcdefgh', 6), ['abcdef', 'gh']);
    assert.deepEqual(pieces('a b', 1), ['a', 'b']);
  });

  it('of a hundred columns is narrowed in bounded time, and each column keeps some width', () => {
    const many = Array.from({ length: 100 }, (_, index) => `column ${index}`);
    assert.ok(table(many, [many], 80).length > 0);
  });
});

describe('text', () => {
  it('takes two columns for a wide character, none for a mark or a colour', () => {
    assert.deepEqual(
      ['web', '支付', 'e\u0301', '\u001b[32mok\u001b[0m', '🚀'].map(textWidth),
      [3, 4, 1, 2, 2],
    );
  });

  it('is split behind separators if there are any, else anywhere', () => {
    assert.deepEqual(pieces('registry.example.com/app', 22), ['registry.example.com/', 'app']);
    assert.deepEqual(pieces('abcdefgh', 3), ['abc', 'def', 'gh']);
    assert.deepEqual(pieces('支付支付', 3), ['支', '付', '支', '付']);
    assert.deepEqual(pieces('', 3), ['']);
  });
});

describe('a tree of reasons', () => {
  const text = `- rule policy.yaml:3 (registry.example.com/**) is not satisfied: one two three four five\n  + ${digest}\n`;

  it('is wrapped, shortened and coloured on a terminal', () => {
    const lines = tree(text, { width: 60, colour: true }).split('\n');
    assert.deepEqual(lines, [
      '\u001b[31m-\u001b[39m rule policy.yaml:3 (registry.example.com/**) is not',
      '    satisfied: one two three four five',
      '  \u001b[32m+\u001b[39m sha256:aaaaaaaaaaaa…',
      '',
    ]);
  });

  it('is not changed for a program', () => assert.equal(tree(text), text));
});

describe('the paper of a terminal', () => {
  it('is that of the first variable that names a locale; an empty one counts as unset', () => {
    const terminal = { isTTY: true, columns: 80 } as NodeJS.WriteStream;
    assert.equal(paperFor(terminal, { LC_ALL: '', LANG: 'C.UTF-8' }).unicode, true);
    assert.equal(paperFor(terminal, { LC_ALL: 'C', LANG: 'C.UTF-8' }).unicode, false);
  });

  it('has lines of a usable width, also on a terminal that is tiny or reports no size', () => {
    const widthOf = (columns: number): number =>
      paperFor({ isTTY: true, columns } as NodeJS.WriteStream, {}).width;
    assert.deepEqual([0, 1, 80, 300].map(widthOf), [100, 40, 80, 100]);
  });
});
