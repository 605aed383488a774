import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { fileOf, signed, testKey, testRepository, written } from './fixtures/repository.fixture.ts';
import type { TestRepository } from './fixtures/repository.fixture.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import {
  keptSnapshot,
  keptTargets,
  keptTimestamp,
  nextRoot,
  refuseExpiredRoot,
  trustRoot,
  withSnapshot,
  withTargets,
  withTimestamp,
} from './trusted-set.ts';
import type { TrustedSet } from './trusted-set.ts';

const now = new Date('2030-01-01T00:00:00Z');
const past = '2029-12-31T23:59:59Z';
const none = Buffer.alloc(0);

function trust(
  dialect: Dialect,
  files: Record<string, Buffer>,
  kept: Record<string, Buffer> = {},
  first = files['root'],
): TrustedSet {
  let set = trustRoot(dialect, first ?? none);
  if (first !== files['root']) set = nextRoot(set, files['root'] ?? none);
  refuseExpiredRoot(set, now);
  if (kept['timestamp'] !== undefined) set = keptTimestamp(set, kept['timestamp']);
  set = withTimestamp(set, files['timestamp'] ?? none, now);
  if (kept['snapshot'] !== undefined) set = keptSnapshot(set, kept['snapshot']);
  set = withSnapshot(set, files['snapshot'] ?? none, now);
  const former = kept['targets'] === undefined ? undefined : keptTargets(dialect, kept['targets']);
  return withTargets(
    set,
    { name: 'targets', delegator: 'root', bytes: files['targets'] ?? none, ...(former && { former }) },
    now,
  );
}

const refused = (code: string, on: string, body: () => unknown): void => {
  assert.throws(body, (error) => {
    assert.ok(isPortcullisError(error), String(error));
    assert.equal(`${error.code} ${error.failure.on}`, `${code} ${on}`, error.message);
    return true;
  });
};

const raised = (repository: TestRepository, ...roles: string[]): TestRepository => {
  for (const role of roles) repository.versions[role] = (repository.versions[role] ?? 1) + 1;
  return repository;
};

for (const dialect of ['tuf', 'notary'] as const) {
  void suite(`${dialect}:`, () => {
    test('a complete repository is trusted', () => {
      const repository = testRepository(dialect);
      repository.targets['targets'] = { 'app:1': fileOf(dialect, Buffer.from('one')) };
      const set = trust(dialect, written(repository));
      assert.equal(set.targets.get('targets')?.signed.targets.get('app:1')?.length, 3);
    });

    test('each role that has expired is refused by its name', () => {
      for (const role of ['root', 'timestamp', 'snapshot', 'targets']) {
        const repository = testRepository(dialect);
        repository.expires[role] = past;
        refused('TRUST_TUF_EXPIRED', role, () => trust(dialect, written(repository)));
      }
    });

    test('each role that is not signed by its own key is refused by its name', () => {
      for (const role of ['timestamp', 'snapshot', 'targets'] as const) {
        const repository = testRepository(dialect);
        repository.signers = { [role]: [testKey(dialect)] };
        refused('TRUST_TUF_UNSIGNED', role, () => trust(dialect, written(repository)));
      }
    });

    test('a key of another role does not sign for this one', () => {
      const repository = testRepository(dialect);
      const files = written(repository);
      const { signed: body } = JSON.parse(String(files['timestamp'])) as { signed: object };
      refused('TRUST_TUF_UNSIGNED', 'timestamp', () =>
        trust(dialect, {
          ...files,
          timestamp: signed(dialect, body, [...repository.keys.targets, ...repository.keys.snapshot]),
        }),
      );
    });

    test('a threshold of two is not met by one key, under one name or under two', () => {
      const repository = testRepository(dialect);
      repository.keys.timestamp = [testKey(dialect), testKey(dialect)];
      repository.thresholds.timestamp = 2;
      assert.ok(trust(dialect, written(repository)));
      const files = written(repository);
      const file = JSON.parse(String(files['timestamp'])) as { signed: object; signatures: object[] };
      const one = Buffer.from(JSON.stringify({ ...file, signatures: file.signatures.slice(0, 1) }));
      refused('TRUST_TUF_UNSIGNED', 'timestamp', () => trust(dialect, { ...files, timestamp: one }));
      const twice = Buffer.from(
        JSON.stringify({ ...file, signatures: [file.signatures[0], file.signatures[0]] }),
      );
      refused(dialect === 'tuf' ? 'TRUST_TUF_MALFORMED' : 'TRUST_TUF_UNSIGNED', 'timestamp', () =>
        trust(dialect, { ...files, timestamp: twice }),
      );
    });

    test('a threshold below 1 is refused (CVE-2026-23992)', () => {
      for (const role of ['root', 'timestamp', 'snapshot', 'targets'] as const)
        for (const threshold of [0, -1]) {
          const repository = testRepository(dialect);
          repository.thresholds[role] = threshold;
          refused('TRUST_TUF_MALFORMED', 'root', () => trust(dialect, written(repository)));
          // The role has no signature: a threshold of 0 would accept that.
          repository.signers = { [role]: [] };
          assert.throws(() => trust(dialect, written(repository)));
        }
    });

    test('a rollback of timestamp, snapshot or targets is refused', () => {
      const repository = testRepository(dialect);
      const old = written(repository);
      const kept = written(raised(repository, 'timestamp', 'snapshot', 'targets'));
      refused('TRUST_TUF_ROLLBACK', 'timestamp', () => trust(dialect, old, kept));
      repository.versions['snapshot'] = 1;
      refused('TRUST_TUF_ROLLBACK', 'snapshot', () =>
        trust(dialect, written(raised(repository, 'timestamp')), kept),
      );
      repository.versions['snapshot'] = 3;
      repository.versions['targets'] = 1;
      refused('TRUST_TUF_ROLLBACK', 'targets', () =>
        trust(dialect, written(raised(repository, 'timestamp')), kept),
      );
    });

    test('files of different moments are refused together', () => {
      const repository = testRepository(dialect);
      const old = written(repository);
      const files = written(raised(repository, 'timestamp', 'snapshot', 'targets'));
      refused('TRUST_TUF_WRONG_HASH', 'snapshot', () =>
        trust(dialect, { ...files, snapshot: old['snapshot'] ?? none }),
      );
      refused('TRUST_TUF_WRONG_HASH', 'targets', () =>
        trust(dialect, { ...files, targets: old['targets'] ?? none }),
      );
      refused('TRUST_TUF_WRONG_LENGTH', 'targets', () =>
        trust(dialect, { ...files, targets: Buffer.concat([files['targets'] ?? none, Buffer.from(' ')]) }),
      );
    });

    test('a root follows the one before it: signed by both, one version on', () => {
      const repository = testRepository(dialect);
      const first = written(repository)['root'];
      const former = repository.keys.root;
      repository.keys.root = [testKey(dialect)];
      raised(repository, 'root');
      const alone = written(repository);
      refused('TRUST_TUF_UNSIGNED', 'root', () => trust(dialect, alone, {}, first));
      const { signed: body } = JSON.parse(String(alone['root'])) as { signed: object };
      const both = signed(dialect, body, [...former, ...repository.keys.root]);
      assert.equal(nextRoot(trustRoot(dialect, first ?? none), both).root.signed.version, 2);
      refused('TRUST_TUF_UNSIGNED', 'root', () =>
        nextRoot(trustRoot(dialect, first ?? none), signed(dialect, body, former)),
      );
      const leaping = signed(dialect, { ...body, version: 3 }, [...former, ...repository.keys.root]);
      refused('TRUST_TUF_ROLLBACK', 'root', () => nextRoot(trustRoot(dialect, first ?? none), leaping));
    });

    test('metadata kept under keys that the root has removed is dropped: the client recovers from a fast-forward attack', () => {
      const repository = testRepository(dialect);
      repository.versions = { root: 1, timestamp: 900, snapshot: 900, targets: 900 };
      const kept = written(repository);
      const former = repository.keys;
      repository.keys = {
        root: former.root,
        timestamp: [testKey(dialect)],
        snapshot: [testKey(dialect)],
        targets: [testKey(dialect)],
      };
      repository.versions = { root: 2, timestamp: 1, snapshot: 1, targets: 1 };
      assert.equal(
        trust(dialect, written(repository), kept, kept['root']).targets.get('targets')?.signed.version,
        1,
      );
    });

    test('a file that is not metadata is refused, and the reason names the fault', () => {
      const files = written(testRepository(dialect));
      for (const bytes of [
        '',
        '{}',
        '[]',
        '{"signed":{},"signatures":[]}',
        '{"signed":{"_type":"root"},"signatures":{}}',
        '\ud800',
      ]) {
        refused('TRUST_TUF_MALFORMED', 'timestamp', () =>
          trust(dialect, { ...files, timestamp: Buffer.from(bytes) }),
        );
      }
      refused('TRUST_TUF_MALFORMED', 'timestamp', () =>
        trust(dialect, { ...files, timestamp: files['snapshot'] ?? none }),
      );
    });

    test('a role that no role delegates to is not trusted', () => {
      const repository = testRepository(dialect);
      repository.targets['stray'] = {};
      repository.delegated['stray'] = repository.keys.targets;
      const files = written(repository);
      const set = trust(dialect, files);
      refused('TRUST_TUF_NOT_DELEGATED', 'stray', () =>
        withTargets(set, { name: 'stray', delegator: 'targets', bytes: files['stray'] ?? none }, now),
      );
    });
  });
}

test('the snapshot of Notary is trusted only together with its own root', () => {
  const repository = testRepository('notary');
  const old = written(repository);
  const next = written(raised(repository, 'root'));
  const file = { ...old, root: next['root'] ?? none };
  refused('TRUST_TUF_MIX_AND_MATCH', 'root', () => trust('notary', file, {}, old['root']));
});
