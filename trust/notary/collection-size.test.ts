import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { signed, testKey } from '../tuf/fixtures/repository.fixture.ts';
import { fetchJson, multipart, post, publisher, targetsOf } from './publisher.fixture.ts';
import type { OnlineEntries } from './publisher.fixture.ts';
import { startTrustService } from './trust-service.ts';

test('many uploads do not make a collection larger than the largest upload', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-collection-size-'));
  const service = await startTrustService({ listen: '127.0.0.1:0', data: folder, uploadBytes: 2 ** 20 });
  t.after(async () => {
    await service.close();
    rmSync(folder, { recursive: true });
  });
  const gun = 'example.com/app';
  const address = `${service.url}/v2/${gun}/_trust/tuf/`;
  const online: OnlineEntries = {
    snapshot: await fetchJson(`${address}snapshot.key`),
    timestamp: await fetchJson(`${address}timestamp.key`),
  };
  const [owner, key] = [publisher(gun), testKey('notary', 'ecdsa')];
  const roles = ['targets/a', 'targets/b'].map((name) => ({
    ...{ name, keyids: [key.id], threshold: 1, paths: [''] },
  }));
  const delegations = { keys: { [key.id]: key.entry }, roles };
  const put = (files: readonly (readonly [string, Buffer])[]): ReturnType<typeof post> =>
    post(address, multipart(files.map(([name, bytes]) => ({ name, bytes }))));
  const padded = (characters: number): Buffer =>
    signed('notary', { ...targetsOf(1, {}), custom: 'x'.repeat(characters) }, [key]);
  const first = await put([
    ['root', owner.root(1, online)],
    ['targets', owner.targets(1, {}, { delegations })],
  ]);
  assert.equal(first.status, 200);
  assert.equal((await put([['targets/a', padded(600_000)]])).status, 200);
  const before = await (await fetch(`${address}timestamp.json`)).text();
  const refused = await put([['targets/b', padded(600_000)]]);
  assert.deepEqual([refused.status, refused.code], [400, 'INVALID_UPDATE']);
  assert.match(JSON.stringify(refused.detail), /at most 1048576 bytes/u);
  assert.equal(await (await fetch(`${address}timestamp.json`)).text(), before);
  assert.equal((await put([['targets/b', padded(300_000)]])).status, 200);
});
