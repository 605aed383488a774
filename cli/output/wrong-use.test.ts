import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { portcullis } from '../../test/fixtures/command.ts';
import { commands } from '../commands.ts';
import { formatAsked } from './wrong-use.ts';

interface Reported {
  readonly error: {
    readonly code: string;
    readonly kind: string;
    readonly on: string;
    readonly why: string;
    readonly fix: string;
  };
}

async function reported(...words: readonly string[]): Promise<Reported['error']> {
  const { code, stdout, stderr } = await portcullis(words);
  assert.deepEqual([code, stdout], [2, ''], stderr);
  return (JSON.parse(stderr) as Reported).error;
}

describe('wrong use with --output json is a JSON error', () => {
  const uses: readonly (readonly [words: string, code: string, says: RegExp])[] = [
    ['nope', 'CLI_UNKNOWN_COMMAND', /nope/u],
    ['images lss', 'CLI_UNKNOWN_COMMAND', /lss.*did you mean ls\?/u],
    ['trust archive crate', 'CLI_UNKNOWN_COMMAND', /did you mean create\?/u],
    ['help', 'CLI_MISSING_COMMAND', /none is given/u],
    ['images', 'CLI_MISSING_COMMAND', /none is given.*see portcullis images --help/u],
    ['images ls --sockte /x', 'CLI_UNKNOWN_OPTION', /did you mean --socket\?/u],
    ['verify', 'CLI_MISSING_ARGUMENT', /image/u],
    ['verify a:1', 'CLI_WRONG_USE', /name --policy FILE or --key FILE/u],
    ['verify a:1 --policy p.yaml --key k.pub', 'CLI_WRONG_USE', /FILE, and not both: a policy names its/u],
    ['policy import x', 'CLI_MISSING_OPTION', /--from/u],
    ['doctor x', 'CLI_TOO_MANY_ARGUMENTS', /x/u],
    ['logs web --tail x', 'CLI_INVALID_ARGUMENT', /whole number/u],
    ['logs web --tail', 'CLI_MISSING_OPTION_VALUE', /--tail/u],
  ];
  for (const [words, code, says] of uses)
    it(`portcullis ${words}`, async () => {
      // Before the other words of an option without its value.
      const [first = '', ...rest] = words.split(' ');
      const error = await reported(
        ...(words.endsWith('--tail') ? [first, '-o', 'json', ...rest] : [first, ...rest, '--output', 'json']),
      );
      assert.deepEqual([error.code, error.kind], [code, 'invalid']);
      assert.match(`${error.why}; ${error.fix}`, says);
    });

  it('an option before the command is not taken for a missing command', async () => {
    for (const words of [
      ['-o', 'json', 'ps'],
      ['images', '-o', 'json', 'ls'],
    ]) {
      const error = await reported(...words);
      assert.equal(error.code, 'CLI_UNKNOWN_OPTION');
      assert.match(error.fix, /^write options after the command; see portcullis/u);
    }
  });

  for (const { name } of commands)
    it(`portcullis ${name} --no-such-option -o json`, async () => {
      const error = await reported(name, '--no-such-option', '-o', 'json');
      assert.equal(error.on, `portcullis ${name}`);
      assert.match(error.code, /^CLI_(?:UNKNOWN_OPTION|MISSING_COMMAND|MISSING_ARGUMENT|MISSING_OPTION)$/u);
    });
});

it('the last output format before -- is the one that is asked for', () => {
  assert.equal(formatAsked(['ps', '--output', 'json']), 'json');
  assert.equal(formatAsked(['ps', '--output=json']), 'json');
  assert.equal(formatAsked(['ps', '-ojson']), 'json');
  assert.equal(formatAsked(['ps', '-o', 'json', '-o', 'text']), 'text');
  assert.equal(formatAsked(['ps', '-oyaml']), 'yaml');
  assert.equal(formatAsked(['exec', 'web', '--', 'x', '-o', 'json']), 'text');
  assert.equal(formatAsked(['ps', '-o']), 'text');
});

it('text stays text, with what was probably meant', async () => {
  const { code, stdout, stderr } = await portcullis(['images', 'lss']);
  assert.deepEqual([code, stdout], [2, '']);
  assert.match(stderr, /^error: unknown command 'lss'\n\(Did you mean ls\?\)\n/u);
});
