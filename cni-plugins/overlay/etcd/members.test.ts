import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMembers } from './members.ts';

const made = (): { time: { now: number }; members: ReturnType<typeof createMembers<string>> } => {
  const time = { now: 0 };
  return {
    time,
    members: createMembers(
      ['a', 'b', 'c'],
      () => time.now,
      () => 1,
    ),
  };
};

test('a member that answers stays in use; after a failure, the next member is used', () => {
  const { members } = made();
  assert.equal(members.current(), 'a');
  members.answered('a');
  assert.equal(members.current(), 'a');
  members.failed('a');
  assert.equal(members.current(), 'b');
  members.answered('b');
  assert.equal(members.current(), 'b', 'the former member is not used again without need');
});

test('a member that failed is asked again after a time that doubles with each failure, up to half a minute', () => {
  const { time, members } = made();
  const waits: number[] = [];
  for (let round = 0; round < 8; round += 1) {
    members.current();
    members.failed('a');
    const began = time.now;
    // `b` always answers; `c` fails, after which `a` is next.
    do {
      time.now += 100;
      members.failed('b');
      members.answered('b');
      members.failed('c');
      members.answered('c');
    } while (members.current() !== 'a');
    waits.push(time.now - began);
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
});

test('calls that were under way at the same time count as one failure', () => {
  const { time, members } = made();
  for (let call = 0; call < 50; call += 1) members.failed('a');
  for (const each of ['b', 'c']) members.failed(each);
  time.now = 1001;
  assert.equal(members.current(), 'a');
});

test('if all members have failed, the member whose waiting time ends first is asked', () => {
  const { time, members } = made();
  members.failed('c');
  time.now = 10;
  members.failed('a');
  time.now = 20;
  members.failed('b');
  assert.equal(members.current(), 'c');
});
