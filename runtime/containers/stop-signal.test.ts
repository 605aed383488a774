import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Signal } from '../cri/contract/contract.types.ts';
import { signalNumber, stopSignalOf } from './stop-signal.ts';

for (const [name, number] of [
  ['SIGTERM', 15],
  ['term', 15],
  ['9', 9],
  ['SIGRTMIN', 34],
  ['SIGRTMIN+3', 37],
  ['RTMAX-1', 63],
  ['SIGRTMINPLUS2', 36],
] as const) {
  test(`signal ${name} is ${number}`, () => assert.equal(signalNumber(name), number));
}

for (const name of [
  '',
  '0',
  '65',
  'SIGNOPE',
  '9;rm',
  'SIGRTMIN+31',
  'SIGRTMIN-1',
  'SIGRTMAX+1',
  'RTMAX-31',
]) {
  test(`signal ${JSON.stringify(name)} is refused`, () =>
    assert.throws(() => signalNumber(name), { code: 'RUNTIME_BAD_SIGNAL' }));
}

test('every signal of the contract has a number', () => {
  for (const value of Object.values(Signal)) assert.ok(signalNumber(stopSignalOf(value, '')) > 0);
  assert.equal(signalNumber(stopSignalOf(Signal.SIGNAL_SIGRTMAXMINUS14, '')), 50);
  assert.equal(signalNumber(stopSignalOf(Signal.SIGNAL_SIGRTMINPLUS15, '')), 49);
  assert.throws(() => stopSignalOf(99 as Signal, ''), { code: 'RUNTIME_BAD_SIGNAL' });
});

test('the stop signal of the pod takes precedence over that of the image, and SIGTERM is the default', () => {
  assert.equal(stopSignalOf(Signal.SIGNAL_SIGUSR1, 'SIGQUIT'), 'SIGUSR1');
  assert.equal(stopSignalOf(Signal.SIGNAL_RUNTIME_DEFAULT, 'SIGQUIT'), 'SIGQUIT');
  assert.equal(stopSignalOf(Signal.SIGNAL_RUNTIME_DEFAULT, ''), 'SIGTERM');
});
