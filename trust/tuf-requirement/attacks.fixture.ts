import assert from 'node:assert/strict';
import { fileOf, testKey, written } from '../tuf/fixtures/repository.fixture.ts';
import {
  everyRole,
  raise,
  baseOf,
  delegate,
  signBelow,
  delegateWell,
  serveOnce,
  spoilTargets,
  twoTimestampKeys,
  signTwice,
  rootBy,
} from './attacked-repository.fixture.ts';
import type { Attack } from './attacked-repository.fixture.ts';

/** A different manifest from the signed one. */
const other = Buffer.from('{"other":2}');
const past = '2020-01-01T00:00:00Z';

const rollbacks = everyRole.map((role, index): Attack => ({
  name: `a rollback of the ${role}`,
  code: 'TRUST_TUF_ROLLBACK',
  says: /version \d is older than \d, which was trusted before/u,
  async act(here) {
    raise(here.repository, ...everyRole, ...everyRole);
    here.service.publish(here.image, here.repository);
    await here.believe();
    serveOnce(here, (repository) => {
      raise(repository, ...everyRole.slice(0, index));
      repository.versions[role] = 2;
      // Otherwise the file of that version would be the existing one.
      for (const later of everyRole.slice(index + 1)) repository.versions[later] = 2;
    });
  },
}));

const expiries = everyRole.map((role): Attack => ({
  name: role === 'timestamp' ? 'a freeze: a timestamp that has expired' : `${role} metadata that has expired`,
  code: 'TRUST_TUF_EXPIRED',
  says: new RegExp(`^${role}: version \\d expired at 2020-01-01`, 'u'),
  act: (here) =>
    serveOnce(here, (repository) => {
      raise(repository, ...everyRole);
      repository.expires[role] = past;
    }),
}));

export const attacks: readonly Attack[] = [
  ...rollbacks,
  {
    name: 'a rollback of the root',
    code: 'TRUST_TUF_ROLLBACK',
    says: /^root: version 1 was served instead of version 2/u,
    act(here) {
      here.service.files.set(
        `${baseOf(here)}/2.root.json`,
        written(here.repository)['root'] ?? Buffer.alloc(0),
      );
    },
  },
  {
    name: 'a rollback of a delegated role',
    code: 'TRUST_TUF_ROLLBACK',
    says: /^targets\/releases: .*version 1 is older than 2, which was trusted before/u,
    async act(here) {
      const { repository } = here;
      delegate(repository, testKey(repository.dialect));
      const { targets } = repository;
      signBelow(repository);
      repository.versions['targets/releases'] = 2;
      raise(repository, ...everyRole);
      here.service.publish(here.image, repository);
      await here.believe();
      serveOnce(here, (next) => {
        raise(next, ...everyRole);
        next.versions['targets/releases'] = 1;
      });
      repository.targets = { ...targets, 'targets/releases': {} };
    },
    recover: (repository) => raise(repository, 'targets/releases', 'targets/releases'),
  },
  {
    name: 'a fast-forward by stolen online keys, which a new root recovers from',
    code: 'TRUST_TUF_ROLLBACK',
    says: /version \d is older than 2000000000/u,
    async act(here) {
      const { repository } = here;
      repository.versions = { ...repository.versions, timestamp: 2_000_000_000, snapshot: 2_000_000_000 };
      here.service.publish(here.image, repository);
      await here.believe();
      repository.versions = { ...repository.versions, timestamp: 2, snapshot: 2 };
      here.service.publish(here.image, repository);
    },
    recover(repository) {
      repository.versions['root'] = 2;
      repository.keys = {
        ...repository.keys,
        timestamp: [testKey(repository.dialect)],
        snapshot: [testKey(repository.dialect)],
      };
    },
  },
  ...expiries,
  {
    name: 'a root that has expired',
    code: 'TRUST_TUF_EXPIRED',
    says: /^root: version 2 expired/u,
    act: (here) =>
      serveOnce(here, (repository) => {
        raise(repository, 'root', ...everyRole);
        repository.expires['root'] = past;
      }),
    recover(repository) {
      repository.versions['root'] = 3;
    },
  },
  {
    name: 'delegated metadata that has expired',
    code: 'TRUST_TUF_EXPIRED',
    says: /^targets\/releases: version 1 expired at 2020-01-01/u,
    act: (here) =>
      serveOnce(here, (repository) => {
        raise(repository, ...everyRole);
        delegate(repository, testKey(repository.dialect));
        signBelow(repository);
        repository.expires['targets/releases'] = past;
      }),
    recover: delegateWell,
  },
  {
    name: 'mix and match: targets of one moment under the snapshot of another',
    code: 'TRUST_TUF_WRONG_HASH',
    says: /^targets: its sha(256|512) is not the signed/u,
    act(here) {
      const former = written(here.repository)['targets'] ?? Buffer.alloc(0);
      spoilTargets(here, (bytes) => {
        assert.equal(bytes.length, former.length);
        return former;
      });
    },
  },
  {
    name: 'mix and match: a root that is not the snapshot’s',
    code: 'TRUST_TUF_MIX_AND_MATCH',
    says: /^root: it is not the root that the snapshot/u,
    dialects: ['notary'],
    act(here) {
      const { repository, service } = here;
      const old = written(repository);
      repository.versions['root'] = 2;
      const { root } = written(repository);
      repository.versions['root'] = 1;
      service.publish(here.image, repository, old);
      service.files.set(`${baseOf(here)}/2.root.json`, root ?? Buffer.alloc(0));
    },
    recover(repository) {
      repository.versions['root'] = 2;
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
    says: /^targets: it has \d+ bytes, but the signed length is \d+/u,
    act: (here) => spoilTargets(here, (bytes) => bytes.subarray(1)),
  },
  {
    name: 'a file of another hash',
    code: 'TRUST_TUF_WRONG_HASH',
    says: /^targets: its sha256 is not the signed/u,
    act: (here) =>
      spoilTargets(here, (bytes) => Buffer.from(bytes.toString('latin1').replace('1.0', '1.1'), 'latin1')),
  },
  {
    name: 'the key of another role',
    code: 'TRUST_TUF_UNSIGNED',
    says: /^timestamp: 0 of the 1 signatures that the root requires count; 1 of another key/u,
    act: (here) =>
      serveOnce(here, (repository) => {
        raise(repository, ...everyRole);
        repository.signers = { timestamp: repository.keys.targets };
      }),
  },
  {
    name: 'a file of one role in place of another role that has the same key',
    code: 'TRUST_TUF_MALFORMED',
    says: /^timestamp: /u,
    prepare(repository) {
      repository.keys.timestamp = repository.keys.snapshot;
    },
    act({ service, repository }) {
      const { snapshot } = written(repository);
      for (const path of service.files.keys())
        if (path.endsWith('/timestamp.json')) service.files.set(path, snapshot ?? Buffer.alloc(0));
    },
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
    says: /^timestamp: it has two signatures of key/u,
    dialects: ['tuf'],
    prepare: twoTimestampKeys,
    act: signTwice,
  },
  {
    name: 'two roots of one version: a second one that others follow',
    code: 'TRUST_TUF_UNSIGNED',
    says: /^root: 0 of the 1 signatures that the root of version 2 requires count/u,
    async act(here) {
      const { repository } = here;
      const first = repository.keys.root;
      repository.keys.root = [testKey(repository.dialect)];
      rootBy(here, repository, 2, [...first, ...repository.keys.root]);
      await here.ask();
      // The other root of version 2 would have listed this key.
      const key = [testKey(repository.dialect)];
      rootBy(here, { ...repository, keys: { ...repository.keys, root: key } }, 3, key);
    },
    recover(repository) {
      repository.versions['root'] = 3;
    },
  },
  {
    name: 'a delegated role signed by a key that its delegator does not name',
    code: 'TRUST_TUF_UNSIGNED',
    says: /^targets\/releases: 0 of the 1 signatures that targets requires count/u,
    act: (here) =>
      serveOnce(here, (repository) => {
        raise(repository, ...everyRole);
        delegate(repository, testKey(repository.dialect), testKey(repository.dialect));
        signBelow(repository);
      }),
    recover: delegateWell,
  },
  {
    name: 'a role that nobody delegates to',
    code: 'TRUST_TUF_NO_TARGET',
    says: /no authorised role has signed "1\.0"/u,
    act: (here) =>
      serveOnce(here, (repository) => {
        raise(repository, ...everyRole);
        repository.delegated['targets/releases'] = repository.keys.targets;
        signBelow(repository);
      }),
    recover: delegateWell,
  },
  {
    name: 'names that look alike, or differ in case',
    code: 'TRUST_TUF_NO_TARGET',
    says: /no authorised role has signed "1\.0"/u,
    act: (here) =>
      serveOnce(here, (repository) => {
        raise(repository, ...everyRole);
        const names = [
          '1.0\u200b',
          '１.0',
          '1\u2024' + '0',
          '1.O',
          ' 1.0',
          '1.0 ',
          '1%2E0',
          'V1.0',
          './1.0',
          `${here.image}:1.0`,
        ];
        repository.targets['targets'] = Object.fromEntries(
          names.map((name) => [name, fileOf(repository.dialect, other)]),
        );
      }),
  },
  {
    name: 'files that are not metadata',
    code: 'TRUST_TUF_MALFORMED',
    says: /^timestamp: it is not JSON/u,
    act({ service }) {
      for (const path of service.files.keys())
        if (path.endsWith('/timestamp.json')) service.files.set(path, Buffer.from('<html>'));
    },
  },
  {
    name: 'metadata that is removed',
    code: 'TRUST_TUF_MISSING',
    says: /^timestamp: timestamp\.json is missing/u,
    act({ service }) {
      for (const path of service.files.keys())
        if (path.endsWith('/timestamp.json')) service.files.delete(path);
    },
  },
];
