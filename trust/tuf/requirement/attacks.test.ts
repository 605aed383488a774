import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fileOf, signed, testKey, written } from '../fixtures/repository.fixture.ts';
import type { TestKey, TestRepository } from '../fixtures/repository.fixture.ts';
import type { Dialect } from '../metadata/model.ts';
import { digestOf, image, one, says, scene, two } from './scene.fixture.ts';
import type { Scene } from './scene.fixture.ts';

/**
 * Attacks on whoever asks what a tag means (TUF specification 1.0.34, section 1.5.2, and what Notary's history adds): each is refused for its own
 * reason, and afterwards a good refresh works.
 */
const past = '2020-01-01T00:00:00Z';

function raise(repository: TestRepository, ...roles: string[]): void {
  for (const role of roles) repository.versions[role] = (repository.versions[role] ?? 1) + 1;
}

const everyRole = ['timestamp', 'snapshot', 'targets'];

/** What a repository delegates `targets/releases` to a key with. */
function delegate(dialect: Dialect, key: TestKey): object {
  const scope = dialect === 'tuf' ? { paths: ['*'], terminating: false } : { paths: [''] };
  return { keys: { [key.id]: key.entry }, roles: [{ name: 'targets/releases', keyids: [key.id], threshold: 1, ...scope }] };
}

interface Attack {
  readonly name: string;
  readonly code: string;
  readonly says: RegExp;
  readonly outcome?: 'undecided';
  readonly dialects?: readonly Dialect[];
  readonly prepare?: (repository: TestRepository) => void;
  /** Serves something bad, after a good refresh. */
  readonly act: (scene: Scene, repository: TestRepository, dialect: Dialect) => void | Promise<void>;
}

/** Serves the repository as it is now and puts its values back. */
function serveOnce(scene: Scene, change: (repository: TestRepository) => void): void {
  const { repository } = scene;
  const before = structuredClone({ versions: repository.versions, expires: repository.expires });
  const { targets, keys } = { targets: structuredClone(repository.targets), keys: { ...repository.keys } };
  change(repository);
  scene.service.publish(image, repository);
  Object.assign(repository, before, { targets, keys });
  delete repository.signers;
}

const attacks: readonly Attack[] = [
  ...everyRole.map((role, index): Attack => ({
    name: `a rollback of the ${role}`,
    code: 'TRUST_TUF_ROLLBACK',
    says: /version \d is older than \d, which was trusted before/u,
    async act(here) {
      raise(here.repository, ...everyRole, ...everyRole);
      here.service.publish(image, here.repository);
      says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
      serveOnce(here, (repository) => {
        raise(repository, ...everyRole.slice(0, index));
        repository.versions[role] = 2;
        // Otherwise the file of that version is the one that was there.
        for (const later of everyRole.slice(index + 1)) repository.versions[later] = 2;
      });
    },
  })),
  {
    name: 'a rollback of the root',
    code: 'TRUST_TUF_ROLLBACK',
    says: /^root: version 1 was served where version 2 must follow/u,
    act({ service, repository }, _, dialect) {
      const base = dialect === 'notary' ? `/v2/${image}/_trust/tuf` : `/tuf/${image}`;
      service.files.set(`${base}/2.root.json`, written(repository)['root'] ?? Buffer.alloc(0));
    },
  },
  ...everyRole.map((role): Attack => ({
    name: role === 'timestamp' ? 'a freeze: a timestamp that has expired' : `${role} metadata that have expired`,
    code: 'TRUST_TUF_EXPIRED',
    says: new RegExp(`^${role}: version \\d has expired at 2020-01-01`, 'u'),
    act: (here) =>
      serveOnce(here, (repository) => {
        raise(repository, ...everyRole);
        repository.expires[role] = past;
      }),
  })),
  {
    name: 'a root that has expired',
    code: 'TRUST_TUF_EXPIRED',
    says: /^root: version 2 has expired/u,
    act: (here) =>
      serveOnce(here, (repository) => {
        raise(repository, 'root', ...everyRole);
        repository.expires['root'] = past;
      }),
  },
  {
    name: 'mix and match: targets of one moment under the snapshot of another',
    code: 'TRUST_TUF_WRONG_HASH',
    says: /^targets: its sha(256|512) is not the signed/u,
    act(here, repository, dialect) {
      const old = written(repository)['targets'] ?? Buffer.alloc(0);
      serveOnce(here, (next) => {
        raise(next, ...everyRole);
        const made = here.service.publish(image, next);
        const name = [...here.service.files].find(
          ([path, bytes]) => bytes === made['targets'] && /\d\.targets|targets\.[0-9a-f]/u.test(path),
        );
        assert.ok(name, dialect);
        next.targets['targets'] = {};
      });
      for (const [path, bytes] of here.service.files)
        if (/\/2\.targets\.json$|\/targets\.[0-9a-f]+\.json$/u.test(path) && bytes.length !== old.length)
          here.service.files.set(path, Buffer.from(bytes.toString('latin1').replace('"version"', '"versiom"'), 'latin1'));
    },
  },
  {
    name: 'mix and match: a root that is not the snapshot’s',
    code: 'TRUST_TUF_MIX_AND_MATCH',
    says: /^root: it is not the root that the snapshot/u,
    dialects: ['notary'],
    act({ service, repository }) {
      const old = written(repository);
      repository.versions['root'] = 2;
      const { root } = written(repository);
      repository.versions['root'] = 1;
      service.publish(image, repository, old);
      service.files.set(`/v2/${image}/_trust/tuf/2.root.json`, root ?? Buffer.alloc(0));
    },
  },
  {
    name: 'endless data',
    code: 'TRUST_TUF_TOO_LARGE',
    says: /timestamp\.json: it is larger than \d+ bytes/u,
    act({ service }) {
      service.answer = (path, response) => {
        if (!path.endsWith('/timestamp.json')) return false;
        response.writeHead(200);
        const more = setInterval(() => response.write(Buffer.alloc(16 * 1024, ' ')), 1);
        response.on('close', () => clearInterval(more));
        return true;
      };
    },
  },
  {
    name: 'a file of another length',
    code: 'TRUST_TUF_WRONG_LENGTH',
    says: /^targets: it has \d+ bytes; \d+ were signed/u,
    act(here) {
      serveOnce(here, (repository) => raise(repository, ...everyRole));
      for (const [path, bytes] of here.service.files)
        if (/targets\.[0-9a-f]{64}\.json$|2\.targets\.json$/u.test(path)) here.service.files.set(path, bytes.subarray(1));
    },
  },
  {
    name: 'a file of another hash',
    code: 'TRUST_TUF_WRONG_HASH',
    says: /^targets: its sha256 is not the signed/u,
    act(here) {
      serveOnce(here, (repository) => raise(repository, ...everyRole));
      for (const [path, bytes] of here.service.files)
        if (/targets\.[0-9a-f]{64}\.json$|2\.targets\.json$/u.test(path))
          here.service.files.set(path, Buffer.from(bytes.toString('latin1').replace('2.0', '2.1'), 'latin1'));
    },
  },
  {
    name: 'the key of another role',
    code: 'TRUST_TUF_UNSIGNED',
    says: /^timestamp: 0 of the 1 signatures that the root demands count; 1 of another key/u,
    act: (here) =>
      serveOnce(here, (repository) => {
        raise(repository, ...everyRole);
        repository.signers = { timestamp: repository.keys.targets };
      }),
  },
  {
    name: 'one signature twice for a threshold of two',
    code: 'TRUST_TUF_UNSIGNED',
    says: /1 of the 2 signatures/u,
    dialects: ['notary'],
    prepare: twoTimestampKeys,
    act: signTwice,
  },
  {
    name: 'one signature twice for a threshold of two',
    code: 'TRUST_TUF_MALFORMED',
    says: /^timestamp: it holds two signatures of key/u,
    dialects: ['tuf'],
    prepare: twoTimestampKeys,
    act: signTwice,
  },
  {
    name: 'two roots of one version: a second one that others follow',
    code: 'TRUST_TUF_UNSIGNED',
    says: /^root: 0 of the 1 signatures that the root of version 2 demands count/u,
    async act(here, repository) {
      const first = repository.keys.root;
      const former = here.service.files.size;
      repository.keys.root = [testKey(repository.dialect)];
      rootBy(here, repository, 2, [...first, ...repository.keys.root]);
      await here.judge(`${image}:1.0`);
      // The other root of version 2 would have named this key.
      const other = [testKey(repository.dialect)];
      rootBy(here, { ...repository, keys: { ...repository.keys, root: other } }, 3, other);
      assert.ok(here.service.files.size > former);
    },
  },
  {
    name: 'a delegated role signed by whom its delegator does not name',
    code: 'TRUST_TUF_UNSIGNED',
    says: /^targets\/releases: 0 of the 1 signatures that targets demands count/u,
    act: (here, _, dialect) =>
      serveOnce(here, (repository) => {
        raise(repository, ...everyRole);
        repository.delegations['targets'] = delegate(dialect, testKey(dialect));
        repository.delegated['targets/releases'] = [testKey(dialect)];
        // The role above has not signed the tag: it is looked for below.
        repository.targets = { targets: {}, 'targets/releases': { '1.0': fileOf(dialect, two) } };
      }),
  },
  {
    name: 'a role that nobody delegates to',
    code: 'TRUST_TUF_NO_TARGET',
    says: /nobody who may has signed "1\.0"/u,
    act: (here, _, dialect) =>
      serveOnce(here, (repository) => {
        raise(repository, ...everyRole);
        delete repository.delegations['targets'];
        repository.delegated['targets/releases'] = repository.keys.targets;
        repository.targets = { targets: {}, 'targets/releases': { '1.0': fileOf(dialect, two) } };
      }),
  },
  {
    name: 'names that look alike, or differ in case',
    code: 'TRUST_TUF_NO_TARGET',
    says: /nobody who may has signed "1\.0"/u,
    act: (here, _, dialect) =>
      serveOnce(here, (repository) => {
        raise(repository, ...everyRole);
        const names = ['1.0\u200b', '１.0', '1\u2024' + '0', '1.O', ' 1.0', '1.0 ', '1%2E0', 'V1.0', './1.0', `${image}:1.0`];
        repository.targets['targets'] = Object.fromEntries(names.map((name) => [name, fileOf(dialect, two)]));
      }),
  },
  {
    name: 'metadata that are none',
    code: 'TRUST_TUF_MALFORMED',
    says: /^timestamp: it is not JSON/u,
    act({ service }) {
      for (const path of service.files.keys()) if (path.endsWith('/timestamp.json')) service.files.set(path, Buffer.from('<html>'));
    },
  },
  {
    name: 'metadata that are taken away',
    code: 'TRUST_TUF_MISSING',
    says: /^timestamp: timestamp\.json is not there/u,
    act({ service }) {
      for (const path of service.files.keys()) if (path.endsWith('/timestamp.json')) service.files.delete(path);
    },
  },
];

function twoTimestampKeys(repository: TestRepository): void {
  repository.keys.timestamp = [testKey(repository.dialect), testKey(repository.dialect)];
  repository.thresholds.timestamp = 2;
}

function signTwice(here: Scene): void {
  serveOnce(here, (repository) => {
    raise(repository, ...everyRole);
    const [key] = repository.keys.timestamp;
    assert.ok(key);
    repository.signers = { timestamp: [key, key] };
  });
}

/** Serves a root that these keys have signed. */
function rootBy({ service }: Scene, repository: TestRepository, version: number, keys: readonly TestKey[]): void {
  const made = written({ ...repository, versions: { ...repository.versions, root: version } })['root'] ?? Buffer.alloc(0);
  const { signed: body } = JSON.parse(made.toString('utf8')) as { signed: object };
  const base = repository.dialect === 'notary' ? `/v2/${image}/_trust/tuf` : `/tuf/${image}`;
  service.files.set(`${base}/${version}.root.json`, signed(repository.dialect, body, keys));
}

for (const dialect of ['tuf', 'notary'] as const) {
  void suite(`${dialect}: refused,`, () => {
    for (const { name, code, says: sentence, outcome = 'deny', dialects, prepare, act } of attacks) {
      if (dialects?.includes(dialect) === false) continue;
      test(name, () =>
        scene(dialect, prepare === undefined ? {} : { prepare }, async (here) => {
          says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
          const good = new Map(here.service.files);
          await act(here, here.repository, dialect);
          says(await here.judge(`${image}:1.0`), outcome, code, sentence);
          here.service.answer = () => false;
          // A new root, and a role that a snapshot has named, are there for good.
          if (/root|role that|delegated role/u.test(name)) return;
          here.service.files.clear();
          for (const [path, bytes] of good) here.service.files.set(path, bytes);
          raise(here.repository, ...everyRole, ...everyRole);
          here.service.publish(image, here.repository);
          says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
        }),
      );
    }

    test('slow data: what is not there in time was not said', () =>
      scene(dialect, { services: { deadlineMs: 600 } }, async ({ service, judge }) => {
        service.answer = (path, response) => {
          if (!path.endsWith('/timestamp.json')) return false;
          response.writeHead(200);
          const more = setInterval(() => response.write(' '), 50);
          response.on('close', () => clearInterval(more));
          return true;
        };
        const started = performance.now();
        says(await judge(`${image}:1.0`), 'undecided', 'TRUST_TUF_TOO_SLOW');
        assert.ok(performance.now() - started < 10_000);
        service.answer = () => false;
        says(await judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
      }));

    test('a fast-forward by stolen online keys, which a new root recovers from', () =>
      scene(dialect, {}, async (here) => {
        const { repository, service } = here;
        const first = repository.keys.root;
        repository.versions = { ...repository.versions, timestamp: 2_000_000_000, snapshot: 2_000_000_000 };
        service.publish(image, repository);
        says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
        repository.versions = { ...repository.versions, timestamp: 2, snapshot: 2 };
        service.publish(image, repository);
        says(await here.judge(`${image}:1.0`), 'deny', 'TRUST_TUF_ROLLBACK', /2000000000/u);
        repository.keys = { ...repository.keys, timestamp: [testKey(dialect)], snapshot: [testKey(dialect)] };
        repository.versions = { root: 2, timestamp: 3, snapshot: 3, targets: 1 };
        repository.keys.root = first;
        service.publish(image, repository);
        await here.reopen();
        says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED', /timestamp version 3/u);
      }));

    test('a rollback after a restart', () =>
      scene(dialect, {}, async (here) => {
        const { repository, service } = here;
        const old = new Map(service.files);
        raise(repository, ...everyRole);
        repository.targets['targets'] = { '1.0': fileOf(dialect, two) };
        service.publish(image, repository);
        assert.equal((await here.gather(`${image}:1.0`)).digest, digestOf(two));
        await here.reopen();
        for (const [path, bytes] of old) service.files.set(path, bytes);
        says(await here.judge(`${image}:1.0`), 'deny', 'TRUST_TUF_ROLLBACK');
      }));

    test('an older image under the current tag', () =>
      scene(dialect, {}, async (here) => {
        const { repository, service } = here;
        const before = await here.gather(`${image}:1.0`);
        assert.equal(before.digest, digestOf(one));
        raise(repository, ...everyRole);
        repository.targets['targets'] = { '1.0': fileOf(dialect, two) };
        service.publish(image, repository);
        says(await here.judge(`${image}:1.0`, digestOf(one)), 'deny', 'TRUST_TUF_OTHER_DIGEST');
        says(await here.judge(`${image}@${digestOf(one)}`, digestOf(one)), 'deny', 'TRUST_TUF_NO_TARGET');
        says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
      }));
  });
}
