import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { fileOf, later, signed, testRepository, written } from '../tuf/fixtures/repository.fixture.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { createJudge } from './upload-judge.ts';

const judge = createJudge();
after(() => judge.close());

/** Returns the files of a collection with `count` targets, the last of which is `last`. */
function files(dialect: Dialect, count: number, last: string): Map<string, Buffer> {
  const repository = testRepository(dialect);
  const names = Array.from({ length: count }, (_, index): [string, string] => [
    `app:${index}`,
    index === count - 1 ? last : String(index),
  ]);
  repository.targets['targets'] = Object.fromEntries(
    names.map(([name, content]) => [name, fileOf(dialect, Buffer.from(content))]),
  );
  return new Map(Object.entries(written(repository)));
}

for (const count of [3, 5000])
  test(`two dialects of ${count} targets are compared with the same result in this and in another thread`, async () => {
    const notary = files('notary', count, 'last');
    assert.equal(await judge.differentTarget('a', notary, files('tuf', count, 'last')), undefined);
    assert.equal(await judge.differentTarget('a', notary, files('tuf', count, 'other')), `app:${count - 1}`);
    assert.equal(
      await judge.differentTarget('a', notary, files('tuf', count + 1, 'last')),
      `app:${count - 1}`,
    );
  });

test('an upload that cannot be read in another thread fails only its own question', async () => {
  const [notary, tuf] = [files('notary', 5000, 'last'), files('tuf', 5000, 'last')];
  const broken = new Map([...tuf, ['targets', Buffer.alloc(1_000_000, ' ')]]);
  const [no, yes] = await Promise.allSettled([
    judge.differentTarget('a', notary, broken),
    judge.differentTarget('a', notary, tuf),
  ]);
  assert.deepEqual([no.status, yes.status], ['rejected', 'fulfilled']);
});

/**
 * Returns two equal dialects of a collection that are expensive to compare: each of `count` delegations is
 * asked about each of `count` paths.
 */
function costly(count: number): { notary: Map<string, Buffer>; tuf: Map<string, Buffer> } {
  const head = { version: 1, expires: later };
  const targets = (dialect: Dialect): object =>
    Object.fromEntries(
      Array.from({ length: count }, (_, index) => [`t${index}`, fileOf(dialect, Buffer.from('same'))]),
    );
  const role = (name: string, path: string): object => ({
    name,
    keyids: [],
    threshold: 1,
    terminating: false,
    paths: [path],
  });
  const roles = [
    ...Array.from({ length: count }, (_, index) => role(`r${index}`, `*-${index}`)),
    role('all', '*'),
  ];
  const tuf = { ...head, _type: 'targets', spec_version: '1.0.0' };
  return {
    notary: new Map([
      ['targets', signed('notary', { ...head, _type: 'Targets', targets: targets('notary') }, [])],
    ]),
    tuf: new Map([
      ['targets', signed('tuf', { ...tuf, targets: {}, delegations: { keys: {}, roles } }, [])],
      ['all', signed('tuf', { ...tuf, targets: targets('tuf') }, [])],
    ]),
  };
}

/** A deadline that no test reaches. */
const forever = 600_000;

test('an update that exceeds the time limit is refused, and the next one is judged', async () => {
  const own = createJudge({ deadlineMs: 3000 });
  try {
    const { notary, tuf } = costly(20_000);
    const refusal = await own.differentTarget('hostile', notary, tuf);
    assert.match(
      JSON.stringify(refusal),
      /INVALID_UPDATE.*ErrValidation.*could not be judged: there was no answer within 3 s/u,
    );
    assert.equal(
      await own.differentTarget('hostile', files('notary', 5000, 'last'), files('tuf', 5000, 'last')),
      undefined,
    );
  } finally {
    await own.close();
  }
});

test('a slow update of one collection delays no other collection', async () => {
  const own = createJudge({ deadlineMs: forever });
  const { notary, tuf } = costly(20_000);
  const hostile = own.differentTarget('hostile', notary, tuf);
  try {
    assert.equal(
      await own.differentTarget('other', files('notary', 5000, 'last'), files('tuf', 5000, 'last')),
      undefined,
    );
  } finally {
    await own.close();
  }
  assert.match(JSON.stringify(await hostile), /it was closed/u);
});
