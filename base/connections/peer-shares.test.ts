import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPeerShares } from './index.ts';

/** Takes one after another, as long as there is one. @returns how many */
function takeAll(share: { free: number }): number {
  let count = 0;
  for (; share.free >= 1; count += 1) share.free -= 1;
  return count;
}

test('one peer gets three quarters, and each further peer still gets some', () => {
  const shares = createPeerShares(1600);
  const counts = ['a', 'b', 'c', 'd'].map((peer) => takeAll(shares.of(peer)));
  assert.deepEqual(counts, [1200, 300, 75, 18]);
});

test('what a peer gives back can be taken again, by it and by others', () => {
  const shares = createPeerShares(1600);
  const [a, b] = [shares.of('a'), shares.of('b')];
  a.free -= 1200;
  b.free -= 300;
  a.free += 1200;
  assert.equal(shares.of('a').free, 975);
  assert.equal(b.free, 900);
  b.free += 300;
  assert.equal(shares.of('b').free, 1200);
});
