import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatDocuments, parseDocuments, writeYaml } from './index.ts';

const canonical: readonly (readonly [what: string, text: string])[] = [
  [
    'at the end of a document',
    `rules:
  - images: [ "a" ]
    require: { key: k }
    # of the item

  # of the list
  # - images: [ "b" ]

  # of the list, too

# of the document
`,
  ],
  [
    'before another item',
    `rules:
  - images: [ "a" ]
    require:
      key: k
      # of the requirement
    # of the item
  # of the list
  - images: [ "b" ]
default: deny
`,
  ],
  [
    'in each of two documents',
    `a:
  b: 1
  # of b

# of a
---
a:
  b: 1
  # of b

# of a
`,
  ],
];

for (const [what, text] of canonical)
  test(`comments of several depths keep their depth ${what}`, () => {
    assert.deepEqual(formatDocuments(text, 'f.yaml'), { text, problems: [] });
  });

test('a text of comments alone is in canonical form', () => {
  const text = '# rules:\n#   - images: [ "a" ]\n\n# and nothing else\n';
  assert.deepEqual(formatDocuments(text, 'f.yaml'), { text, problems: [] });
});

test('a list whose last item has no value and follows a comment of an outer depth can be written', () => {
  for (const item of ['', ' &x']) {
    const { problems, text } = formatDocuments(`k:\n    - a\n  # c\n    -${item}\n`, 'a.yaml');
    assert.deepEqual(problems, []);
    assert.match(text, /^k:\n {2}- a\n[^]*# c\n/u);
  }
});

test('the empty lines at the end of a block that keeps them stay at the end of a document', () => {
  for (const text of ['a:\n  - |+\n    x\n\n', 'a: |+\n  x\n\n\n---\nb: >+\n  y\n\n'])
    assert.deepEqual(formatDocuments(text, 'f.yaml'), { text, problems: [] });
});

/** Writes mappings and lists of any nesting, with comments of any depth between their lines. */
const documents = fc
  .array(
    fc.record({
      depth: fc.nat({ max: 3 }),
      line: fc.constantFrom(
        'rules:',
        '- rules:',
        '- a',
        '-',
        'images: [ a ]',
        'x: 1 # t',
        'default:',
        'default: |+',
        '# c',
        '',
      ),
    }),
    { minLength: 1, maxLength: 14 },
  )
  .map((lines) => lines.map(({ depth, line }) => `${'  '.repeat(depth)}${line}`.trimEnd()).join('\n') + '\n');

test('a document in canonical form is not changed', () => {
  const order = (): readonly string[] => ['images', 'default', 'rules'];
  let formatted = 0;
  fc.assert(
    fc.property(documents, (text) => {
      const { text: once, problems } = formatDocuments(text, 'f.yaml', order);
      if (problems.length > 0) return;
      formatted += 1;
      assert.deepEqual(formatDocuments(once, 'f.yaml', order), { text: once, problems: [] });
    }),
    { seed: 20_261_129, numRuns: 1_000 },
  );
  assert.ok(formatted > 50, `only ${formatted} documents could be parsed`);
});

test('a string that YAML 1.1 reads as another type is written in quotes', () => {
  // kubectl and Helm read YAML 1.1, where `no` is false and 12:30 is 750.
  const words = ['no', 'on', 'y', '12:30', '1_000', '2026-01-01', '<<', '0b11', '~', 'null'];
  for (const word of words) assert.equal(writeYaml({ [`a-${word}`]: word }), `a-${word}: "${word}"\n`);
  assert.equal(writeYaml({ on: 1 }), '"on": 1\n');
});

test('characters that a terminal obeys are escaped in written YAML, and are read back', () => {
  const value = {
    'k\u009b': 'a\u009b31mb',
    plain: 'left\u202eright',
    lines: 'one\ntwo\u0007\n',
    tab: 'a\tb',
  };
  const text = writeYaml(value);
  assert.doesNotMatch(text, /[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069]/u);
  assert.deepEqual(parseDocuments(text, 'a.yaml').documents[0]?.value, value);
});
