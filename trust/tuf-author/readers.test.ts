import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Updater } from 'tuf-js';
import { createHttpServer } from '../../base/connections/index.ts';
import { keySigner } from '../signers/signer.ts';
import type { Signer } from '../signers/signer.ts';
import { initialiseTuf, refreshTuf } from '../tuf-client/folder-client.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import { topRoles } from '../tuf-metadata/model.ts';
import type { TargetFile } from '../tuf-metadata/model.ts';
import { beginCollection } from './initial-collection.ts';
import { addTargets, delegate, everyPath, removeTarget, rotateKeys, undelegate } from './changes.ts';
import { collectionOf } from './collection.ts';
import type { AuthoredRole, Collection, Standing } from './collection.ts';
import { defaultExpiry } from './expiry.ts';
import { issue } from './issue.ts';
import { holds } from './keys.ts';
import { listedKey } from '../tuf-metadata/listed-key.ts';
import type { ListedKey } from '../tuf-metadata/listed-key.ts';
import { versionOf } from './publish.ts';

const now = new Date();

function makeKey(type: 'ec' | 'ed25519' | 'rsa' = 'ec'): { listed: ListedKey; signer: Signer } {
  const pair =
    type === 'ec'
      ? generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
      : type === 'rsa'
        ? generateKeyPairSync('rsa', { modulusLength: 2048 })
        : generateKeyPairSync('ed25519');
  const spki = pair.publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
  const signer = keySigner({
    public: { name: type, type: type === 'ec' ? 'ecdsa' : type, spki },
    private: pair.privateKey,
  });
  return { listed: listedKey('tuf', pair.publicKey), signer };
}

/** A repository that the web server of this process serves. */
class Published {
  readonly files = new Map<string, Buffer>();
  standing: Standing = new Map();
  signers: Signer[] = [];
  expired: readonly string[] = [];
  collection: Collection;

  constructor(collection: Collection, signers: readonly Signer[]) {
    this.collection = collection;
    this.signers = [...signers];
  }

  async publish(at = now): Promise<readonly string[]> {
    const issued = await issue({
      collection: this.collection,
      standing: this.standing,
      expiry: defaultExpiry.tuf,
      signers: (key) => Promise.resolve(this.signers.find((signer) => holds(signer, key))),
      now: at,
    });
    if (issued.missing.length > 0)
      return issued.missing.map(({ role, have, threshold }) => `${role} ${have}/${threshold}`);
    this.expired = issued.expired.map(({ role, have, threshold }) => `${role} ${have}/${threshold}`);
    this.standing = issued.standing;
    for (const [role, bytes] of issued.files) {
      const version = versionOf('tuf', role, bytes);
      this.files.set(role === 'timestamp' ? 'timestamp.json' : `${version}.${role}.json`, bytes);
    }
    this.collection = collectionOf('tuf', this.standing);
    return [];
  }
}

const addTarget = (collection: Collection, role: string, path: string, file: TargetFile): Collection =>
  addTargets(collection, role, [{ path, file }]);

const fileOf = (text: string) => ({
  length: Buffer.byteLength(text),
  hashes: { sha256: createHash('sha256').update(text).digest('hex') },
  custom: undefined,
});

function begun(): Published {
  const keys = topRoles.map(
    (role) => [role, makeKey(role === 'root' ? 'ec' : role === 'targets' ? 'rsa' : 'ed25519')] as const,
  );
  const named = Object.fromEntries(
    keys.map(([role, { listed }]) => [role, { keys: [listed], threshold: 1 }]),
  );
  return new Published(
    beginCollection('tuf', named as unknown as Parameters<typeof beginCollection>[1]),
    keys.map(([, { signer }]) => signer),
  );
}

describe('published metadata, read by tuf-js and by our client', () => {
  let server: Server;
  let address: string;
  let folder: string;
  let served: Published;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-readers-'));
    server = createHttpServer((request, response) => {
      const bytes = served.files.get(decodeURIComponent((request.url ?? '').slice(1)));
      response.writeHead(bytes === undefined ? 404 : 200).end(bytes);
    });
    server.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => {
    server.close();
    server.closeAllConnections();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Both readers, each with its own trusted metadata from the first root on. */
  async function readers(name: string) {
    const [theirs, ours] = [join(folder, `${name}-theirs`), join(folder, `${name}-ours`)];
    const root = served.files.get('1.root.json')!;
    await initialiseTuf(ours, root);
    await initialiseTuf(theirs, root);
    writeFileSync(join(theirs, 'root.json'), root);
    return async (path: string): Promise<string[]> => {
      const updater = new Updater({
        metadataDir: theirs,
        metadataBaseUrl: address,
        targetDir: theirs,
        targetBaseUrl: address,
      });
      await updater.refresh();
      const found = await updater.getTargetInfo(path);
      const update = await refreshTuf({ metadataDir: ours, metadataUrl: address, now: new Date() });
      const own = await update.find(path);
      return [found?.hashes['sha256'] ?? 'none', own?.hashes['sha256'] ?? 'none'];
    };
  }
  const both = (text: string): string[] => {
    const hash = fileOf(text).hashes.sha256;
    return [hash, hash];
  };

  it('follows ten root rotations, a lost timestamp key and a root of two keys', async () => {
    served = begun();
    served.collection = addTarget(served.collection, 'targets', '1.0', fileOf('one'));
    assert.deepEqual(await served.publish(), []);
    const read = await readers('rotations');
    assert.deepEqual(await read('1.0'), both('one'));
    for (let round = 0; round < 10; round += 1) {
      const [a, b] = [makeKey(), makeKey('ed25519')];
      served.signers.push(a.signer, b.signer);
      served.collection = rotateKeys(served.collection, 'root', { keys: [a.listed, b.listed], threshold: 2 });
      assert.deepEqual(await served.publish(), []);
    }
    assert.equal(readMetadata('tuf', 'root', served.standing.get('root')!).signed.version, 11);
    assert.deepEqual(await read('1.0'), both('one'));
    const lost = served.collection.keys.get(served.collection.roles.timestamp.keyids[0]!)!;
    served.signers = served.signers.filter((signer) => !holds(signer, lost));
    const fresh = makeKey();
    served.signers.push(fresh.signer);
    served.collection = rotateKeys(served.collection, 'timestamp', { keys: [fresh.listed], threshold: 1 });
    served.collection = addTarget(served.collection, 'targets', '1.0', fileOf('two'));
    assert.deepEqual(await served.publish(), []);
    assert.deepEqual(await read('1.0'), both('two'));
  });

  it('requires two of three keys for a delegation, follows nested and terminating delegations, and drops revoked ones', async () => {
    served = begun();
    const [a, b, c] = [makeKey(), makeKey('ed25519'), makeKey('rsa')];
    const keys = [a.listed, b.listed, c.listed];
    served.collection = delegate(served.collection, 'targets', {
      name: 'targets/tools',
      keys,
      threshold: 2,
      terminating: true,
      scope: { kind: 'patterns', patterns: ['tools/*'] },
    });
    served.collection = addTarget(served.collection, 'targets/tools', 'tools/x', fileOf('x'));
    served.signers.push(a.signer);
    assert.deepEqual(await served.publish(), ['targets/tools 1/2']);
    served.signers.push(c.signer);
    assert.deepEqual(await served.publish(), []);
    const read = await readers('delegation');
    assert.deepEqual(await read('tools/x'), both('x'));

    served.collection = delegate(served.collection, 'targets', {
      name: 'targets/rest',
      keys: [b.listed],
      threshold: 1,
      terminating: false,
      scope: everyPath,
    });
    served.collection = delegate(served.collection, 'targets/rest', {
      name: 'targets/rest/deep',
      keys: [a.listed],
      threshold: 1,
      terminating: false,
      scope: { kind: 'patterns', patterns: ['deep/*/*'] },
    });
    for (const [path, role] of [
      ['deep/a/b', 'targets/rest/deep'],
      ['tools/y', 'targets/rest'],
    ] as const)
      served.collection = addTarget(served.collection, role, path, fileOf(path));
    served.signers.push(b.signer);
    assert.deepEqual(await served.publish(), []);
    assert.deepEqual(await read('deep/a/b'), both('deep/a/b'));
    // targets/tools is searched first, and is terminating.
    assert.deepEqual(await read('tools/y'), ['none', 'none']);
    served.collection = removeTarget(
      undelegate(served.collection, 'targets', 'targets/tools'),
      'targets/rest',
      'tools/y',
    );
    assert.deepEqual(await served.publish(), []);
    assert.deepEqual(await read('tools/x'), ['none', 'none']);
    assert.deepEqual(await read('deep/a/b'), both('deep/a/b'));
  });

  it('renews files that expire soon, keeps the others, and signs nothing twice', async () => {
    served = begun();
    assert.deepEqual(await served.publish(), []);
    const versions = () =>
      [...served.standing].map(([role, bytes]) => `${role} ${versionOf('tuf', role, bytes)}`).sort();
    assert.deepEqual(await served.publish(), []);
    assert.deepEqual(versions(), ['root 1', 'snapshot 1', 'targets 1', 'timestamp 1']);
    assert.deepEqual(await served.publish(new Date(now.getTime() + 8 * 86_400_000)), []);
    assert.deepEqual(versions(), ['root 1', 'snapshot 1', 'targets 1', 'timestamp 2']);
  });

  it('publishes other roles when a delegated role has expired and its signers are elsewhere', async () => {
    served = begun();
    const { listed, signer } = makeKey();
    served.signers.push(signer);
    served.collection = delegate(served.collection, 'targets', {
      name: 'team',
      keys: [listed],
      threshold: 1,
      terminating: false,
      scope: everyPath,
    });
    assert.deepEqual(await served.publish(), []);
    served.signers.pop();
    const later = new Date(now.getTime() + 400 * 86_400_000);
    assert.deepEqual(await served.publish(later), []);
    assert.deepEqual(served.expired, ['team 0/1']);
    const versions = [...served.standing].map(([role, bytes]) => `${role} ${versionOf('tuf', role, bytes)}`);
    assert.deepEqual(versions.sort(), ['root 2', 'snapshot 2', 'targets 2', 'team 1', 'timestamp 2']);
    const locked = { ...signer, sign: () => Promise.reject(new Error('no passphrase')) };
    served.signers.push(locked);
    assert.deepEqual(await served.publish(later), []);
    assert.deepEqual(served.expired, ['team 0/1'], 'its key cannot be opened');
    served.signers.pop();
    served.signers.push(signer);
    assert.deepEqual(await served.publish(later), []);
    assert.deepEqual(
      [served.expired, versionOf('tuf', 'team', served.standing.get('team') as Buffer)],
      [[], 2],
    );
  });

  // @tufjs/models reads a role in time quadratic in the number of its targets. Therefore this many targets
  // are delegated by the hashes of their paths.
  it('has 50,000 targets in 256 roles', async () => {
    served = begun();
    const bin = makeKey('ed25519');
    served.signers.push(bin.signer);
    const bins = new Map<string, Map<string, ReturnType<typeof fileOf>>>();
    for (let index = 0; index < 50_000; index += 1) {
      const prefix = createHash('sha256').update(`app/${index}`).digest('hex').slice(0, 2);
      bins.set(
        prefix,
        (bins.get(prefix) ?? new Map<string, ReturnType<typeof fileOf>>()).set(
          `app/${index}`,
          fileOf(String(index)),
        ),
      );
    }
    const keys = new Map([[bin.listed.id, bin.listed]]);
    const delegations = [...bins.keys()].map((prefix) => ({
      name: `bin-${prefix}`,
      keyids: [bin.listed.id],
      threshold: 1,
      terminating: true,
      scope: { kind: 'hash-prefixes', prefixes: [prefix] } as const,
    }));
    const roles = [...bins].map(([prefix, targets]): [string, AuthoredRole] => [
      `bin-${prefix}`,
      { targets, keys: new Map(), delegations: [] },
    ]);
    served.collection = {
      ...served.collection,
      targets: new Map<string, AuthoredRole>([
        ['targets', { targets: new Map(), keys, delegations }],
        ...roles,
      ]),
    };
    assert.deepEqual(await served.publish(), []);
    const read = await readers('many');
    assert.deepEqual(await read('app/49999'), both('49999'));
  });
});
