import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openCoverage } from './coverage.ts';
import { readOnce } from './judge.ts';
import { mutate, largestInput } from './mutate.ts';
import { createRandom } from './random.ts';
import type { FuzzTarget } from './targets/target.ts';

const target = (read: (bytes: Buffer) => unknown): FuzzTarget => ({
  name: 'images-x',
  group: 'images',
  seeds: () => ['a'],
  read,
});

test('the same seed gives the same inputs, and no input exceeds the largest size', () => {
  const corpus = [Buffer.from('{"a":[1,"b"]}'), Buffer.from([0, 1, 2, 255])];
  const history = (seed: number): string[] => {
    const random = createRandom(seed);
    return Array.from({ length: 400 }, () => {
      const input = mutate(corpus, ['word'], random);
      assert.ok(input.length <= largestInput);
      return input.toString('base64');
    });
  };
  const first = history(7);
  assert.deepEqual(history(7), first);
  assert.notDeepEqual(history(8), first);
});

test('an error of the language counts as a crash, and an error with a sentence as a refusal', async () => {
  const flawOf = async (thrown: unknown): Promise<string | undefined> =>
    (
      await readOnce(
        target(() => {
          throw thrown;
        }),
        Buffer.from('a'),
      )
    ).flaw?.kind;
  for (const error of [new TypeError('x'), new RangeError('x'), new SyntaxError('x'), 'text'])
    assert.equal(await flawOf(error), 'crash');
  assert.equal(await flawOf(new Error('it is wrong')), undefined);
});

test('a reader that changes its input is reported, and answers are compared by content', async () => {
  assert.equal(
    (
      await readOnce(
        target((bytes) => bytes.fill(0)),
        Buffer.from('a'),
      )
    ).flaw?.kind,
    'input-changed',
  );
  const answer = async (value: unknown): Promise<string> =>
    (
      await readOnce(
        target(() => value),
        Buffer.from('a'),
      )
    ).answer;
  assert.equal(await answer({ a: 1, b: [2] }), await answer({ b: [2], a: 1 }));
  assert.notEqual(await answer({ a: 1 }), await answer({ a: 2 }));
});

test('coverage counts code only when it runs for the first time', async () => {
  const { parseLogLine } = await import('../../runtime/cri/log-line.ts');
  const coverage = openCoverage();
  coverage.take(true);
  parseLogLine(Buffer.from('2026-01-01T00:00:00.000000000Z stdout F hello'));
  assert.ok(coverage.take(true) > 0);
  parseLogLine(Buffer.from('2026-01-01T00:00:00.000000000Z stdout F hello'));
  assert.equal(coverage.take(true), 0);
  coverage.close();
});
