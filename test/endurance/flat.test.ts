import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { growthOf } from './flat.ts';
import type { Sample } from './flat.ts';

const samples = (change: (index: number) => Partial<Sample>): Sample[] =>
  Array.from({ length: 8 }, (_, index) => ({
    minute: index,
    residentMiB: 200,
    descriptors: 60,
    threads: 20,
    outside: ['link lo'],
    ...change(index),
  }));

describe('growth between the first quarter and the last', () => {
  it('is not reported if all samples are equal', () => assert.deepEqual(growthOf(samples(() => ({}))), []));
  it('is not reported if memory differs only as much as between two samples of one process', () =>
    assert.deepEqual(growthOf(samples((index) => ({ residentMiB: 200 + 3 * index }))), []));
  it('is reported for memory that rises continuously', () =>
    assert.match(
      growthOf(samples((index) => ({ residentMiB: 200 + 10 * index }))).join(),
      /^resident memory, MiB: 210/,
    ));
  it('is reported for one more descriptor', () =>
    assert.match(
      growthOf(samples((index) => ({ descriptors: index < 6 ? 60 : 61 }))).join(),
      /^descriptors: at most 60/,
    ));
  it('is reported for one more thread in each sample', () =>
    assert.match(growthOf(samples((index) => ({ threads: 20 + index }))).join(), /^threads: at most 21/));
  it('is reported for a second link with the same name', () =>
    assert.deepEqual(
      growthOf(samples((index) => ({ outside: index < 7 ? ['link lo'] : ['link lo', 'link lo'] }))),
      ['left behind: link lo'],
    ));
  it('cannot be computed from three samples', () =>
    assert.throws(() => growthOf(samples(() => ({})).slice(0, 3)), /no quarters/));
});
