import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testRepository, written } from '../tuf/fixtures/repository.fixture.ts';
import { readPublished } from './publish.ts';

test('an owner reads a place with more roots than a client accepts at once', async () => {
  const repository = testRepository('tuf');
  const files = new Map<string, Buffer>();
  const first = written(repository)['root'] ?? Buffer.alloc(0);
  for (let version = 1; version <= 300; version += 1) {
    repository.versions['root'] = version;
    files.set(`${version}.root.json`, written(repository)['root'] ?? Buffer.alloc(0));
  }
  const { timestamp, snapshot, targets } = written(repository);
  for (const [name, bytes] of Object.entries({ timestamp, '1.snapshot': snapshot, '1.targets': targets }))
    if (bytes !== undefined) files.set(`${name}.json`, bytes);
  const source = { fetch: (name: string) => Promise.resolve(files.get(name)) };
  const read = await readPublished('tuf', source, new Map([['root', first]]));
  assert.equal(read?.roots.size, 299);
});
