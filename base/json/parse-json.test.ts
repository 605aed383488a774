import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import { maxJsonDepth, parseJson } from './index.ts';

const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

describe('parseJson', () => {
  test('reads whatever JSON.stringify writes', () => {
    fc.assert(fc.property(fc.json({ maxDepth: 20 }), (text) => assert.deepEqual(parseJson(text), JSON.parse(text))));
  });

  test('reads 128 levels, and refuses 129', () => {
    assert.deepEqual(parseJson(nested(maxJsonDepth)), JSON.parse(nested(maxJsonDepth)));
    assert.throws(() => parseJson(nested(maxJsonDepth + 1)), /SyntaxError: nested deeper than 128 levels/);
    assert.throws(() => parseJson('{"a":['.repeat(65)), /nested deeper than 128 levels/);
  });

  test('brackets in strings are no nesting, however the string is escaped', () => {
    for (const value of ['['.repeat(500), `"${'{'.repeat(500)}`, `\\${'['.repeat(500)}`, `\\"${'['.repeat(500)}`, `${'['.repeat(500)}\\\\`])
      assert.deepEqual(parseJson(JSON.stringify({ value })), { value });
  });

  test('closing brackets that close nothing do not hide what follows', () => {
    assert.throws(() => parseJson(`${']'.repeat(9000)}${'['.repeat(9000)}`), SyntaxError);
  });

  test('calls a reviver, with the source of numbers', () => {
    const sources: unknown[] = [];
    parseJson('{"a":1.50}', (key, value, { source }) => (sources.push(source), value));
    assert.deepEqual(sources, ['1.50', undefined]);
  });

  test('a text at which the engine damages its heap is refused, as often as it comes', () => {
    // Found by fuzzing the reader of image configurations: Node 26.10 ends with SIGSEGV or SIGTRAP at the second or third time.
    const script = `
      import { parseJson } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)};
      const part = '"Envtecture":"amd64","os":"linux","config":{"User":"1000:1000",';
      const text = '{"architecture":"amd64","os":"linux","config":{"User":"1000:1000",' + part.repeat(5800) + '"a":1';
      for (let time = 0; time < 5; time++) try { parseJson(text); process.exit(2); } catch {}
    `;
    const { status, signal } = spawnSync(process.execPath, ['--input-type=module-typescript', '--eval', script]);
    assert.deepEqual([status, signal], [0, null]);
  });

  const shapes: Readonly<Record<string, (n: number) => string>> = {
    'strings with escapes': (n) => JSON.stringify(Array.from({ length: n }, () => '\\"[')),
    'a string of backslashes': (n) => JSON.stringify('\\'.repeat(10 * n)),
    'a string without an end': (n) => `"${'\\"'.repeat(10 * n)}`,
    objects: (n) => JSON.stringify(Array.from({ length: n }, (_, a) => ({ a }))),
  };
  for (const [what, make] of Object.entries(shapes))
    test(`${what}: twice as many cost about twice as much`, async () => {
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
