import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { formatProblems, parseDocuments, validate } from './index.ts';
import type { JsonSchema } from './index.ts';

const schema: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['apiVersion'],
  properties: {
    apiVersion: { const: 'v1' },
    port: { type: 'integer', minimum: 1, maximum: 65535 },
    name: { type: 'string', pattern: '^[a-z-]+$', description: 'use lower-case letters and dashes' },
    rules: { type: 'array', minItems: 1, items: { $ref: '#/$defs/rule' } },
  },
  $defs: {
    rule: {
      type: 'object',
      additionalProperties: false,
      properties: {
        images: { type: 'array', items: { type: 'string', minLength: 1 }, uniqueItems: true },
        allow: { enum: ['unverified', 'nothing'] },
        require: { $ref: '#/$defs/requirement' },
        after: { anyOf: [{ type: 'string' }, { type: 'integer' }] },
      },
    },
    requirement: {
      oneOf: [
        {
          type: 'object',
          additionalProperties: false,
          required: ['all'],
          properties: { all: { type: 'array', items: { $ref: '#/$defs/requirement' } } },
        },
        {
          type: 'object',
          additionalProperties: false,
          required: ['cosign'],
          properties: {
            cosign: {
              type: 'object',
              additionalProperties: false,
              required: ['key'],
              properties: { key: { type: 'string' } },
            },
          },
        },
      ],
    },
  },
};

function problemsOf(text: string): string[] {
  const { documents, problems } = parseDocuments(text, 'f.yaml');
  return formatProblems([...problems, ...documents.flatMap((document) => validate(document, schema))]).split(
    '\n',
  );
}

describe('a document', () => {
  it('that is valid has no problems, and returns its values', () => {
    const text =
      'apiVersion: v1\nport: 80\nrules:\n  - images: [a, b]\n    require: { all: [{ cosign: { key: k } }, { all: [] }] }\n    after: 3\n';
    assert.deepEqual(problemsOf(text), ['']);
    const { documents } = parseDocuments(text, 'f.yaml');
    assert.deepEqual(documents[0]?.value, {
      apiVersion: 'v1',
      port: 80,
      rules: [{ images: ['a', 'b'], require: { all: [{ cosign: { key: 'k' } }, { all: [] }] }, after: 3 }],
    });
  });

  const table: readonly (readonly [name: string, text: string, problems: readonly string[]])[] = [
    [
      'an unknown field',
      'apiVersion: v1\nrules:\n  - imagess: [a]',
      ['f.yaml:3:5: rules[0].imagess: unknown field `imagess`; did you mean `images`?'],
    ],
    [
      'a field far from any other',
      'apiVersion: v1\nzzzzzz: 1',
      ['f.yaml:2:1: zzzzzz: unknown field `zzzzzz`; known here: `apiVersion`, `port`, `name`, `rules`'],
    ],
    ['a missing field', 'port: 1', ['f.yaml:1:1: the field `apiVersion` is missing; add it']],
    [
      'a wrong type',
      'apiVersion: v1\nport: "80"',
      ['f.yaml:2:7: port: must be a whole number, is the text "80"'],
    ],
    ['an empty value', 'apiVersion: v1\nrules:', ['f.yaml:2:7: rules: must be a list, is empty']],
    [
      'a number out of range',
      'apiVersion: v1\nport: 70000',
      ['f.yaml:2:7: port: must be <= 65535, is 70000'],
    ],
    [
      'a text of another form',
      'apiVersion: v1\nname: Web_1',
      ['f.yaml:2:7: name: "Web_1" does not have the form ^[a-z-]+$; use lower-case letters and dashes'],
    ],
    [
      'a misspelled word',
      'apiVersion: v1\nrules: [{ allow: unverifed }]',
      ['f.yaml:2:18: rules[0].allow: "unverifed" is not known here; did you mean `unverified`?'],
    ],
    ['another constant', 'apiVersion: v2', ['f.yaml:1:13: apiVersion: must be "v1", is "v2"']],
    [
      'two types, and neither',
      'apiVersion: v1\nrules: [{ after: [] }]',
      ['f.yaml:2:18: rules[0].after: must be a text or a whole number, is a list'],
    ],
    ['an empty list', 'apiVersion: v1\nrules: []', ['f.yaml:2:8: rules: must not be an empty list']],
    [
      'twice the same',
      'apiVersion: v1\nrules: [{ images: [a, a] }]',
      ['f.yaml:2:19: rules[0].images: items 0 and 1 are the same; remove one of the two'],
    ],
    [
      'problems in alternatives: those of the intended alternative',
      'apiVersion: v1\nrules:\n  - require:\n      all:\n        - cosign: { kye: 1 }\n        - 3\n',
      [
        'f.yaml:5:11: rules[0].require.all[0].cosign: the field `key` is missing; add it'.replace(
          '5:11',
          '5:19',
        ),
        'f.yaml:5:21: rules[0].require.all[0].cosign.kye: unknown field `kye`; did you mean `key`?',
        'f.yaml:6:11: rules[0].require.all[1]: must be a mapping, is 3',
      ],
    ],
    [
      'several problems: all at once, in the order of their positions',
      'port: 0\nrules:\n  - imags: []\n---\napiVersion: v1\nport: x\n',
      [
        'f.yaml:1:1: the field `apiVersion` is missing; add it',
        'f.yaml:1:7: port: must be >= 1, is 0',
        'f.yaml:3:5: rules[0].imags: unknown field `imags`; did you mean `images`?',
        'f.yaml:6:7: port: must be a whole number, is the text "x"',
      ],
    ],
  ];
  for (const [name, text, problems] of table)
    it(`with ${name}`, () => assert.deepEqual(problemsOf(text), problems));

  it('in JSON is read with the same positions, also with tabs', () => {
    const text = '{\n\t"apiVersion": "v1",\n\t"port": 0,\n\t"name": "\\u00e9\\/\\ud83d\\ude00"\n}';
    assert.deepEqual(
      problemsOf(text).map((line) => line.split(': ')[0]),
      ['f.yaml:3:10', 'f.yaml:4:10'],
    );
    assert.equal((parseDocuments(text, 'f').documents[0]?.value as { name: string }).name, 'é/😀');
  });

  it('returns the position of a part, or of the nearest existing part', () => {
    const { documents } = parseDocuments('a:\n  b: [1, &x { c: 2 }]\nd: *x\n', 'f');
    const document = documents[0];
    assert.ok(document !== undefined);
    const place = (path: (string | number)[], part?: 'key'): string => {
      const { line, column } = document.positionOf(path, part);
      return `${line}:${column}`;
    };
    assert.equal(place([]), '1:1');
    assert.equal(place(['a', 'b']), '2:6');
    assert.equal(place(['a', 'b'], 'key'), '2:3');
    assert.equal(place(['a', 'b', 0]), '2:7');
    assert.equal(place(['d', 'c']), '2:18');
    assert.equal(place(['a', 'b', 9, 'x']), '2:6');
    assert.equal(place(['nothing']), '1:1');
  });
});

describe('a text that cannot be read', () => {
  const table: readonly (readonly [name: string, text: string, first: RegExp])[] = [
    [
      'a key twice',
      'a: 1\nb: 2\na: 3\n',
      /^f:3:1: the key `a` occurs twice in one mapping; remove one of the two$/,
    ],
    ['a key twice in JSON', '{"a": 1, "a": 2}', /^f:1:10: the key `a` occurs twice/],
    ['a list that is not closed', 'a: [1, 2\nb: 3\n', /^f:\d+:\d+: flow sequence/],
    ['tabs as indentation', 'a:\n\tb: 1\n', /^f:2:1: tabs are not allowed/],
    ['a tag', 'a: !!js/function x', /^f:1:4: unresolved tag/],
    ['an ordered map', 'a: !!omap [b: 1]', /^f:1:\d+: the tag !!omap makes a value that is not plain/],
    ['pairs', 'a: !!pairs [b: 1, b: 2]', /^f:1:\d+: the tag !!pairs makes a value that is not plain/],
    ['a set', 'a: !!set {b}', /^f:1:\d+: the tag !!set makes a value that is not plain/],
    ['bytes', 'a: !!binary aGVsbG8=', /^f:1:\d+: the tag !!binary makes a value that is not plain/],
    ['a time', 'a: !!timestamp 2026-01-31', /^f:1:\d+: the tag !!timestamp makes a value that is not plain/],
    ['an older YAML', '%YAML 1.1\n---\na: yes\n', /^f:\d:1: the document is YAML 1\.1/],
    [
      'a merge key',
      'a: { !!merge <<: { b: 1 } }',
      /^f:1:\d+: the tag !!merge makes a value that is not plain/,
    ],
    [
      'an alias without anchor',
      'a: *x',
      /^f:1:4: the alias \*x has no anchor before it; if it is a text, write it in quotes: "\*x"/,
    ],
    ['an alias in its own anchor', 'a: &x [*x]', /^f:1:8: the alias \*x is inside its own anchor/],
    [
      'a billion laughs',
      `a: &a [x,x,x,x,x,x,x,x,x]\n${Array.from('bcdefgh')
        .map(
          (c, i) =>
            `${c}: &${c} [${Array(9)
              .fill(`*${'abcdefg'[i] ?? ''}`)
              .join(',')}]`,
        )
        .join('\n')}`,
      /aliases repeat too much/,
    ],
    ['hundreds of aliases', `a: &a x\nb: [${Array(200).fill('*a').join(',')}]`, /more than 100 aliases/],
    ['a key that is a list', '? [a]\n: 1', /^f:1:3: a key must be a text/],
    ['a key that is null', '~: 1', /^f:1:1: a key must be a text/],
    ['a key whose text YAML changes', '1.10: 1', /^f:1:1: the key 1\.10 is not a text, and is read as 1\.1/],
    ['a number too large to keep', 'a: 12345678901234567890', /^f:1:4: the number is too large/],
    ['a text with a NUL character', 'a: "b\\0c"', /^f:1:4: the text contains a NUL character; remove/],
    ['a key with a NUL character', '"a\\0": 1', /^f:1:1: the text contains a NUL character/],
    ['deep brackets', '['.repeat(500_000), /^f:1:1: nested deeper than 64/],
    ['deep dashes', '- '.repeat(300_000), /^f:1:1: nested deeper than 64/],
    [
      'deep indentation',
      Array.from({ length: 70 }, (_, n) => `${' '.repeat(n)}a:`).join('\n'),
      /^f:65:65: nested deeper than 64/,
    ],
    [
      'too many bytes',
      'x'.repeat(1024 * 1024 + 1),
      /^f:1:1: the file is larger than 1048576 bytes; split it$/,
    ],
    ['too many documents', '---\n'.repeat(1500), /^f:1:1: the file contains more than 1000 documents/],
  ];
  for (const [name, text, first] of table) {
    it(`has ${name}: a problem, not a crash`, () => {
      const { documents, problems } = parseDocuments(text, 'f');
      assert.deepEqual(documents, []);
      assert.match(formatProblems(problems).split('\n')[0] ?? '', first);
    });
  }

  it('has a cost in proportion to its size: 20,000 keys, and as many problems', () => {
    const keys = Array.from({ length: 20_000 }, (_, n) => `k${n}: v`).join('\n');
    const { documents } = parseDocuments(keys, 'f');
    assert.ok(documents[0] !== undefined);
    assert.equal(validate(documents[0], schema).length, 100, 'the first hundred are reported');
    assert.equal(parseDocuments('k: v\n'.repeat(20_000), 'f').problems.length, 100);
    assert.equal(
      parseDocuments('--- }]\n'.repeat(900), 'f').problems.length,
      100,
      'of all documents together',
    );
  });

  it('reads 256 KiB that are wrong everywhere in a heap of 128 MiB', () => {
    const script = `
      import { parseDocuments } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)};
      for (const text of ['}]\\n', '--- }\\n', ': ]\\n'])
        if (parseDocuments(text.repeat(262_144 / text.length), 'f').problems.length === 0) process.exit(2);
    `;
    const args = ['--max-old-space-size=128', '--input-type=module-typescript', '--eval', script];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    assert.equal(status, 0, stderr.slice(-500));
  });

  it('never throws, and every problem has a position in the text', () => {
    const piece = fc.constantFrom(
      'a',
      ': ',
      '- ',
      '\n',
      '  ',
      '[',
      ']',
      '{',
      '}',
      '"',
      "'",
      '&x ',
      '*x',
      '!t ',
      '---\n',
      '#',
      '|',
      '>',
      '?',
      ',',
      '\t',
      '0',
      '\u0000',
      'é',
      '...',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
        const text = pieces.join('');
        const { documents, problems } = parseDocuments(text, 'f');
        for (const { position } of [
          ...problems,
          ...documents.flatMap((document) => validate(document, schema)),
        ]) {
          assert.ok(
            position.line >= 1 && position.line <= text.split('\n').length + 1 && position.column >= 1,
            JSON.stringify([text, position]),
          );
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('without content has no document, or an empty document', () => {
    assert.deepEqual(parseDocuments('', 'f'), { documents: [], problems: [] });
    assert.deepEqual(parseDocuments('# only a comment\n', 'f').problems, []);
    assert.deepEqual(
      parseDocuments('a: 1\n---\n---\nb: 2\n', 'f').documents.map((one) => one.value),
      [{ a: 1 }, { b: 2 }],
    );
  });

  it('with __proto__ as a key changes no prototype', () => {
    const { documents } = parseDocuments('__proto__: { polluted: true }\napiVersion: v1\n', 'f.yaml');
    assert.equal(({} as { polluted?: boolean }).polluted, undefined);
    assert.ok(documents[0] !== undefined);
    assert.match(formatProblems(validate(documents[0], schema)), /unknown field `__proto__`/);
  });
});
