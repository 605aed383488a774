import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createServiceProblems } from './problems.ts';
import type { ServiceProblems } from './problems.ts';

/** Returns how often each of these looks logs something. */
function logged(...looks: readonly ((problems: ServiceProblems) => void)[]): number[] {
  let count = 0;
  const problems = createServiceProblems({ warn: () => void (count += 1) });
  return looks.map((find) => {
    count = 0;
    problems.beginLook();
    find(problems);
    problems.endLook();
    return count;
  });
}

const unleased = (problems: ServiceProblems): void =>
  problems.notInForce('shop/web', 'no address is free', 'X');

test('a problem is logged once while it lasts', () => {
  assert.deepEqual(logged(unleased, unleased, unleased), [1, 0, 0]);
});

test('a problem is logged again after it was over', () => {
  assert.deepEqual(
    logged(unleased, () => {}, unleased),
    [1, 0, 1],
  );
});

test('a problem is logged again when its reason changes', () => {
  const refused = (problems: ServiceProblems): void =>
    problems.notInForce('shop/web', 'the kernel refused it', 'X');
  assert.deepEqual(logged(unleased, refused, refused), [1, 1, 0]);
});

test('different problems of one service are logged side by side', () => {
  const all = (problems: ServiceProblems): void => {
    unleased(problems);
    problems.crowded('shop/web');
    problems.portClosed('shop/web', '80/tcp: taken');
    problems.portClosed('shop/web', '81/tcp: taken');
  };
  assert.deepEqual(logged(all, all), [4, 0]);
});
