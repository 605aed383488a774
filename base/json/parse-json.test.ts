import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import { maxJsonDepth, parseJson } from './index.ts';

const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

const withoutNegativeZero = (value: unknown): unknown =>
  Object.is(value, -0)
    ? 0
    : value === null || typeof value !== 'object'
      ? value
      : Array.isArray(value)
        ? value.map(withoutNegativeZero)
        : Object.fromEntries(Object.entries(value).map(([key, part]) => [key, withoutNegativeZero(part)]));

describe('parseJson', () => {
  test('reads whatever JSON.stringify writes', () => {
    // This does not use JSON.parse's result, because it may be wrong about a key.
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 20 }), fc.constantFrom(undefined, 2, '\t\r'), (value, blanks) =>
        assert.deepEqual(parseJson(JSON.stringify(value, undefined, blanks)), withoutNegativeZero(value)),
      ),
    );
  });

  test('reads 128 levels, and refuses 129', () => {
    assert.deepEqual(parseJson(nested(maxJsonDepth)), JSON.parse(nested(maxJsonDepth)));
    assert.throws(() => parseJson(nested(maxJsonDepth + 1)), /SyntaxError: nested deeper than 128 levels/);
    assert.throws(() => parseJson('{"a":['.repeat(65)), /nested deeper than 128 levels/);
  });

  test('brackets in strings are not nesting, however the string is escaped', () => {
    for (const value of [
      '['.repeat(500),
      `"${'{'.repeat(500)}`,
      `\\${'['.repeat(500)}`,
      `\\"${'['.repeat(500)}`,
      `${'['.repeat(500)}\\\\`,
    ])
      assert.deepEqual(parseJson(JSON.stringify({ value })), { value });
  });

  test('more than 128 objects and arrays beside one another are read, and one that is nested deeper is found', () => {
    const flat = Array.from({ length: 200 }, () => ({ a: [] }));
    assert.deepEqual(parseJson(JSON.stringify(flat)), flat);
    assert.throws(
      () => parseJson(`[${JSON.stringify(flat)},${nested(128)}]`),
      /nested deeper than 128 levels/,
    );
  });

  test('closing brackets that close nothing do not hide the text after them', () => {
    assert.throws(() => parseJson(`${']'.repeat(9000)}${'['.repeat(9000)}`), SyntaxError);
  });

  test('calls a reviver, with the source of numbers', () => {
    const sources: unknown[] = [];
    parseJson('{"a":1.50}', (key, value, { source }) => (sources.push(source), value));
    assert.deepEqual(sources, ['1.50', undefined]);
  });

  test('a text that makes the engine damage its heap is refused each time', () => {
    // Found by fuzzing the reader of image configurations: Node 26.10 ends with SIGSEGV or SIGTRAP at the
    // second or third attempt.
    const script = `
      import { parseJson } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)};
      const part = '"Envtecture":"amd64","os":"linux","config":{"User":"1000:1000",';
      const text = '{"architecture":"amd64","os":"linux","config":{"User":"1000:1000",' + part.repeat(5800) + '"a":1';
      for (let time = 0; time < 5; time++) try { parseJson(text); process.exit(2); } catch {}
    `;
    const { status, signal } = spawnSync(process.execPath, [
      '--input-type=module-typescript',
      '--eval',
      script,
    ]);
    assert.deepEqual([status, signal], [0, null]);
  });

  describe('keys with escapes', () => {
    const refusals = [
      ...[
        '',
        '{"\\n"',
        '{"\\n":',
        '{"\\n":1',
        '{"\\n":1,',
        '{"\\n":1,}',
        '{"\\n":1]',
        '{"\\n" 1}',
        '{"\\n":1}}',
        '{"\\n":1} 2',
      ],
      ...[
        '{"\\n":01}',
        '{"\\n":1.}',
        '{"\\n":+1}',
        '{"\\n":.5}',
        '{"\\n":tru}',
        '{"\\n":undefined}',
        '{"\\n":NaN}',
        '{"\\n":1 2}',
      ],
      ...[
        '{"\\x":1}',
        '{"\\u12":1}',
        '{"\\n":"\n"}',
        '{"\\n\n":1}',
        '{"\\n":[1,]}',
        '{"\\n":[1}',
        '{"\\n":[,1]}',
        '{\\n:1}',
        '{"\\n":\u00a01}',
      ],
      ...[
        '{"\\n":\'a\'}',
        '{"\\n":1,2:3}',
        '{,"\\n":1}',
        '{"\\n"::1}',
        '{"\\n":"a}',
        '\ufeff{"\\n":1}',
        '{"\\n":-}',
        '{"\\n":1e}',
        '{"\\n":/**/1}',
      ],
    ];
    for (const text of refusals) {
      test(`refuses ${JSON.stringify(text)}, as JSON.parse does`, () => {
        assert.throws(() => void JSON.parse(text), SyntaxError);
        assert.throws(() => parseJson(text), SyntaxError);
      });
    }

    test('are those of the text, whatever keys an earlier text had', () => {
      // V8 14 reads "length\\" in each of them (nodejs/node issue 63785).
      JSON.parse('{"a":1,"length\\\\":2}');
      for (const [text, key] of [
        ['{"a":1,"length\\ud800":2}', 'length\ud800'],
        ['{"a":1,"length\\u0041":2}', 'lengthA'],
        ['{"a":1,"length\\n" \r\n\t:2}', 'length\n'],
        ['{"a":1,"length\\"":2}', 'length"'],
      ] as const)
        assert.deepEqual(parseJson(text), { a: 1, [key]: 2 });
    });

    test('the last of equal keys counts, at the place of the first', () => {
      assert.equal(JSON.stringify(parseJson('{"\\u0061":1,"b":2,"a":3}')), '{"a":3,"b":2}');
    });

    test('__proto__ is a key like any other', () => {
      const read = parseJson('{"\\u005f_proto__":{"polluted":1},"__proto__":2}') as object;
      assert.equal(Object.getPrototypeOf(read), Object.prototype);
      assert.deepEqual(Object.entries(read), [['__proto__', 2]]);
    });

    test('a reviver sees the values with the source of numbers, and leaves out what it makes undefined', () => {
      const reviver = (key: string, value: unknown, { source }: { readonly source?: string }): unknown =>
        key === 'out' ? undefined : typeof value === 'number' ? source : value;
      assert.deepEqual(parseJson('{"\\n":[1.50,{"out":1}]}', reviver), { '\n': ['1.50', {}] });
    });

    test('nesting has the same limit', () => {
      assert.throws(() => parseJson(`{"\\n":${nested(maxJsonDepth)}}`), /nested deeper than 128 levels/);
      assert.doesNotThrow(() => parseJson(`{"\\n":${nested(maxJsonDepth - 1)}}`));
    });
  });

  const shapes: Readonly<Record<string, (n: number) => string>> = {
    'strings with escapes': (n) => JSON.stringify(Array.from({ length: n }, () => '\\"[')),
    'a string of backslashes': (n) => JSON.stringify('\\'.repeat(10 * n)),
    'a string without an end': (n) => `"${'\\"'.repeat(10 * n)}`,
    'keys with escapes': (n) => JSON.stringify(Array.from({ length: n }, (_, a) => ({ [`\n${a}`]: a }))),
    'an object with many keys with escapes': (n) =>
      JSON.stringify(Object.fromEntries(Array.from({ length: n }, (_, a) => [`\n${a}`, a]))),
    objects: (n) => JSON.stringify(Array.from({ length: n }, (_, a) => ({ a }))),
  };
  for (const [what, make] of Object.entries(shapes))
    test(`${what}: the cost grows linearly`, async () => {
      const made = new Map<number, string>();
      const read = (n: number): unknown => {
        const text = made.get(n) ?? make(n);
        made.set(n, text);
        try {
          return parseJson(text);
        } catch {
          return undefined;
        }
      };
      await assertNearLinear(what, read, { n: 2000 });
    });
});
