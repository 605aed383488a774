import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { suite, test } from 'node:test';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import { parseStrictJson } from '../json/strict-json.ts';
import { fileOf, later, signed, testKey, testRepository, written } from './fixtures/repository.fixture.ts';
import type { TestKey } from './fixtures/repository.fixture.ts';
import { covers } from './delegation.ts';
import { tufCanonicalJson } from '../tuf-metadata/canonical.ts';
import { notaryKeyId, readNotaryKey, readTufKey } from '../tuf-metadata/keys.ts';
import { mostKeys, mostKeysOfRole, mostPatternLength, mostSignatures } from '../tuf-metadata/limits.ts';
import type { Dialect, TopRole } from '../tuf-metadata/model.ts';
import { readMetadata, readUnremembered } from '../tuf-metadata/read.ts';
import { searchDigest, searchTarget } from './search.ts';
import { signersIn, trustRoot } from './trusted-set.ts';
import type { TrustedSet } from './trusted-set.ts';

/** The cost of hostile metadata before any signature is verified. */

/** Creates the input of each size once, before it is measured. */
function sized<T>(make: (n: number) => T): (n: number) => T {
  const made = new Map<number, T>();
  return (n) => {
    const known = made.get(n) ?? make(n);
    made.set(n, known);
    return known;
  };
}

let unread = 0;
/** Returns the same JSON value in different bytes, because metadata is cached by its digest. */
const anew = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.from(' '.repeat((unread += 1) % 9973))]);

const list = <T>(n: number, each: (index: number) => T): T[] =>
  Array.from({ length: n }, (_, index) => each(index));

const head = (dialect: Dialect, type: TopRole): object => ({
  _type: dialect === 'tuf' ? type : `${type.slice(0, 1).toUpperCase()}${type.slice(1)}`,
  ...(dialect === 'tuf' ? { spec_version: '1.0.34' } : {}),
  ...{ version: 1, expires: later },
});

/** Returns a key with its own text and id, so that no two keys are equal. */
function keyEntry(dialect: Dialect, index: number): [id: string, entry: object] {
  const raw = createHash('sha256').update(String(index)).digest();
  if (dialect === 'tuf')
    return [`k${index}`, { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: raw.toString('hex') } }];
  const text = raw.toString('base64');
  return [notaryKeyId('ed25519', text), { keytype: 'ed25519', keyval: { private: null, public: text } }];
}

function targetsWith(dialect: Dialect, body: object, signatures: readonly object[] = []): Buffer {
  return Buffer.from(
    JSON.stringify({ signed: { ...head(dialect, 'targets'), targets: {}, ...body }, signatures }),
  );
}

const signaturesOf = (n: number): object[] =>
  list(n, (index) => ({ keyid: `k${index}`, method: 'eddsa', sig: '00' }));

const roleOf = (dialect: Dialect, index: number, paths: readonly string[] = [`p${index}/*`]): object => ({
  ...{
    name: dialect === 'tuf' ? `r${index}` : `targets/r${index}`,
    keyids: [],
    threshold: 1,
    terminating: false,
    paths,
  },
});

for (const dialect of ['tuf', 'notary'] as const)
  void suite(`${dialect}: what is read costs no more than its length, of`, () => {
    const files: readonly [what: string, n: number, make: (n: number) => Buffer][] = [
      [
        'targets',
        // From several thousand keys on, V8's own objects cost more each.
        500,
        (n) =>
          targetsWith(dialect, {
            targets: Object.fromEntries(list(n, (index) => [`t${index}`, fileOf(dialect, Buffer.from('x'))])),
          }),
      ],
      [
        'keys',
        mostKeys / 16,
        (n) =>
          targetsWith(dialect, {
            delegations: {
              keys: Object.fromEntries(list(n, (index) => keyEntry(dialect, index))),
              roles: [],
            },
          }),
      ],
      [
        'delegations',
        2000,
        (n) =>
          targetsWith(dialect, {
            delegations: { keys: {}, roles: list(n, (index) => roleOf(dialect, index)) },
          }),
      ],
      [
        'keys of one role',
        mostKeysOfRole / 4,
        (n) =>
          targetsWith(dialect, {
            delegations: { keys: {}, roles: [{ ...roleOf(dialect, 0), keyids: list(n, String) }] },
          }),
      ],
      ['signatures', mostSignatures / 4, (n) => targetsWith(dialect, {}, signaturesOf(n))],
      [
        'hashes of one target',
        1000,
        (n) => {
          const hashes = Object.fromEntries(list(n, (index) => [`h${index}`, 'aaaa']));
          return targetsWith(dialect, {
            targets: { t: { length: 1, hashes: { ...fileOf(dialect, Buffer.from('x')).hashes, ...hashes } } },
          });
        },
      ],
    ];
    for (const [what, n, make] of files) {
      const bytes = sized(make);
      test(what, () =>
        assertNearLinear(
          `${dialect} metadata with n ${what}`,
          (size) => readUnremembered(dialect, 'targets', bytes(size)),
          { n },
        ),
      );
    }

    test('signatures of keys that the role has', async () => {
      const entries = sized((n) => list(n, (index) => keyEntry(dialect, index)));
      const [read, message] = [dialect === 'tuf' ? readTufKey : readNotaryKey, Buffer.alloc(1000)];
      const verify = (n: number): void => {
        const keys = new Map(entries(n).map(([id, entry]) => [id, read(id, entry)]));
        const keyids = [...keys.keys()];
        const signatures = keyids.map((keyid) => ({ keyid, bytes: Buffer.alloc(64, 1) }));
        assert.equal(signersIn({ signatures, message }, keys, { keyids, threshold: n }), 0);
      };
      await assertNearLinear(`n signatures by n keys of ${dialect}`, verify, { n: mostSignatures / 16 });
    });

    test('more signatures or keys than the limits are refused, whatever their content', () => {
      const keys = (n: number): object => Object.fromEntries(list(n, (index) => keyEntry(dialect, index)));
      const refused: readonly [bytes: Buffer, says: RegExp][] = [
        [
          targetsWith(dialect, {}, signaturesOf(mostSignatures + 1)),
          /signatures has 1025 entries; at most 1024 are read/u,
        ],
        [
          targetsWith(
            dialect,
            {},
            list(300_000, () => 0 as unknown as object),
          ),
          /signatures has 300000 entries/u,
        ],
        [
          targetsWith(dialect, { delegations: { keys: keys(mostKeys + 1), roles: [] } }),
          /keys has 16385 entries/u,
        ],
        [
          targetsWith(dialect, {
            delegations: {
              keys: {},
              roles: [{ ...roleOf(dialect, 0), keyids: list(mostKeysOfRole + 1, String) }],
            },
          }),
          /keyids has 1025 entries; at most 1024/u,
        ],
      ];
      for (const [bytes, says] of refused) assert.throws(() => readMetadata(dialect, 'targets', bytes), says);
      const most = targetsWith(
        dialect,
        { delegations: { keys: keys(mostKeys), roles: [] } },
        signaturesOf(mostSignatures),
      );
      assert.equal(readMetadata(dialect, 'targets', most).signatures.length, mostSignatures);
    });
  });

test('each key is tried once, however many signatures of it a file has', () => {
  const repository = testRepository('notary');
  const [key] = repository.keys.root as [TestKey];
  const good = JSON.parse(written(repository)['root']?.toString() ?? '') as {
    signed: object;
    signatures: { sig: string }[];
  };
  const bad = { keyid: key.id, method: 'eddsa', sig: Buffer.alloc(64, 1).toString('base64') };
  const root = (signatures: readonly object[]): Buffer =>
    Buffer.from(JSON.stringify({ ...good, signatures }));
  // A placeholder does not count as a signature.
  assert.equal(trustRoot('notary', root([{ ...bad, sig: '' }, ...good.signatures])).root.signed.version, 1);
  assert.equal(trustRoot('notary', root([...good.signatures, bad])).root.signed.version, 1);
  assert.throws(() => trustRoot('notary', root([bad, ...good.signatures])), { code: 'TRUST_TUF_UNSIGNED' });
});

test('one key under a thousand ids is tried once', async () => {
  const { entry } = testKey('tuf', 'ecdsa');
  const make = sized((n) => {
    const ids = list(n, (index) => `id${index}`);
    const none = { keyids: [], threshold: 1 };
    const roles = { root: { keyids: ids, threshold: 1 }, timestamp: none, snapshot: none, targets: none };
    const body = { ...head('tuf', 'root'), keys: Object.fromEntries(ids.map((id) => [id, entry])), roles };
    return Buffer.from(
      JSON.stringify({ signed: body, signatures: ids.map((keyid) => ({ keyid, sig: '3006020101020101' })) }),
    );
  });
  await assertNearLinear(
    'one key under n ids',
    (n) => assert.throws(() => trustRoot('tuf', anew(make(n))), { code: 'TRUST_TUF_UNSIGNED' }),
    { n: 128 },
  );
});

test('each tried key hashes the whole file, so only a limited number of keys is tried for a large file', () => {
  const keys = list(4, () => testKey('tuf'));
  const message = Buffer.alloc(1000);
  const [bad, good] = [Buffer.alloc(64, 1), (key: TestKey) => key.sign(message)];
  const role = { keyids: keys.map(({ id }) => id), threshold: 1 };
  const known = new Map(keys.map(({ id, entry }) => [id, readTufKey(id, entry)]));
  const signatures = keys.map((key, index) => ({ keyid: key.id, bytes: index === 2 ? good(key) : bad }));
  const signersWith = (mostHashed: number): number =>
    signersIn({ signatures, message }, known, role, mostHashed);
  assert.deepEqual([signersWith(3000), signersWith(2999), signersWith(0)], [1, 0, 0]);
});

void suite('JSON that no two readers read differently costs no more than its length, of', () => {
  const texts: readonly [what: string, n: number, make: (n: number) => string][] = [
    ['keys of one object', 4000, (n) => `{${list(n, (index) => `"key ${index}":0`).join(',')}}`],
    ['keys with escapes', 3000, (n) => `{${list(n, (index) => `"\\u0061${index}":0`).join(',')}}`],
    ['backslashes in a string', 200_000, (n) => `["${'\\\\'.repeat(n)}"]`],
    ['escaped quotation marks', 100_000, (n) => `["${'\\"'.repeat(n)}"]`],
    ['blanks after a string', 200_000, (n) => `{"a"${' '.repeat(n)}:1}`],
    ['objects', 10_000, (n) => `[${'{"a":1},'.repeat(n)}0]`],
  ];
  for (const [what, n, make] of texts) {
    const bytes = sized((size) => Buffer.from(make(size)));
    test(what, () => assertNearLinear(`JSON with n ${what}`, (size) => parseStrictJson(bytes(size)), { n }));
  }
  const unordered = sized((n) =>
    Object.fromEntries(
      list(n, (index) => [`${createHash('sha256').update(String(index)).digest('hex')}😀`, '"\\']),
    ),
  );
  test('its canonical form', () =>
    assertNearLinear('canonical JSON with n keys', (n) => tufCanonicalJson(unordered(n)), { n: 1500 }));
});

void suite('a search costs no more than what is searched, of', () => {
  const setOf = (targets: Buffer): TrustedSet => {
    const root = trustRoot('tuf', written(testRepository('tuf'))['root'] ?? Buffer.alloc(0));
    return { ...root, targets: new Map([['targets', readMetadata('tuf', 'targets', targets)]]) };
  };
  const delegating = sized((n) =>
    setOf(targetsWith('tuf', { delegations: { keys: {}, roles: list(n, (index) => roleOf('tuf', index)) } })),
  );

  test('delegations that are not about the path', () =>
    assertNearLinear(
      'a search beside n delegations',
      (n) => {
        const search = searchTarget('app:1', 64, () => delegating(n));
        assert.equal(search.next().done, false);
        assert.deepEqual(search.next(true), { done: true, value: undefined });
      },
      // Four times as many fit the processor's caches: beyond, each costs more than the one before.
      { n: 500 },
    ));

  test('roles that are not available', () =>
    assertNearLinear(
      'a search for a digest beside n delegations',
      (n) => {
        const search = searchDigest(
          '00',
          () => true,
          { roles: undefined, mostRoles: 64 },
          () => delegating(n),
        );
        for (let step = search.next(); step.done !== true; step = search.next(step.value.name === 'targets'));
      },
      { n: 4000 },
    ));

  test('more delegations than a call can have arguments are searched', () => {
    const set = setOf(
      targetsWith('tuf', {
        delegations: { keys: {}, roles: list(150_000, (index) => roleOf('tuf', index, ['*'])) },
      }),
    );
    const search = searchTarget('app', 3, () => set);
    search.next();
    assert.deepEqual(search.next(true).value, { name: 'r0', delegator: 'targets' });
    const byDigest = searchDigest(
      '00',
      () => true,
      { roles: undefined, mostRoles: 3 },
      () => set,
    );
    byDigest.next();
    assert.deepEqual(byDigest.next(true).value, { name: 'r0', delegator: 'targets', optional: true });
  });

  for (const [what, pattern] of [
    ['opening brackets', '['],
    ['stars', '*'],
    ['letters after a star', 'a'],
  ] as const)
    test(`a pattern of ${what}`, () =>
      assertNearLinear(
        `a pattern of n ${what}`,
        (n) =>
          assert.equal(
            covers({ kind: 'patterns', patterns: [`*${pattern.repeat(n)}!`] }, 'a'.repeat(100)),
            false,
          ),
        { n: mostPatternLength / 8 },
      ));

  test('a path that is longer than that of any file is compared with no pattern', () => {
    const scope = { kind: 'patterns', patterns: ['*'] } as const;
    assert.deepEqual(
      [covers(scope, 'a'.repeat(mostPatternLength)), covers(scope, 'a'.repeat(mostPatternLength + 1))],
      [true, false],
    );
    const tooLong = targetsWith('tuf', {
      delegations: { keys: {}, roles: [roleOf('tuf', 0, ['a'.repeat(mostPatternLength + 1)])] },
    });
    assert.throws(
      () => readMetadata('tuf', 'targets', tooLong),
      /has a pattern of more than 4096 characters/u,
    );
  });
});

test('a reason is shortened, however long the text of a repository is', () => {
  const bytes = signed('tuf', { ...head('tuf', 'root'), _type: 'x'.repeat(100_000) }, []);
  assert.throws(
    () => trustRoot('tuf', bytes),
    ({ message }: Error) => message.includes('it is "xxx') && message.length < 4000,
  );
});
