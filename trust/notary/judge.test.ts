import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { fileOf, testRepository, written } from '../tuf/fixtures/repository.fixture.ts';
import type { Dialect } from '../tuf/metadata/model.ts';
import { createJudge } from './judge.ts';

const judge = createJudge();
after(() => judge.close());

/** The files of a collection of so many targets, the last of which is `last`. */
function files(dialect: Dialect, count: number, last: string): Map<string, Buffer> {
  const repository = testRepository(dialect);
  const names = Array.from({ length: count }, (_, index): [string, string] => [`app:${index}`, index === count - 1 ? last : String(index)]);
  repository.targets['targets'] = Object.fromEntries(names.map(([name, content]) => [name, fileOf(dialect, Buffer.from(content))]));
  return new Map(Object.entries(written(repository)));
}

for (const count of [3, 5000])
  test(`two dialects of ${count} targets are compared the same, at once or in another thread`, async () => {
    const notary = files('notary', count, 'last');
    assert.equal(await judge.differentTarget(notary, files('tuf', count, 'last')), undefined);
    assert.equal(await judge.differentTarget(notary, files('tuf', count, 'other')), `app:${count - 1}`);
    assert.equal(await judge.differentTarget(notary, files('tuf', count + 1, 'last')), `app:${count - 1}`);
  });

test('what can not be read in another thread breaks that question alone', async () => {
  const [notary, tuf] = [files('notary', 5000, 'last'), files('tuf', 5000, 'last')];
  const broken = new Map([...tuf, ['targets', Buffer.alloc(1_000_000, ' ')]]);
  const [no, yes] = await Promise.allSettled([judge.differentTarget(notary, broken), judge.differentTarget(notary, tuf)]);
  assert.deepEqual([no.status, yes.status], ['rejected', 'fulfilled']);
});
