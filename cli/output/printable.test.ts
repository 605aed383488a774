import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable, printableLines, printableText } from './printable.ts';
import { table } from './table.ts';

test('external names reach a terminal without control sequences', () => {
  assert.equal(printable('1.0\u001b]0;owned\u0007\n2.0\u202e'), '1.0?]0;owned??2.0?');
  assert.equal(printable('größe/日本-1.0'), 'größe/日本-1.0');
  assert.equal(
    printableText('a\tb\n\u001b[31mred\u001b[0m \u001b[2J\u001b]8;;x\u0007\r\u009b1m\u202e'),
    'a\tb\n\u001b[31mred\u001b[0m ?[2J?]8;;x???1m?',
  );
  assert.equal(
    printableText('\u001b[1mbold\u001b[22m \u001b[8mhidden\u001b[30m'),
    '\u001b[1mbold\u001b[22m ?[8mhidden?[30m',
  );
  assert.equal(printableLines('a\tb\n\u001b[31mred\u001b[2J\r\u009b1m\u202e'), 'a\tb\n?[31mred?[2J??1m?');
});

test('a name cannot add a row to a table', () => {
  assert.equal(table(['A', 'B'], [['1.0\nforged  row', 'x']]), 'A                B\n1.0?forged  row  x\n');
});
