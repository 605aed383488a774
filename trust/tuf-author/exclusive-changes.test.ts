import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openRegistries } from '../registries/registry-access.ts';
import { openOwner } from './owner.ts';
import type { Owner } from './owner.types.ts';

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-alone-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs an action the way a command does. */
async function asOwner<T>(action: (owner: Owner) => Promise<T>, name = 'example.com/app'): Promise<T> {
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const passphrase = { environment: { PORTCULLIS_PASSPHRASE: 'correct horse' } };
  const owner = await openOwner({
    folder,
    name,
    passphrase,
    signers: [],
    registries,
    now: new Date(),
  });
  try {
    return await action(owner);
  } finally {
    await owner.close();
    await registries.close();
  }
}

const file = (text: string) => ({
  length: text.length,
  hashes: { sha256: createHash('sha256').update(text).digest('hex') },
  custom: undefined,
});

test('concurrent changes are all kept, and none waits for a reader', async () => {
  await asOwner((owner) =>
    owner.init({
      dialects: ['tuf'],
      destinations: [join(folder, 'web')],
      keys: {},
      expiry: {},
      localKeys: true,
    }),
  );
  const names = Array.from({ length: 8 }, (_, index) => `v${index}`);
  await asOwner(async (first) => {
    await first.stage({ kind: 'add', role: 'targets', path: 'first', file: file('first') });
    assert.equal((await asOwner((other) => other.targets())).length, 1);
  });
  await Promise.all(
    names.map((path) =>
      asOwner((owner) => owner.stage({ kind: 'add', role: 'targets', path, file: file(path) })),
    ),
  );
  const listed = await asOwner((owner) => owner.targets());
  assert.deepEqual(listed.map(({ path }) => path).sort(), ['first', ...names]);
  await asOwner((owner) => owner.publish({ to: [], countersign: false, expiry: {} }));
  assert.equal((await asOwner((owner) => owner.staged())).length, 0);
});

test('a change of a collection that does not exist is refused, and leaves no folder', async () => {
  const missing = { code: 'TRUST_AUTHOR_WORKING_FOLDER' };
  const changes: readonly ((owner: Owner) => Promise<unknown>)[] = [
    (owner) => owner.unstage(() => true),
    (owner) => owner.publish({ to: [], countersign: false, expiry: {} }),
    (owner) => owner.witness('targets'),
  ];
  for (const change of changes) await assert.rejects(asOwner(change, 'example.com/other'), missing);
  assert.equal(existsSync(join(folder, 'collections', 'example.com%2Fother')), false);
});

test('the changes of one call are staged completely or not at all', async () => {
  const change = (role: string, path: string) => ({ kind: 'add' as const, role, path, file: file(path) });
  const bad = asOwner((owner) =>
    owner.stage(change('targets', 'a'), change('targets', 'b'), change('nobody', 'c')),
  );
  await assert.rejects(bad, { code: 'TRUST_AUTHOR_NO_ROLE' });
  assert.equal((await asOwner((owner) => owner.staged())).length, 0);
});
