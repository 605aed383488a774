import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import {
  fileOf,
  later,
  signed,
  testKey,
  testRepository,
  written,
} from '../tuf/fixtures/repository.fixture.ts';
import { readTufKey } from '../tuf-metadata/keys.ts';
import { accept } from './accept.ts';
import { heldKeys, onlineKey } from './online-keys.ts';
import { isRefusal } from './refusal.ts';
import { namesByPrefix } from './roles.ts';
import { differentTarget } from './same-targets.ts';

/** Tests what hostile uploads cost the judge of the service. */

function sized<T>(make: (n: number) => T): (n: number) => T {
  const made = new Map<number, T>();
  return (n) => {
    const known = made.get(n) ?? make(n);
    made.set(n, known);
    return known;
  };
}

const list = <T>(n: number, each: (index: number) => T): T[] =>
  Array.from({ length: n }, (_, index) => each(index));

test('an upload with n delegated roles', async () => {
  const key = testKey('tuf');
  const uploads = sized((n) => {
    const repository = testRepository('tuf');
    const names = list(n, (index) => `role-${index}`);
    const roles = names.map((name) => ({
      name,
      keyids: [key.id],
      threshold: 1,
      terminating: false,
      paths: [`${name}/*`],
    }));
    repository.delegations['targets'] = { keys: { [key.id]: key.entry }, roles };
    for (const name of names) {
      repository.targets[name] = {};
      repository.delegated[name] = [key];
    }
    return Object.entries(written(repository)).map(([name, bytes]) => ({ name, bytes }));
  });
  const judge = (n: number): void => {
    const outcome = accept('tuf', {
      gun: 'a',
      now: Date.parse('2030-01-01'),
      uploads: uploads(n),
      stored: new Map(),
      online: [],
    });
    assert.equal(isRefusal(outcome) ? JSON.stringify(outcome) : outcome.length, n + 4);
  };
  await assertNearLinear('an upload with n delegated roles', judge, { n: 250 });
});

test('two dialects with n targets, in n roles of one', async () => {
  const head = { version: 1, expires: later };
  const files = sized((n) => {
    const names = list(n, (index) => `t${index}`);
    const notary = signed(
      'notary',
      {
        ...head,
        _type: 'Targets',
        targets: Object.fromEntries(names.map((name) => [name, fileOf('notary', Buffer.from(name))])),
      },
      [],
    );
    const roles = names.map((name) => ({ name: `targets/${name}`, keyids: [], threshold: 1, paths: [name] }));
    const top = {
      ...(JSON.parse(notary.toString()) as { signed: object }).signed,
      delegations: { keys: {}, roles },
    };
    const tuf = { ...head, _type: 'targets', spec_version: '1.0.0' };
    const found = Object.fromEntries(names.map((name) => [name, fileOf('tuf', Buffer.from(name))]));
    return {
      notary: new Map([
        ['targets', signed('notary', top, [])],
        ...names.map((name): [string, Buffer] => [
          `targets/${name}`,
          signed('notary', { ...head, _type: 'Targets', targets: {} }, []),
        ]),
      ]),
      tuf: new Map([['targets', signed('tuf', { ...tuf, targets: found }, [])]]),
    };
  });
  await assertNearLinear(
    'a comparison',
    (n) => assert.equal(differentTarget(files(n).notary, files(n).tuf), undefined),
    { n: 300 },
  );
});

test('n keys that the service holds for a role of n keys', async () => {
  const keys = sized((n) =>
    list(n, () => {
      const { privateKey } = generateKeyPairSync('ed25519');
      return onlineKey('timestamp', privateKey.export({ format: 'der', type: 'pkcs8' }));
    }),
  );
  const listed = sized(
    (n) => new Map(keys(n).map((key, index) => [`k${index}`, readTufKey(`k${index}`, entryOf(key.public))])),
  );
  const held = (n: number): void => {
    assert.equal(heldKeys({ keyids: [...listed(n).keys()], threshold: 1 }, listed(n), keys(n)).length, n);
  };
  // More keys exceed the caches of a processor that other tests share.
  await assertNearLinear('held keys', held, { n: 250 });
});

const entryOf = (raw: Buffer): object => ({
  keytype: 'ed25519',
  scheme: 'ed25519',
  keyval: { public: raw.toString('hex') },
});

test('hash bins are found by their own prefix only', async () => {
  const find = namesByPrefix(['b-1', 'a-2', 'a', 'a-1', 'ab-1', 'a-']);
  assert.deepEqual([find('a-'), find('b-'), find('c-')], [['a-', 'a-1', 'a-2'], ['b-1'], []]);
  const names = sized((n) => list(n, (index) => `role${index}-0`));
  const findAll = (n: number): void => {
    const binsOf = namesByPrefix(names(n));
    for (let index = 0; index < n; index += 1) assert.equal(binsOf(`role${index}-`).length, 1);
  };
  await assertNearLinear('n prefixes of n names', findAll, { n: 2000 });
});
