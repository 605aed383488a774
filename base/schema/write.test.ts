import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatDocuments } from './index.ts';

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

test('a list whose last item has no value and follows a comment of an outer depth can be written', () => {
  for (const item of ['', ' &x']) {
    const { problems, text } = formatDocuments(`k:\n    - a\n  # c\n    -${item}\n`, 'a.yaml');
    assert.deepEqual(problems, []);
    assert.match(text, /^k:\n {2}- a\n[^]*# c\n/u);
  }
});
