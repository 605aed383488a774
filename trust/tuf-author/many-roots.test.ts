import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Destination } from './destination.ts';
import { testRepository, written } from '../tuf/fixtures/repository.fixture.ts';
import { readPublished } from './publish.ts';
import { readPlace } from './sending.ts';

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

test('a place with a damaged file is refused after each of its roots was fetched a few times', async () => {
  const repository = testRepository('tuf');
  const files = new Map<string, Buffer>();
  const roots = new Map<number, Buffer>();
  for (let version = 1; version <= 40; version += 1) {
    repository.versions['root'] = version;
    const root = written(repository)['root'] ?? Buffer.alloc(0);
    roots.set(version, root);
    files.set(`${version}.root.json`, root);
  }
  files.set('timestamp.json', Buffer.from('damaged'));
  let fetches = 0;
  const fetch = (name: string) => {
    fetches += name.endsWith('.root.json') ? 1 : 0;
    return Promise.resolve(files.get(name));
  };
  const destination: Destination = {
    address: 'place',
    dialects: ['tuf'],
    source: () => ({ fetch }),
    publish: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  await assert.rejects(readPlace(destination, 'tuf', new Map(), roots, new Set()));
  assert.ok(fetches <= 4 * roots.size, `${fetches} fetches`);
});
