import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { portcullis } from '../../test/fixtures/command.ts';
import { serialiseOneOfMany } from './output.ts';

describe('the output format yaml', () => {
  it('has the fields of the format json', async () => {
    for (const words of [['entitlements', 'list'], ['--version']]) {
      const [json, yaml] = [
        await portcullis([...words, '-o', 'json']),
        await portcullis([...words, '-o', 'yaml']),
      ];
      assert.deepEqual([json.code, yaml.code, yaml.stderr], [0, 0, ''], words.join(' '));
      assert.deepEqual(parse(yaml.stdout), JSON.parse(json.stdout), words.join(' '));
      assert.doesNotMatch(yaml.stdout, /^[[{]/u);
    }
  });

  it('has the fields of the format json for errors, also for wrong use', async () => {
    for (const words of [
      ['ps', '--socket', '/nowhere.sock'],
      ['images', 'lss'],
    ]) {
      const [json, yaml] = [
        await portcullis([...words, '-o', 'json']),
        await portcullis([...words, '-o', 'yaml']),
      ];
      assert.deepEqual([yaml.code, yaml.stdout], [json.code, ''], words.join(' '));
      assert.deepEqual(parse(yaml.stderr), JSON.parse(json.stderr), words.join(' '));
    }
  });
});

it('results that follow one another are lines of JSON, or documents of YAML', async () => {
  assert.equal(serialiseOneOfMany('json', { a: 1 }), '{"a":1}\n');
  const text = [{ a: 1 }, { a: 'no' }].map((value) => serialiseOneOfMany('yaml', value)).join('');
  assert.deepEqual(
    parseAllDocuments(text).map((document) => document.toJS() as unknown),
    [{ a: 1 }, { a: 'no' }],
  );
});

it('characters that a terminal obeys are escaped in JSON, and are read back', () => {
  const value = { 'k\u009b': 'a\u009b31mb\u202e' };
  const text = serialiseOneOfMany('json', value);
  assert.equal(text, '{"k\\u009b":"a\\u009b31mb\\u202e"}\n');
  assert.deepEqual(JSON.parse(text), value);
});
