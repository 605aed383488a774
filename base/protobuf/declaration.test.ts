import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDeclaration } from './declaration.ts';

const wrong: readonly {
  readonly name: string;
  readonly messages: Record<string, Record<string, string>>;
  readonly says: RegExp;
}[] = [
  { name: 'an unknown type', messages: { A: { b: '1 text' } }, says: /A\.b: unknown type "text"/ },
  {
    name: 'a number used twice',
    messages: { A: { b: '1 string', c: '1 string' } },
    says: /A: two fields share a number/,
  },
  { name: 'a field without number', messages: { A: { b: 'string' } }, says: /A\.b: unreadable field/ },
  { name: 'field number 0', messages: { A: { b: '0 string' } }, says: /A\.b: unreadable field/ },
];
for (const { name, messages, says } of wrong) {
  test(`a declaration is refused with ${name}`, () => {
    assert.throws(() => parseDeclaration({ package: 'p', messages }), says);
  });
}
