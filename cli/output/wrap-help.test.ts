import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wrapHelp } from './wrap-help.ts';

test('a paragraph with a long line is wrapped as a whole, and its exit codes are a paragraph', () => {
  assert.equal(
    wrapHelp(
      'This line of the paragraph is longer than it may be.\nThe next.\nExit status: 0 done.\n\nShort.\nLines.',
      40,
    ),
    'This line of the paragraph is longer\nthan it may be. The next.\nExit status: 0 done.\n\nShort.\nLines.',
  );
});

test('a long example continues on the next line before an option, and remarks move above the commands', () => {
  assert.equal(
    wrapHelp('Examples:\n  $ a ls     lists\n  $ a sign registry.test/image --key file.key | b', 40),
    'Examples:\n  # lists\n  $ a ls\n  $ a sign registry.test/image \\\n      --key file.key | b',
  );
});

test('the remark of an example that fits is a comment for the shell', () => {
  assert.equal(wrapHelp('  $ a ls     lists\n  $ a', 40), '  $ a ls     # lists\n  $ a');
});

test('an example is not broken in quotes', () => {
  assert.equal(
    wrapHelp("  $ a ls --output json | jq '.[] | select(.open) | .name' --raw", 40),
    "  $ a ls --output json \\\n      | jq '.[] | select(.open) | .name' \\\n      --raw",
  );
});

test('examples that fit, and tables, stay as they are', () => {
  const text = '  $ a ls     # lists\n\n  a table of two columns   with a very long line';
  assert.equal(wrapHelp(text, 40), text);
});

test('nothing is wrapped on a terminal that reports no width', () => {
  const text = 'A line.\nThe next.\n\n  $ a ls --all     lists';
  assert.equal(wrapHelp(text, 0), text);
});
