import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileOf, testKey, testRepository, written } from '../tuf/fixtures/repository.fixture.ts';
import type { TestRepository } from '../tuf/fixtures/repository.fixture.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { differentTarget } from './same-targets.ts';

type Roles = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** Returns the files of a collection: role → name → content; `targets` delegates to every other role. */
function filesOf(dialect: Dialect, roles: Roles, delegated = Object.keys(roles)): Map<string, Buffer> {
  const repository: TestRepository = testRepository(dialect);
  const key = testKey(dialect);
  const scope = dialect === 'tuf' ? { paths: ['*'], terminating: false } : { paths: [''] };
  const names = delegated.filter((name) => name !== 'targets');
  repository.delegations['targets'] = {
    keys: { [key.id]: key.entry },
    roles: names.map((name) => ({ name, keyids: [key.id], threshold: 1, ...scope })),
  };
  for (const [role, targets] of Object.entries(roles)) {
    repository.delegated[role] = [key];
    repository.targets[role] = Object.fromEntries(
      Object.entries(targets).map(([path, content]) => [path, fileOf(dialect, Buffer.from(content))]),
    );
  }
  return new Map(Object.entries(written(repository)));
}

const differ = (notary: Roles, tuf: Roles): string | undefined =>
  differentTarget(filesOf('notary', notary), filesOf('tuf', tuf));

test('compares what clients of both dialects find', () => {
  assert.equal(differ({ targets: { a: '1' } }, { targets: { a: '1' } }), undefined);
  assert.equal(differ({ targets: { a: '1' } }, { targets: { a: '2' } }), 'a');
  assert.equal(differ({ targets: { a: '1' } }, { targets: {} }), 'a');
  assert.equal(differ({ targets: {} }, { targets: { a: '1' } }), 'a');
  assert.equal(
    differ({ targets: {}, 'targets/x': { a: '1' } }, { targets: {}, 'targets/x': { a: '1' } }),
    undefined,
  );
  assert.equal(
    differ({ targets: {}, 'targets/x': { a: '1' } }, { targets: {}, 'targets/x': { a: '2' } }),
    'a',
  );
});

test('each dialect uses its own search order when roles sign different digests for one name', () => {
  const both = { targets: { a: 'old' }, 'targets/releases': { a: 'new' } };
  // Notary searches targets/releases first, TUF searches targets first.
  assert.equal(differ(both, both), 'a');
  assert.equal(differ(both, { targets: { a: 'new' } }), undefined);
});

test('other files of a Notary delegate do not matter, nor do roles that no role delegates to', () => {
  const tuf = { targets: { a: '1' } };
  assert.equal(differ({ targets: { a: '1' }, 'targets/x': { a: 'other', b: 'more' } }, tuf), undefined);
  const left = { targets: { a: '1' }, 'targets/releases': { a: 'other' } };
  assert.equal(differentTarget(filesOf('notary', left, ['targets']), filesOf('tuf', tuf)), undefined);
});
