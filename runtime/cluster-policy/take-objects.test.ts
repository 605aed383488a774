import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { ClusterDocument } from '../../admission/policy/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { writeYaml } from '../../base/schema/index.ts';
import { openPolicy } from '../policy/policy-watch.ts';
import type { PolicyHolder } from '../policy/policy-watch.ts';
import { openObjectFolder } from './object-folder.ts';
import { createObjectTaking } from './take-objects.ts';
import type { ObjectTaking } from './take-objects.ts';

const log = createLogger({ level: 'silent' });

interface Node {
  readonly holder: PolicyHolder;
  readonly taking: ObjectTaking;
}

/** Opens a node on a folder, as the daemon does: with what an earlier one left there. */
async function openNode(t: TestContext, root: string): Promise<Node> {
  const folder = await openObjectFolder(join(root, 'objects'));
  const standing = await folder.load();
  const isSet = standing !== undefined && 'files' in standing;
  const lacking = standing !== undefined && 'lacking' in standing ? standing.lacking : 'nothing was read';
  const holder = await openPolicy(isSet ? await folder.unpack(standing) : { paths: [], lacking }, log);
  t.after(() => holder.close());
  const policyFiles = join(root, 'files');
  const taking = createObjectTaking({ folder, holder, policyFiles, log, now: () => new Date() }, standing);
  return { holder, taking };
}
function openRoot(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), 'portcullis-objects-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(join(root, 'files'));
  return root;
}

const documentOf = (
  name: string,
  fields: object,
  kind: ClusterDocument['kind'] = 'TrustPolicy',
): ClusterDocument => ({
  ...{
    kind,
    name,
    uid: `uid-${name}`,
    generation: 1,
    file: `${kind.toLowerCase()}.${name}.yaml`,
    rules: 1,
    object: {},
  },
  text: writeYaml({ apiVersion: 'portcullis.dev/v1alpha1', kind, metadata: { name }, ...fields }),
});
const denies = (why: string): object => ({ rules: [{ images: ['**'], deny: why }] });

test('objects take effect together, and are in force after a restart without the cluster', async (t) => {
  const root = openRoot(t);
  const { holder, taking } = await openNode(t, root);
  assert.equal(holder.current(), undefined);
  const profile = documentOf('web', { capabilities: { add: ['NET_BIND_SERVICE'] } }, 'EntitlementProfile');
  const rules = [{ images: ['r.test/**'], allow: 'unverified', entitlements: { ceiling: 'web' } }];
  const result = await taking.take([profile, documentOf('base', { rules })]);
  assert.equal(result?.revision, holder.current()?.revision);
  assert.notEqual(result?.revision, undefined);
  const again = await openNode(t, root);
  assert.equal(again.holder.current()?.revision, result?.revision);
  assert.notEqual(again.holder.profiles().resolve('web'), undefined);
});

test('an object with a problem keeps everything as it was, and the problem is returned by its file', async (t) => {
  const root = openRoot(t);
  const { holder, taking } = await openNode(t, root);
  const before = await taking.take([documentOf('base', denies('a'))]);
  const open = { rules: [{ images: ['**'], allow: 'unverified', excpt: ['x'] }] };
  const result = await taking.take([documentOf('base', denies('a')), documentOf('open', open)]);
  assert.equal(result?.revision, undefined);
  assert.deepEqual([...(result?.problems.keys() ?? [])], ['trustpolicy.open.yaml']);
  assert.equal(holder.current()?.revision, before?.revision);
  // Names the documents, and not the folder into which they are written for the loader.
  assert.match(
    taking.problem()?.why ?? '',
    /^load trust policy trustpolicy\.base\.yaml, trustpolicy\.open\.yaml: 1 problem:\ntrustpolicy\.open\.yaml:\d+:\d+: rules\[0\]\.excpt/u,
  );
  assert.equal((await openNode(t, root)).holder.current()?.revision, before?.revision);
  // Without the object, nothing has to be loaded.
  assert.equal((await taking.take([documentOf('base', denies('a'))]))?.revision, before?.revision);
  assert.equal(taking.problem(), undefined);
});

test('without a TrustPolicy everything is denied, also after a restart; a new one ends that', async (t) => {
  const root = openRoot(t);
  const { holder, taking } = await openNode(t, root);
  await taking.take([documentOf('base', denies('a'))]);
  await taking.take([]);
  assert.equal(holder.current(), undefined);
  assert.match(holder.problem() ?? '', /no TrustPolicy/u);
  const again = await openNode(t, root);
  assert.equal(again.holder.current(), undefined);
  assert.match(again.holder.problem() ?? '', /no TrustPolicy/u);
  await again.taking.take([documentOf('base', denies('a'))]);
  assert.notEqual(again.holder.current(), undefined);
  await taking.take([documentOf('base', denies('a'))]);
  assert.notEqual(holder.current(), undefined);
});

test('on a full disk, a removed policy does not return with a restart', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'portcullis-objects-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', root]);
  t.after(() => {
    execFileSync('umount', ['--lazy', root]);
    rmSync(root, { recursive: true });
  });
  mkdirSync(join(root, 'files'));
  const { holder, taking } = await openNode(t, root);
  await taking.take([documentOf('base', denies('a'))]);
  assert.notEqual(holder.current(), undefined);
  const filler = join(root, 'filler');
  assert.throws(() => writeFileSync(filler, Buffer.alloc(1024 * 1024)), /ENOSPC/u);
  await assert.rejects(taking.take([]), /no space|full/u);
  assert.equal(holder.current(), undefined);
  assert.equal((await openNode(t, root)).holder.current(), undefined);
  rmSync(filler);
  await taking.take([]);
  assert.match((await openNode(t, root)).holder.problem() ?? '', /no TrustPolicy/u);
});

test('files that objects name are part of the set, and follow their folder', async (t) => {
  const root = openRoot(t);
  const { holder, taking } = await openNode(t, root);
  const document = documentOf('base', {
    rules: [{ images: ['r.test/**'], require: { cosign: { key: 'team.pub' } } }],
  });
  assert.match(
    [...((await taking.take([document]))?.problems.values() ?? [])].flat()[0]?.message ?? '',
    /./u,
  );
  const keys = join(import.meta.dirname, '../../trust/evidence/fixtures/keys');
  const key = (name: string): void =>
    writeFileSync(join(root, 'files/team.pub'), readFileSync(join(keys, `${name}.pub`)));
  key('ecdsa-p256');
  const first = (await taking.take([document]))?.revision;
  assert.notEqual(first, undefined);
  key('ecdsa-p384');
  const second = (await taking.take([document]))?.revision;
  assert.notEqual(second, first);
  rmSync(join(root, 'files'), { recursive: true });
  assert.equal(await taking.take([document]), undefined, 'a failure of the node says nothing about objects');
  assert.equal(holder.current()?.revision, second);
  assert.match(taking.problem()?.why ?? '', /policyFiles/u);
  assert.equal((await openNode(t, root)).holder.current()?.revision, second);
});

test('a file outside of the folder is refused, with nothing that says whether it exists', async (t) => {
  const root = openRoot(t);
  const { holder, taking } = await openNode(t, root);
  const keys = join(import.meta.dirname, '../../trust/evidence/fixtures/keys');
  const problemOf = async (requirement: (file: string) => object, file: string): Promise<string> => {
    const rules = [{ images: ['r.test/**'], require: requirement(file) }];
    const result = await taking.take([documentOf('base', { rules })]);
    assert.equal(holder.current(), undefined);
    const problems = [...(result?.problems.values() ?? [])].flat();
    assert.ok(problems.length > 0);
    return problems.map(({ message }) => message.replaceAll(file, 'FILE')).join('\n');
  };
  const files = ['ecdsa-p256.pub', 'README.md', '.', 'none.pub', 'ecdsa-p256.pub/none'];
  const requirements: Record<string, (file: string) => object> = {
    key: (key) => ({ cosign: { key } }),
    certificates: (roots) => ({ pki: { roots, email: 'a@r.test' } }),
    folder: (folder) => ({ notation: { certificates: { ca: [folder] }, identities: ['*'] } }),
    root: (root) => ({ sigstore: { issuer: 'https://i.test', subject: 'a', root } }),
    tuf: (root) => ({ tuf: { service: 'https://t.test', root } }),
  };
  for (const [what, requirement] of Object.entries(requirements)) {
    const found = new Set<string>();
    for (const name of files) found.add(await problemOf(requirement, join(keys, name)));
    assert.equal(found.size, 1, [...found].join('\n'));
    for (const problem of found) assert.match(problem, /it is not in cluster\.policyFiles/u, what);
  }
});

test('a cache that an object names does not say whether a file exists', async (t) => {
  const { taking } = await openNode(t, openRoot(t));
  const messages = new Set<string>();
  for (const cache of [import.meta.filename, join(import.meta.dirname, 'none')]) {
    const root = { tuf: { url: 'https://tuf.test', cache } };
    const rules = [
      { images: ['r.test/**'], require: { sigstore: { issuer: 'https://i.test', subject: 'a', root } } },
    ];
    const result = await taking.take([documentOf('base', { rules })]);
    for (const { message } of [...(result?.problems.values() ?? [])].flat()) messages.add(message);
  }
  assert.equal(messages.size, 1, [...messages].join('\n'));
});

test('sets that are not in force leave no files', async (t) => {
  const root = openRoot(t);
  const { taking } = await openNode(t, root);
  for (const why of ['a', 'b', 'c']) await taking.take([documentOf('base', denies(why))]);
  await taking.take([documentOf('base', { rules: 'none' })]);
  assert.equal(readdirSync(join(root, 'objects/sets')).length, 1);
});

test('more objects than a policy may have are refused', async (t) => {
  const root = openRoot(t);
  const { holder, taking } = await openNode(t, root);
  const before = await taking.take([documentOf('base', denies('a'))]);
  const many = Array.from({ length: 1001 }, (_, at) => documentOf(`p${at}`, denies('a')));
  const result = await taking.take(many);
  assert.match(result?.failure ?? '', /1001 objects/u);
  assert.equal(holder.current()?.revision, before?.revision);
  assert.match(taking.problem()?.why ?? '', /at most 1000/u);
});

test('a damaged record is reported, and files that were changed are restored or refused', async (t) => {
  const root = openRoot(t);
  const { holder, taking } = await openNode(t, root);
  const { revision } = (await taking.take([documentOf('base', denies('a'))])) ?? {};
  const [set = ''] = readdirSync(join(root, 'objects/sets'));
  const file = join(root, 'objects/sets', set, 'trustpolicy.base.yaml');
  writeFileSync(file, readFileSync(file, 'utf8').replace('deny: a', 'allow: unverified'));
  await holder.reload();
  assert.equal(holder.current()?.revision, revision);
  assert.match(holder.problem() ?? '', /differs from the objects/u);
  const again = await openNode(t, root);
  assert.equal(again.holder.current()?.revision, revision);
  assert.match(readFileSync(file, 'utf8'), /deny: a/u);
  const record = join(root, 'objects/objects.json');
  for (const text of [
    '{',
    '{"version":2}',
    '{"version":1,"since":"x","revision":"r","objects":[],"documents":[],"files":{"../x":""}}',
  ]) {
    writeFileSync(record, text);
    await assert.rejects(
      (await openObjectFolder(join(root, 'objects'))).load(),
      /POLICY_OBJECTS_STATE|read the policies/u,
    );
  }
});
