import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { canonicalJson } from '../canonical-json.ts';
import { embeddedTrustedRoot } from './public-good.ts';
import { cachedRootFile } from './root-cache.ts';
import { updateTrustedRoot } from './update-root.ts';

/** A TUF repository with one key for every role, whose files are made anew at each `publish`. */
interface Repository {
  readonly url: string;
  readonly root: Buffer;
  publish(version: number, trustedRoot: Buffer, signer?: KeyObject): void;
}

async function serveRepository(t: TestContext): Promise<Repository> {
  const files = new Map<string, Buffer>();
  const server = createServer((request, response) => {
    const file = files.get(request.url ?? '');
    response.writeHead(file === undefined ? 404 : 200).end(file);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const key = {
    keytype: 'ed25519',
    scheme: 'ed25519',
    keyval: { public: publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('hex') },
  };
  const keyid = createHash('sha256').update(canonicalJson(key)).digest('hex');
  const expires = new Date(Date.now() + 86_400_000).toISOString().replace(/\.\d+Z$/, 'Z');
  const signed = (body: object, signer: KeyObject): Buffer => {
    const part = { spec_version: '1.0.0', expires, ...body };
    const sig = sign(null, Buffer.from(canonicalJson(part)), signer).toString('hex');
    return Buffer.from(JSON.stringify({ signed: part, signatures: [{ keyid, sig }] }));
  };
  const roles = Object.fromEntries(['root', 'timestamp', 'snapshot', 'targets'].map((name) => [name, { keyids: [keyid], threshold: 1 }]));
  const root = signed({ _type: 'root', version: 1, consistent_snapshot: false, keys: { [keyid]: key }, roles }, privateKey);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    root,
    publish(version, trustedRoot, signer = privateKey) {
      const hashes = { sha256: createHash('sha256').update(trustedRoot).digest('hex') };
      const targets = { 'trusted_root.json': { length: trustedRoot.length, hashes } };
      files.set('/targets/trusted_root.json', trustedRoot);
      files.set('/targets.json', signed({ _type: 'targets', version, targets }, signer));
      files.set('/snapshot.json', signed({ _type: 'snapshot', version, meta: { 'targets.json': { version } } }, signer));
      files.set('/timestamp.json', signed({ _type: 'timestamp', version, meta: { 'snapshot.json': { version } } }, signer));
    },
  };
}

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'trust-update-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

const pretty = Buffer.from(JSON.stringify(JSON.parse(embeddedTrustedRoot().toString()), null, 1));

test('fetches, then follows; refuses what is older, forged or no trusted root, and keeps what it has', async (t) => {
  const [repository, cache] = [await serveRepository(t), await folderOf(t)];
  const { url } = repository;
  const update = () => updateTrustedRoot({ url, cache, tufRoot: repository.root });
  const kept = () => readFile(cachedRootFile(cache, url));
  repository.publish(2, embeddedTrustedRoot());
  assert.equal((await update()).changed, true);
  assert.deepEqual(await kept(), embeddedTrustedRoot());
  assert.equal((await update()).changed, false);
  repository.publish(3, pretty);
  assert.equal((await update()).changed, true);
  for (const [name, publish] of [
    ['an older version', () => repository.publish(2, embeddedTrustedRoot())],
    ['another signer', () => repository.publish(4, embeddedTrustedRoot(), generateKeyPairSync('ed25519').privateKey)],
    ['no trusted root', () => repository.publish(4, Buffer.from('{}'))],
  ] as const) {
    publish();
    await assert.rejects(update(), /TRUST_ROOT_UPDATE_FAILED/, name);
    assert.deepEqual(await kept(), pretty, name);
  }
  repository.publish(5, embeddedTrustedRoot());
  // The first root is needed once only.
  assert.equal((await updateTrustedRoot({ url, cache })).changed, true);
});

test('a repository of which nothing is known, and one that is not there', async (t) => {
  const [repository, cache] = [await serveRepository(t), await folderOf(t)];
  await assert.rejects(updateTrustedRoot({ url: repository.url, cache }), /name its first TUF root: --root FILE/);
  await assert.rejects(updateTrustedRoot({ url: repository.url, cache, tufRoot: repository.root }), /TRUST_ROOT_UPDATE_FAILED/);
});
