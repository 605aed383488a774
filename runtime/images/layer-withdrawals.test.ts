import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLayerWithdrawals } from './layer-withdrawals.ts';

test('folders are withdrawn at once, until their removal ends', async () => {
  const withdrawals = createLayerWithdrawals();
  const removal = Promise.withResolvers<void>();
  const withdrawn = withdrawals.withdraw(['a', 'b'], () => removal.promise);
  assert.deepEqual(['a', 'b', 'c'].map(withdrawals.isWithdrawn), [true, true, false]);
  const pending = withdrawals.withdrawing();
  removal.resolve();
  await Promise.all([withdrawn, pending]);
  assert.deepEqual(['a', 'b'].map(withdrawals.isWithdrawn), [false, false]);
  assert.equal(withdrawals.withdrawing(), undefined);
});

test('a failed removal frees its folders too, and rejects only for its caller', async () => {
  const withdrawals = createLayerWithdrawals();
  const removal = Promise.withResolvers<void>();
  const withdrawn = withdrawals.withdraw(['a'], () => removal.promise);
  const pending = withdrawals.withdrawing();
  removal.reject(new Error('the disk is full'));
  await assert.rejects(withdrawn, /the disk is full/);
  await pending;
  assert.equal(withdrawals.isWithdrawn('a'), false);
});
