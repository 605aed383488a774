import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fieldsOf } from './fields.ts';
import type { Fields } from './fields.ts';
import { readJson } from './json-text.ts';

function fieldsIn(text: string): Fields {
  const source = readJson(text);
  assert.ok('value' in source, text);
  const fields = fieldsOf(source.value, [], 'net.conf', source, []);
  assert.ok(fields !== undefined);
  return fields;
}
const problemsOf = (fields: Fields, free: readonly string[] = []): string[] =>
  fields.unknown(new Set(free)).map(({ problem }) => problem);

describe('the unknown fields of an object', () => {
  it('are those that no reader requested, with position and the closest name', () => {
    const fields = fieldsIn('{\n  "brige": "b",\n  "mtu": 1400,\n  "zzzzzz": 1\n}');
    fields.text('bridge');
    fields.whole('mtu');
    assert.deepEqual(problemsOf(fields), [
      `net.conf:2:12: unknown field "brige": did you mean 'bridge'?`,
      'net.conf:4:13: unknown field "zzzzzz": remove it',
    ]);
  });
  it('are none when names differ in case', () => {
    const fields = fieldsIn('{"Bridge": "b"}');
    assert.equal(fields.text('bridge'), 'b');
    assert.deepEqual(problemsOf(fields), []);
  });
  it('are names in another case if the exact name exists', () => {
    const fields = fieldsIn('{"bridge": "b", "Bridge": "c"}');
    assert.equal(fields.text('bridge'), 'b');
    assert.deepEqual(problemsOf(fields), [`net.conf:1:27: unknown field "Bridge": did you mean 'bridge'?`]);
  });
  it('include those of objects and lists that were read', () => {
    const fields = fieldsIn(
      '{"ipam": {"type": "x", "rangs": []}, "list": [{"a": 1, "b": 2}], "sets": [[{"c": 1}]]}',
    );
    fields.object('ipam')?.text('type');
    fields.object('ipam')?.lists('ranges');
    for (const entry of fields.objects('list')) entry.whole('a');
    for (const entry of fields.lists('sets').flat()) entry.whole('d');
    assert.deepEqual(
      problemsOf(fields).map((line) => line.replace(/^net.conf:1:\d+: unknown field /, '')),
      [`"rangs": did you mean 'ranges'?`, '"b": remove it', '"c": remove it'],
    );
  });
  it('are at most 50, however many there are', () => {
    const fields = fieldsIn(
      JSON.stringify(Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`f${index}`, {}]))),
    );
    fields.text('bridge');
    assert.equal(problemsOf(fields).length, 50);
  });
  it('leave out fields of others, and an object whose names were all read', () => {
    const fields = fieldsIn('{"args": {"x": 1}, "sysctl": {"net.core.somaxconn": "5"}}');
    fields.object('args');
    assert.deepEqual(fields.object('sysctl')?.names(), ['net.core.somaxconn']);
    assert.deepEqual(problemsOf(fields, ['args']), []);
  });
});
