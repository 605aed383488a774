import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { unencryptedKeys } from '../../test/fixtures/unencrypted-keys.ts';
import type { UnencryptedKeys } from '../../test/fixtures/unencrypted-keys.ts';
import { startTrustService } from '../notary/index.ts';
import { openRegistries } from '../registries/registry-access.ts';
import type { TargetFile } from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import type { TufSource } from '../tuf-client/source.ts';
import type { Destination } from './destination.ts';
import { openOwner } from './owner.ts';
import type { Owner } from './owner.types.ts';
import { readPublished } from './publish.ts';
import { publishCollection } from './session.ts';
import { folderDestination } from './to-folder.ts';
import { serviceDestination } from './to-service.ts';
import { openWorkingFolder } from './working-folder.ts';

const name = 'registry.example.com/pay/app';
const role = 'targets/releases';
const file: TargetFile = { length: 1, hashes: { sha256: 'b'.repeat(64) }, custom: undefined };
const add = (to: string, path: string) => ({ kind: 'add', role: to, path, file }) as const;
const removal = { kind: 'undelegate', delegator: 'targets', name: role } as const;
const publish = (owner: Owner, countersign = false) => owner.publish({ to: [], countersign, expiry: {} });

interface Scene {
  readonly home: string;
  readonly keys: UnencryptedKeys['keys'];
  /** Opens a collection of the folder `keys`, or of a copy of it. */
  open(folder?: string): Promise<Owner>;
  /** Delegates every path to the role. */
  delegate(owner: Owner): Promise<void>;
  /** Base64 DER of the role's key. */
  readonly spki: string;
}

async function scene(t: TestContext): Promise<Scene> {
  const home = await mkdtemp(join(tmpdir(), 'portcullis-removed-delegation-'));
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const owners: Owner[] = [];
  t.after(async () => {
    for (const owner of owners) await owner.close();
    await registries.close();
    await rm(home, { recursive: true, force: true });
  });
  const { signers, keys } = unencryptedKeys(join(home, 'unencrypted'));
  const key = join(home, 'releases.pem');
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(key, privateKey.export({ format: 'pem', type: 'pkcs8' }));
  writeFileSync(`${key}.pub`, publicKey.export({ format: 'pem', type: 'spki' }));
  return {
    home,
    keys,
    spki: publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
    async open(folder = 'keys') {
      const passphrase = { environment: { PORTCULLIS_PASSPHRASE: 'words' } };
      const owner = await openOwner({
        folder: join(home, folder),
        name,
        passphrase,
        signers: [...signers, key],
        registries,
        now: new Date(),
      });
      owners.push(owner);
      return owner;
    },
    delegate: (owner) =>
      owner.delegate({
        delegator: 'targets',
        name: role,
        terminating: false,
        scope: { kind: 'prefixes', prefixes: [''] },
        files: [`${key}.pub`],
        threshold: 1,
      }),
  };
}

/** Publishes a collection in a folder, with a role that has signed `bad`. */
async function inFolder(t: TestContext): Promise<Scene & { readonly owner: Owner; readonly place: string }> {
  const scenery = await scene(t);
  const { keys } = scenery;
  const owner = await scenery.open();
  const place = join(scenery.home, 'place');
  await owner.init({ dialects: ['tuf'], destinations: [place], keys, expiry: {}, localKeys: true });
  await scenery.delegate(owner);
  await owner.stage(add(role, 'bad'));
  await publish(owner);
  return { ...scenery, owner, place };
}

/** Stages the role and its target `bad` in a published collection, whose other owner knows neither. */
async function withoutRoleFile(
  t: TestContext,
): Promise<{ readonly owner: Owner; readonly other: Owner; readonly place: string }> {
  const scenery = await scene(t);
  const { home, open, keys } = scenery;
  const owner = await open();
  const place = join(home, 'place');
  await owner.init({ dialects: ['tuf'], destinations: [place], keys, expiry: {}, localKeys: true });
  await publish(owner);
  await cp(join(home, 'keys'), join(home, 'copy'), { recursive: true });
  await scenery.delegate(owner);
  await owner.stage(add(role, 'bad'));
  return { owner, other: await open('copy'), place };
}

const pathsOf = async (owner: Owner): Promise<readonly string[]> =>
  (await owner.targets()).map((target) => `${target.role} ${target.path}`);

test('a delegation that is added again after its removal signs nothing that it signed before', async (t) => {
  const { owner, delegate } = await inFolder(t);
  await owner.stage(removal);
  await publish(owner);
  assert.deepEqual(await pathsOf(owner), []);
  await delegate(owner);
  assert.deepEqual(await pathsOf(owner), []);
  const { signed } = await publish(owner);
  assert.deepEqual(
    signed.map((one) => `${one.role} ${one.version}`),
    ['targets 3', `${role} 2`, 'snapshot 3', 'timestamp 3'],
  );
});

test('the snapshot still names a removed role after another owner has published', async (t) => {
  const { owner, open, home, place } = await inFolder(t);
  await owner.stage(removal);
  await publish(owner);
  await cp(join(home, 'keys'), join(home, 'copy'), { recursive: true });
  const other = await open('copy');
  await other.stage(add('targets', '1.0'));
  await publish(other);
  await owner.stage(add('targets', '2.0'));
  await publish(owner);
  const { meta } = readMetadata('tuf', 'snapshot', await readFile(join(place, '4.snapshot.json'))).signed;
  // Clients refuse a snapshot that no longer names a role (specification 1.0.34, section 5.5.5).
  assert.deepEqual([...meta.keys()].sort(), ['targets', role]);
});

test('the snapshot names a removed role also after an owner has published who never had its file', async (t) => {
  const { owner, other, place } = await withoutRoleFile(t);
  await publish(owner);
  await owner.stage(removal);
  await publish(owner);
  await other.stage(add('targets', '1.0'));
  await publish(other);
  const { meta } = readMetadata('tuf', 'snapshot', await readFile(join(place, '4.snapshot.json'))).signed;
  assert.deepEqual([...meta.keys()].sort(), ['targets', role]);
  assert.deepEqual(await pathsOf(other), ['targets 1.0']);
});

test('a publish asks a place for no file of a role that was removed', async (t) => {
  const { owner, place } = await inFolder(t);
  await owner.stage(removal);
  await publish(owner);
  const source = folderDestination(place).source('tuf');
  const asked: string[] = [];
  const counted: TufSource = {
    ...source,
    fetch: (file, most) => {
      asked.push(file);
      return source.fetch(file, most);
    },
  };
  await readPublished('tuf', counted, new Map([['root', await readFile(join(place, '1.root.json'))]]));
  assert.deepEqual(
    [...new Set(asked)].filter((file) => file.includes('targets')),
    ['2.targets.json'],
  );
});

test('the snapshot names a role whose file its place has lost, for owners who never had the file', async (t) => {
  const { owner, other, place } = await withoutRoleFile(t);
  await publish(owner);
  await rm(join(place, '1.targets', 'releases.json'));
  await other.stage(add('targets', '1.0'));
  await publish(other);
  const { meta } = readMetadata('tuf', 'snapshot', await readFile(join(place, '3.snapshot.json'))).signed;
  assert.deepEqual([...meta.keys()].sort(), ['targets', role]);
  await assert.rejects(other.stage(add(role, '2.0')), { code: 'TRUST_AUTHOR_NO_ROLE' });
});

test('an owner with an older file of a role signs no snapshot that names it after its place lost the newer one', async (t) => {
  const { owner, place, open, home } = await inFolder(t);
  await cp(join(home, 'keys'), join(home, 'copy'), { recursive: true });
  const other = await open('copy');
  await owner.stage({ kind: 'remove', role, path: 'bad' });
  await publish(owner);
  await rm(join(place, '2.targets', 'releases.json'));
  await other.stage(add('targets', '1.0'));
  await publish(other);
  const { meta } = readMetadata('tuf', 'snapshot', await readFile(join(place, '3.snapshot.json'))).signed;
  assert.equal(meta.get(role)?.version, 2);
  assert.deepEqual(await pathsOf(other), ['targets 1.0']);
});

test('a place that has lost the file of a role gets it again with the next publish', async (t) => {
  const { owner, place } = await inFolder(t);
  const lost = join(place, '1.targets', 'releases.json');
  const bytes = await readFile(lost);
  await rm(lost);
  await owner.stage(add('targets', '1.0'));
  await publish(owner);
  assert.deepEqual(await readFile(lost), bytes);
});

/** Begins a collection of both dialects at a service. */
async function atService(t: TestContext): Promise<Scene & { readonly owner: Owner; readonly url: string }> {
  const scenery = await scene(t);
  const service = await startTrustService({ listen: '127.0.0.1:0', data: join(scenery.home, 'data') });
  t.after(() => service.close());
  const owner = await scenery.open();
  const { root, targets } = scenery.keys;
  await owner.init({
    dialects: ['tuf', 'notary'],
    destinations: [service.url],
    keys: { root, targets },
    expiry: {},
    localKeys: false,
  });
  return { ...scenery, owner, url: service.url };
}

test('what a place withholds is neither begun again nor countersigned without it', async (t) => {
  const { owner, delegate, home, url } = await atService(t);
  await publish(owner);
  await cp(join(home, 'keys'), join(home, 'copy'), { recursive: true });
  await delegate(owner);
  await owner.stage(add(role, '1.0'));
  await publish(owner);
  const service = serviceDestination(url, name, () => Promise.resolve(undefined));
  const withholding: Destination = {
    ...service,
    source(dialect) {
      const source = service.source(dialect);
      const fetch = (file: string, most: number) =>
        file.includes(role) ? Promise.resolve(undefined) : source.fetch(file, most);
      return { ...source, fetch };
    },
  };
  const folder = openWorkingFolder(join(home, 'copy'), name);
  const publishThere = (countersign: boolean) =>
    publishCollection({
      folder,
      destinations: [withholding],
      signers: () => () => Promise.resolve(undefined),
      countersign,
      now: new Date(),
    });
  await assert.rejects(publishThere(true), { code: 'TRUST_AUTHOR_NO_ROLE' });
  await folder.saveStaged([add(role, '2.0')]);
  await assert.rejects(publishThere(false), { code: 'TRUST_AUTHOR_NO_ROLE' });
});

test('a service accepts publishes after the removal of a delegation, and the owner never signs what that role signed', async (t) => {
  const { owner, delegate } = await atService(t);
  await delegate(owner);
  await owner.stage(add(role, 'bad'));
  await publish(owner);
  await owner.stage(removal);
  await publish(owner);
  await owner.stage(add('targets', '1.0'));
  await publish(owner);
  await publish(owner, true);
  assert.deepEqual(await pathsOf(owner), ['targets 1.0']);
});

test('a collection with a removed delegation and snapshots of its own can move to another service', async (t) => {
  const { owner, delegate, home } = await inFolder(t);
  await owner.stage(removal);
  await publish(owner);
  const service = await startTrustService({ listen: '127.0.0.1:0', data: join(home, 'data') });
  t.after(() => service.close());
  const there = { to: [service.url], countersign: false, expiry: {} };
  const { sent } = await owner.publish(there);
  assert.deepEqual(
    sent.map(({ address, files }) => `${address} ${files}`),
    [`${service.url} 4`],
  );
  await delegate(owner);
  await owner.stage(add(role, '1.0'));
  await owner.publish(there);
  const source = serviceDestination(service.url, name, () => Promise.resolve(undefined)).source('tuf');
  assert.ok((await source.fetch(`2.${encodeURIComponent(role)}.json`, 100_000)) !== undefined);
});

test('countersigning takes over only the paths that are delegated to a role', async (t) => {
  const { owner, open, home, spki } = await atService(t);
  await publish(owner);
  // The keys sign in Notary's dialect alone, as with one of its clients.
  await cp(join(home, 'keys'), join(home, 'copy'), { recursive: true });
  const settings = join(home, 'copy', 'collections', encodeURIComponent(name), 'collection.json');
  const both = JSON.parse(await readFile(settings, 'utf8')) as object;
  await writeFile(settings, JSON.stringify({ ...both, dialects: ['notary'] }));
  const client = await open('copy');
  await client.stage({
    kind: 'delegate',
    delegator: 'targets',
    name: role,
    terminating: false,
    scope: { kind: 'prefixes', prefixes: ['v1'] },
    keys: [{ spki }],
    threshold: 1,
  });
  await client.stage(add(role, 'v1.0'), add(role, 'v2.0'));
  await publish(client);
  await assert.rejects(publish(owner), { code: 'TRUST_AUTHOR_DIALECTS_DIFFER' });
  await publish(owner, true);
  assert.deepEqual(await pathsOf(owner), ['targets v1.0']);
});

test('a role that has published nothing yet can sign a target', async (t) => {
  const { owner, delegate } = await atService(t);
  await delegate(owner);
  await publish(owner);
  await owner.stage(add(role, '1.0'));
  await publish(owner);
  assert.deepEqual(await pathsOf(owner), [`${role} 1.0`]);
});

test('what another owner has published in both dialects needs no countersignature', async (t) => {
  const { owner, open, home } = await atService(t);
  await publish(owner);
  await cp(join(home, 'keys'), join(home, 'copy'), { recursive: true });
  const other = await open('copy');
  await other.stage(add('targets', '1.0'));
  await publish(other);
  await owner.stage(add('targets', '2.0'));
  await publish(owner);
  assert.deepEqual(await pathsOf(owner), ['targets 1.0', 'targets 2.0']);
});
