import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileOf as targetOf, later, signed, testKey } from '../tuf/fixtures/repository.fixture.ts';
import { openKeystore } from '../keystore/keystore.ts';
import { openRegistries } from '../registries/registry-access.ts';
import { keySigner } from '../signers/signer.ts';
import type { TargetFile } from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import { tufCanonicalJson } from '../tuf-metadata/canonical.ts';
import { collectionOf } from './collection.ts';
import { folderDestination } from './to-folder.ts';
import { holds, signAs } from './keys.ts';
import { startTrustService } from '../notary/index.ts';
import { openOwner } from './owner.ts';
import type { InitInput, Owner } from './owner.types.ts';
import { openWorkingFolder } from './working-folder.ts';

const name = 'registry.example.com/pay/app';
const passphrase = { environment: { PORTCULLIS_PASSPHRASE: 'words' } };
const file = (digit: string): TargetFile => ({
  length: 1,
  hashes: { sha256: digit.repeat(64) },
  custom: undefined,
});
const add = (path: string, digit: string) =>
  ({ kind: 'add', role: 'targets', path, file: file(digit) }) as const;

/** Runs `body` with an owner whose collection is published in a folder. */
async function withOwner(
  body: (owner: Owner, places: { readonly keys: string; readonly place: string }) => Promise<void>,
): Promise<void> {
  const home = await mkdtemp(join(tmpdir(), 'tuf-session-'));
  const [keys, place] = [join(home, 'keys'), join(home, 'place')];
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const owner = await openOwner({ folder: keys, name, passphrase, signers: [], registries, now: new Date() });
  try {
    await owner.init({ dialects: ['tuf'], destinations: [place], keys: {}, expiry: {}, localKeys: true });
    await body(owner, { keys, place });
  } finally {
    await owner.close();
    await registries.close();
    await rm(home, { recursive: true });
  }
}

const publish = (owner: Owner) => owner.publish({ to: [], countersign: false, expiry: {} });

/** Creates a private key in a file, and its public half in the file with `.pub`. */
function makeKeyFile(home: string, who: string): string {
  const file = join(home, `${who}.pem`);
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(file, privateKey.export({ format: 'pem', type: 'pkcs8' }));
  writeFileSync(`${file}.pub`, publicKey.export({ format: 'pem', type: 'spki' }));
  return file;
}

test('stolen online keys list older targets: the owner does not sign these again', () =>
  withOwner(async (owner, { keys, place }) => {
    await owner.stage(add('1.0', 'a'));
    await publish(owner);
    const root = await readFile(join(place, '1.root.json'));
    await owner.stage({ kind: 'remove', role: 'targets', path: '1.0' });
    await owner.stage(add('2.0', 'b'));
    await publish(owner);

    const store = openKeystore(keys);
    const collection = collectionOf('tuf', new Map([['root', root]]));
    const forge = async (role: 'snapshot' | 'timestamp', meta: object): Promise<Buffer> => {
      const [id = ''] = collection.roles[role].keyids;
      const listed = collection.keys.get(id);
      assert.ok(listed !== undefined);
      const opened = await Promise.all(
        (await store.list()).map(async (kept) => keySigner(await store.open(kept.id, passphrase))),
      );
      const signer = opened.find((one) => holds(one, listed));
      assert.ok(signer !== undefined);
      const body = { _type: role, spec_version: '1.0.34', version: 100, expires: later, meta };
      return Buffer.from(
        JSON.stringify({
          signed: body,
          signatures: [await signAs('tuf', signer, listed, tufCanonicalJson(body))],
        }),
      );
    };
    await writeFile(
      join(place, '100.snapshot.json'),
      await forge('snapshot', { 'targets.json': { version: 1 } }),
    );
    await writeFile(
      join(place, 'timestamp.json'),
      await forge('timestamp', { 'snapshot.json': { version: 100 } }),
    );

    await owner.stage(add('3.0', 'c'));
    const { signed: made } = await publish(owner);
    assert.deepEqual(
      made.map(({ role, version }) => `${role} ${version}`),
      ['targets 3', 'snapshot 101', 'timestamp 101'],
    );
    const { targets } = readMetadata('tuf', 'targets', await readFile(join(place, '3.targets.json'))).signed;
    assert.deepEqual([...targets.keys()].sort(), ['2.0', '3.0']);
  }));

test('a draft that differs from the staged changes is not signed', async () => {
  const home = await mkdtemp(join(tmpdir(), 'tuf-witness-'));
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const [ann, bob] = [makeKeyFile(home, 'ann'), makeKeyFile(home, 'bob')];
  const open = (signers: readonly string[]): Promise<Owner> =>
    openOwner({ folder: join(home, 'keys'), name, passphrase, signers, registries, now: new Date() });
  const collections = join(home, 'keys', 'collections', encodeURIComponent(name));
  const owner = await open([ann]);
  const other = await open([bob]);
  try {
    const targets = { files: [`${ann}.pub`, `${bob}.pub`], threshold: 2 };
    await owner.init({
      dialects: ['tuf'],
      destinations: [join(home, 'place')],
      keys: { targets },
      expiry: {},
      localKeys: true,
    });
    await owner.stage(add('1.0', 'a'));
    assert.deepEqual(
      (await publish(owner)).missing.map(({ role, have }) => `${role} ${have}`),
      ['targets 1'],
    );

    const pending = join(collections, 'pending', 'tuf', 'targets.json');
    const draft = await readFile(pending, 'utf8');
    await writeFile(pending, draft.replaceAll('a'.repeat(64), 'e'.repeat(64)));
    await assert.rejects(other.witness('targets'), { code: 'TRUST_AUTHOR_OTHER_DRAFT' });
    await writeFile(pending, draft.replace('"version":1', '"version":1000'));
    await assert.rejects(other.witness('targets'), {
      code: 'TRUST_AUTHOR_OTHER_DRAFT',
      message: /version is 1000, but the next version is 1/u,
    });

    await writeFile(pending, draft);
    const [waiting] = (await other.witness('targets')) ?? [];
    assert.deepEqual([waiting?.have, waiting?.version], [2, 1]);
    assert.deepEqual((await publish(owner)).missing, []);
  } finally {
    await owner.close();
    await other.close();
    await registries.close();
    await rm(home, { recursive: true });
  }
});

test('a draft of a snapshot is signed only with the next versions', async () => {
  const home = await mkdtemp(join(tmpdir(), 'tuf-witness-'));
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const [ann, bob] = [makeKeyFile(home, 'ann'), makeKeyFile(home, 'bob')];
  const open = (signer: string): Promise<Owner> =>
    openOwner({
      folder: join(home, 'keys'),
      name,
      passphrase,
      signers: [signer],
      registries,
      now: new Date(),
    });
  const [owner, other] = [await open(ann), await open(bob)];
  try {
    await owner.init({
      dialects: ['tuf'],
      destinations: [join(home, 'place')],
      keys: { snapshot: { files: [`${ann}.pub`, `${bob}.pub`], threshold: 2 } },
      expiry: {},
      localKeys: true,
    });
    await publish(owner);
    const collection = join(home, 'keys', 'collections', encodeURIComponent(name));
    const pending = join(collection, 'pending', 'tuf', 'snapshot.json');
    const draft = await readFile(pending, 'utf8');
    for (const [right, wrong, message] of [
      ['"version":1},"signatures"', '"version":1000},"signatures"', /but the next version is 1/u],
      ['"version":1}},', '"version":1000}},', /lists version 1000 of targets/u],
      ['"targets.json"', '"other.json"', /does not list targets/u],
    ] as const) {
      assert.ok(draft.includes(right));
      await writeFile(pending, draft.replace(right, wrong));
      await assert.rejects(other.witness('snapshot'), { code: 'TRUST_AUTHOR_OTHER_DRAFT', message });
    }
    await writeFile(pending, draft);
    await other.witness('snapshot');
  } finally {
    await owner.close();
    await other.close();
    await registries.close();
    await rm(home, { recursive: true });
  }
});

test('a snapshot that two people sign is published with what it lists, also when targets change', async () => {
  const home = await mkdtemp(join(tmpdir(), 'tuf-witness-'));
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const [ann, bob] = [makeKeyFile(home, 'ann'), makeKeyFile(home, 'bob')];
  const open = (signer: string, minutes: number): Promise<Owner> =>
    openOwner({
      folder: join(home, 'keys'),
      name,
      passphrase,
      signers: [signer],
      registries,
      now: new Date(Date.now() + minutes * 60_000),
    });
  const [owner, other, afterwards] = [await open(ann, 0), await open(bob, 1), await open(ann, 2)];
  try {
    await owner.init({
      dialects: ['tuf'],
      destinations: [join(home, 'place')],
      keys: { snapshot: { files: [`${ann}.pub`, `${bob}.pub`], threshold: 2 } },
      expiry: {},
      localKeys: true,
    });
    for (const path of ['1.0', '2.0']) {
      await owner.stage(add(path, 'a'));
      assert.deepEqual(
        (await publish(owner)).missing.map(({ role, have }) => `${role} ${have}`),
        ['snapshot 1'],
      );
      const [waiting] = (await other.witness('snapshot')) ?? [];
      assert.equal(waiting?.have, 2);
      assert.deepEqual((await publish(afterwards)).missing, []);
    }
  } finally {
    for (const one of [owner, other, afterwards]) await one.close();
    await registries.close();
    await rm(home, { recursive: true });
  }
});

test('a timestamp that waited for the other dialect is signed again before it is published', async (t) => {
  const home = await mkdtemp(join(tmpdir(), 'tuf-dialects-'));
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const service = await startTrustService({ listen: '127.0.0.1:0', data: join(home, 'data') });
  const owners: Owner[] = [];
  t.after(async () => {
    for (const one of owners) await one.close();
    await service.close();
    await registries.close();
    await rm(home, { recursive: true });
  });
  const [ann, bob] = [makeKeyFile(home, 'ann'), makeKeyFile(home, 'bob')];
  const day = 86_400_000;
  const start = Date.now();
  const open = async (signer: string, days: number): Promise<Owner> => {
    const now = new Date(start + days * day);
    const folder = join(home, 'keys');
    const owner = await openOwner({ folder, name, passphrase, signers: [signer], registries, now });
    owners.push(owner);
    return owner;
  };
  const owner = await open(ann, 0);
  await owner.init({
    dialects: ['tuf', 'notary'],
    destinations: [service.url],
    keys: {},
    expiry: {},
    localKeys: true,
  });
  await publish(owner);
  await owner.rotate('targets', { files: [`${ann}.pub`, `${bob}.pub`], threshold: 2 });
  await publish(owner);
  await (await open(bob, 0)).witness('targets');
  // The draft of one dialect is lost, so that only the other one is complete.
  const working = openWorkingFolder(join(home, 'keys'), name);
  await working.savePending('notary', new Map());
  assert.deepEqual(
    (await publish(owner)).missing.map(({ dialect, role }) => `${dialect} ${role}`),
    ['notary targets'],
  );
  await (await open(bob, 13)).witness('targets');
  assert.deepEqual((await publish(await open(ann, 13))).missing, []);
  const timestamp = (await working.standing('tuf')).get('timestamp');
  assert.ok(timestamp);
  assert.ok(readMetadata('tuf', 'timestamp', timestamp).signed.expires > start + 20 * day);
});

test('names that a delegate chooses lead to no file outside the published folder', () =>
  withOwner(async (_owner, { place }) => {
    const key = testKey('tuf');
    const bytes = signed(
      'tuf',
      {
        _type: 'targets',
        spec_version: '1.0.34',
        version: 1,
        expires: later,
        targets: { a: targetOf('tuf', Buffer.from('a')) },
      },
      [key],
    );
    const folder = folderDestination(place);
    for (const role of ['a/../../out', 'a/../timestamp', 'a//b', 'a/./b'])
      await assert.rejects(
        folder.publish([{ dialect: 'tuf', lacking: [{ role, version: 1, bytes }], all: [] }]),
        { code: 'TRUST_TUF_MALFORMED' },
        role,
      );
    await assert.rejects(folder.source('tuf').fetch('1.a%2F..%2F..%2F..%2Fout.json', 1000), {
      code: 'TRUST_TUF_MALFORMED',
    });
    await folder.publish([{ dialect: 'tuf', lacking: [{ role: 'targets/a', version: 1, bytes }], all: [] }]);
    assert.deepEqual((await readdir(place, { recursive: true })).sort(), ['1.targets', '1.targets/a.json']);
    assert.deepEqual(await readdir(join(place, '..')), ['keys', 'place']);
  }));

test('a place that cannot be published to is not saved, and blocks no later publish', () =>
  withOwner(async (owner, { place }) => {
    await owner.stage(add('1.0', 'a'));
    const to = (address: string) => owner.publish({ to: [address], countersign: false, expiry: {} });
    // A name below /proc: Node's own recursive mkdir never returns there.
    for (const address of ['/proc/1/metadata', '/dev/null/metadata'])
      await assert.rejects(
        to(address),
        (error: Error) => error.message.includes(address) && /TRUST_AUTHOR_DESTINATION/u.test(error.message),
      );
    await assert.rejects(to(''), { code: 'TRUST_AUTHOR_DESTINATION' });
    await assert.rejects(to('oci://'), { code: 'DISTRIBUTION_BAD_REFERENCE' });
    await publish(owner);
    assert.deepEqual((await owner.settings()).destinations, [place]);
    const second = join(place, 'second');
    await to(second);
    assert.deepEqual((await owner.settings()).destinations, [place, second]);
  }));

test('a timestamp key of the owner signs in the TUF dialect only: the service signs Notary’s timestamps', async () => {
  const home = await mkdtemp(join(tmpdir(), 'tuf-timestamps-'));
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const open = (one: string): Promise<Owner> =>
    openOwner({ folder: home, name: one, passphrase, signers: [], registries, now: new Date() });
  const [served, local, named] = [await open('served'), await open('local'), await open('named')];
  const init = (owner: Owner, wanted: { localKeys: boolean; keys?: InitInput['keys'] }) =>
    owner.init({
      dialects: ['tuf', 'notary'],
      destinations: ['http://localhost'],
      keys: {},
      expiry: {},
      ...wanted,
    });
  const own = { files: [], threshold: 1 };
  try {
    await init(served, { localKeys: false });
    await assert.rejects(served.rotate('timestamp', own), {
      code: 'TRUST_AUTHOR_NOT_IN_DIALECT',
      message: /trust rotate served timestamp --server-managed/u,
    });
    assert.deepEqual(await served.staged(), []);

    await init(local, { localKeys: true });
    await local.rotate('timestamp', own);
    assert.deepEqual(
      (await local.staged()).map((change) => 'dialect' in change && change.dialect),
      ['tuf'],
    );
    assert.deepEqual((await local.settings()).serverManaged, { tuf: [], notary: ['timestamp'] });

    await init(named, { localKeys: false, keys: { timestamp: own } });
    assert.deepEqual((await named.settings()).serverManaged, {
      tuf: [],
      notary: ['snapshot', 'timestamp'],
    });
  } finally {
    for (const owner of [served, local, named]) await owner.close();
    await registries.close();
    await rm(home, { recursive: true });
  }
});

test('a service signs the snapshots of a collection only if it also signs the timestamps', () =>
  withOwner(async (owner) => {
    await assert.rejects(owner.rotateToServer('snapshot'), {
      code: 'TRUST_AUTHOR_NOT_IN_DIALECT',
      message: /trust rotate \S+ timestamp --server-managed/u,
    });
    assert.deepEqual(await owner.staged(), []);
    await owner.rotateToServer('timestamp');
    await owner.rotateToServer('snapshot');
    assert.deepEqual((await owner.settings()).serverManaged.tuf, ['timestamp', 'snapshot']);
  }));
