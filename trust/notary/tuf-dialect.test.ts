import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { Updater } from 'tuf-js';
import { httpSource } from '../tuf-client/http-source.ts';
import { updateMetadata } from '../tuf-client/update.ts';
import { fileOf, testKey, testRepository, written } from '../tuf/fixtures/repository.fixture.ts';
import type { TestKey, TestRepository } from '../tuf/fixtures/repository.fixture.ts';
import { tufCanonicalJson } from '../tuf-metadata/canonical.ts';
import { fetchJson, multipart, post, publisher } from './publisher.fixture.ts';
import type { Answered, OnlineEntries, Part } from './publisher.fixture.ts';
import { startTrustService } from './trust-service.ts';
import type { TrustService } from './trust-service.ts';

let folder: string;
let service: TrustService;
let count = 0;
let gun: string;
let tuf: string;
let notary: string;
let repository: TestRepository;

/** Returns the service's key as a key that a test can list but not sign with. */
async function serviceKey(role: 'snapshot' | 'timestamp'): Promise<TestKey> {
  const entry = await fetchJson<object>(`${tuf}${role}.key`);
  const id = createHash('sha256').update(tufCanonicalJson(entry)).digest('hex');
  return { id, entry, sign: () => Buffer.alloc(0) };
}

/** Returns the parts to post, without the roles whose files the service makes. */
function partsOf(
  files: Readonly<Record<string, Buffer>>,
  without: readonly string[] = ['snapshot', 'timestamp'],
): Part[] {
  return Object.entries(files)
    .filter(([role]) => !without.includes(role))
    .map(([name, bytes]) => ({ name, bytes }));
}

const publish = (parts: readonly Part[]): Promise<Answered> => post(tuf, multipart(parts));

const nameOf = ({ detail }: Answered): string | undefined => (detail as { Name?: string } | undefined)?.Name;

/** Returns what our client and tuf-js find, each starting from the first root. */
async function lookUp(root: Buffer, path: string): Promise<(string | undefined)[]> {
  const kept = new Map([['root', root]]);
  const store = {
    load: (role: string) => Promise.resolve(kept.get(role)),
    save: (role: string, bytes: Buffer) => Promise.resolve(void kept.set(role, bytes)),
  };
  const update = await updateMetadata({ dialect: 'tuf', source: httpSource(tuf), store, now: new Date() });
  const ours = (await update.find(path))?.hashes['sha256'];
  const metadataDir = join(folder, `client-${count}-${Math.random()}`);
  mkdirSync(metadataDir);
  writeFileSync(join(metadataDir, 'root.json'), root);
  const updater = new Updater({
    metadataDir,
    metadataBaseUrl: tuf.replace(/\/$/u, ''),
    targetDir: metadataDir,
    targetBaseUrl: tuf,
  });
  await updater.refresh();
  return [ours, (await updater.getTargetInfo(path))?.hashes['sha256']];
}

const digest = (content: string): string => createHash('sha256').update(content).digest('hex');

describe('the trust service in TUF’s dialect', () => {
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-tuf-service-'));
    service = await startTrustService({ listen: '127.0.0.1:0', data: folder });
  });
  after(async () => {
    await service.close();
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    gun = `example.com/tuf-${(count += 1)}`;
    tuf = `${service.url}/tuf/${gun}/`;
    notary = `${service.url}/v2/${gun}/_trust/tuf/`;
    repository = testRepository('tuf');
    repository.keys.snapshot = [await serviceKey('snapshot')];
    repository.keys.timestamp = [await serviceKey('timestamp')];
    repository.targets['targets'] = { v1: fileOf('tuf', Buffer.from('one')) };
  });

  it('serves what a publisher signs, with snapshots and timestamps of its own, to our client and to tuf-js', async () => {
    const files = written(repository);
    assert.equal((await publish(partsOf(files))).status, 200);
    const root = files['root'] as Buffer;
    assert.deepEqual(await lookUp(root, 'v1'), [digest('one'), digest('one')]);
    const delegate = testKey('tuf', 'ecdsa');
    repository.versions['targets'] = 2;
    repository.delegated['team/é'] = [delegate];
    const role = {
      name: 'team/é',
      keyids: [delegate.id],
      threshold: 1,
      terminating: false,
      paths: ['team-*'],
    };
    repository.delegations['targets'] = { keys: { [delegate.id]: delegate.entry }, roles: [role] };
    repository.targets['team/é'] = { 'team-a': fileOf('tuf', Buffer.from('two')) };
    const second = written(repository);
    assert.equal((await publish(partsOf(second))).status, 200);
    assert.deepEqual(await lookUp(root, 'team-a'), [digest('two'), digest('two')]);
    for (const [name, bytes] of [
      ['1.root', root],
      ['root', root],
      ['1.targets', files['targets']],
      ['2.targets', second['targets']],
      ['targets', second['targets']],
      ['1.team%2F%C3%A9', second['team/é']],
    ] as const)
      assert.ok(
        Buffer.from(await (await fetch(`${tuf}${name}.json`)).arrayBuffer()).equals(bytes as Buffer),
        name,
      );
    for (const name of ['2.snapshot', 'snapshot', 'timestamp'])
      assert.equal((await fetch(`${tuf}${name}.json`)).status, 200, name);
    for (const name of ['2.root', '3.snapshot', '1.nobody', 'nobody'])
      assert.equal((await fetch(`${tuf}${name}.json`)).status, 404, name);
  });

  it('accepts a publisher’s own snapshot and timestamp, and chains of roots in one publish', async () => {
    repository.keys.snapshot = [testKey('tuf')];
    repository.keys.timestamp = [testKey('tuf')];
    const files = written(repository);
    assert.equal(nameOf(await publish(partsOf(files))), 'ErrBadHierarchy');
    assert.equal((await publish(partsOf(files, []))).status, 200);
    const roots = [2, 3, 4].map((version) => {
      repository.versions['root'] = version;
      return { name: 'root', bytes: written(repository)['root'] as Buffer };
    });
    assert.equal((await publish(roots.toReversed())).status, 200);
    assert.deepEqual(await lookUp(files['root'] as Buffer, 'v1'), [digest('one'), digest('one')]);
    assert.equal((await publish(roots.slice(0, 1))).code, 'VERSION');
    repository.versions['root'] = 6;
    assert.equal(
      nameOf(await publish(partsOf({ root: written(repository)['root'] as Buffer }))),
      'ErrBadRoot',
    );
  });

  it('accepts new keys for the timestamp only, of the publisher and of the service, with the same snapshot', async () => {
    repository.keys.snapshot = [testKey('tuf')];
    repository.keys.timestamp = [testKey('tuf')];
    const files = written(repository);
    assert.equal((await publish(partsOf(files, []))).status, 200);
    repository.keys.timestamp = [testKey('tuf')];
    repository.versions['root'] = 2;
    repository.versions['timestamp'] = 2;
    assert.equal((await publish(partsOf(written(repository), ['targets', 'snapshot']))).status, 200);
    repository.keys.timestamp = [await serviceKey('timestamp')];
    repository.versions['root'] = 3;
    assert.equal(
      (await publish([{ name: 'root', bytes: written(repository)['root'] as Buffer }])).status,
      200,
    );
    assert.deepEqual(await lookUp(files['root'] as Buffer, 'v1'), [digest('one'), digest('one')]);
    // A snapshot that the new root does not accept has to be replaced in the same publish.
    repository.keys.snapshot = [testKey('tuf')];
    repository.versions['root'] = 4;
    assert.equal(
      nameOf(await publish([{ name: 'root', bytes: written(repository)['root'] as Buffer }])),
      'ErrBadHierarchy',
    );
  });

  it('refuses an update that a client would not trust, and nothing changes', async () => {
    const files = written(repository);
    await publish(partsOf(files));
    const state = async (): Promise<string[]> =>
      Promise.all(
        ['root', 'targets', 'snapshot', 'timestamp'].map(async (name) =>
          (await fetch(`${tuf}${name}.json`)).text(),
        ),
      );
    const existing = await state();
    repository.versions['targets'] = 2;
    const next = written(repository)['targets'] as Buffer;
    const stranger = testRepository('tuf');
    stranger.versions['targets'] = 2;
    const foreign = written(stranger);
    const expired = (): Buffer => {
      repository.expires['targets'] = '2020-01-01T00:00:00Z';
      return written(repository)['targets'] as Buffer;
    };
    const table: [string, string, Part[]][] = [
      ['targets of another', 'ErrBadTargets', [{ name: 'targets', bytes: foreign['targets'] as Buffer }]],
      ['a role that nobody delegates to', 'ErrBadTargets', [{ name: 'team', bytes: next }]],
      [
        'a snapshot of another',
        'ErrBadSnapshot',
        [
          {
            name: 'snapshot',
            bytes: Buffer.from(
              (foreign['snapshot'] as Buffer).toString('utf8').replace('"version":1', '"version":2'),
            ),
          },
        ],
      ],
      ['Notary’s form', 'ErrBadTargets', [{ name: 'targets', bytes: publisher(gun).targets(2) }]],
      ['expired targets', 'ErrBadTargets', [{ name: 'targets', bytes: expired() }]],
    ];
    for (const [what, name, parts] of table) {
      const answer = await publish(parts);
      assert.deepEqual([answer.status, answer.code, nameOf(answer)], [400, 'INVALID_UPDATE', name], what);
    }
    for (const [name, code] of [
      ['Targets', 'INVALID_ROLE'],
      ['a\u0000b', 'INVALID_ROLE'],
      ['', 'NO_FILENAME'],
    ] as const)
      assert.equal((await publish([{ name, bytes: next }])).code, code, name);
    assert.equal((await publish([{ name: 'targets', bytes: '{"signed":' }])).code, 'MALFORMED_JSON');
    assert.equal((await post(tuf, Buffer.from('x'), 'text/plain')).code, 'MALFORMED_UPLOAD');
    assert.deepEqual(await state(), existing);
    assert.deepEqual(await lookUp(files['root'] as Buffer, 'v1'), [digest('one'), digest('one')]);
  });

  it('publishes both dialects in one transaction, and never lets their targets differ', async () => {
    const owner = publisher(gun);
    const online: OnlineEntries = {
      snapshot: await fetchJson(`${notary}snapshot.key`),
      timestamp: await fetchJson(`${notary}timestamp.key`),
    };
    const files = written(repository);
    const both = (content: string): Part[] => [
      ...partsOf(files),
      { name: 'root', field: 'notary', bytes: owner.root(1, online) },
      { name: 'targets', field: 'notary', bytes: owner.targets(1, { v1: content }) },
    ];
    const status = async (): Promise<number[]> => [
      (await fetch(`${tuf}timestamp.json`)).status,
      (await fetch(`${notary}timestamp.json`)).status,
    ];
    const different = await publish(both('other'));
    assert.deepEqual([different.code, nameOf(different)], ['INVALID_UPDATE', 'ErrValidation']);
    assert.deepEqual(await status(), [404, 404]);
    assert.equal((await publish(both('one'))).status, 200);
    assert.deepEqual(await status(), [200, 200]);

    assert.equal(
      (await post(notary, multipart([{ name: 'targets', bytes: owner.targets(2, { v1: 'two' }) }]))).status,
      200,
    );
    assert.deepEqual(await status(), [404, 200], 'published by a Notary client: in Notary’s dialect only');
    repository.versions['targets'] = 2;
    assert.equal(
      nameOf(await publish(partsOf({ targets: written(repository)['targets'] as Buffer }))),
      'ErrValidation',
    );
    repository.targets['targets'] = { v1: fileOf('tuf', Buffer.from('two')) };
    // The owner may post all its files: those that are already current count as such.
    assert.equal((await publish(partsOf(written(repository)))).status, 200);
    assert.deepEqual(await status(), [200, 200]);
    assert.deepEqual(await lookUp(files['root'] as Buffer, 'v1'), [digest('two'), digest('two')]);
    assert.equal((await fetch(tuf, { method: 'DELETE' })).status, 200);
    assert.deepEqual(await status(), [404, 404]);
  });
});
