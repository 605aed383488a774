import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { pack } from 'tar-stream';
import { sha256Of } from '../../trust/policy-release/index.ts';
import { beginFleet, mayRun, policyText, startNode } from './fleet.fixture.ts';
import type { Fleet, FleetNode } from './fleet.fixture.ts';

const shop = 'r.test/shop/web:1';

/** Publishes any bytes as the next release, signed as a release is. */
async function publishBytes(
  fleet: Fleet,
  number: number,
  bytes: Buffer,
  length = bytes.length,
): Promise<void> {
  const sha256 = sha256Of(bytes);
  const folder = join(fleet.web, 'targets', 'stable');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${sha256}.${number}.tar`), bytes);
  const policyRelease = {
    ...{ version: 1, revision: 'sha256:0', stages: [], reached: 1, halt: { denials: 1, watch: 0 } },
  };
  await fleet.asOwner(async (owner) => {
    await owner.stage({
      ...{ kind: 'add', role: 'targets', path: `stable/${number}.tar` },
      file: { length, hashes: { sha256 }, custom: { policyRelease } },
    });
    await owner.publish({ to: [], countersign: false, expiry: {} });
  });
}

async function tarOf(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const tar = pack();
  for (const [name, text] of Object.entries(files)) tar.entry({ name }, text);
  tar.finalize();
  return buffer(tar);
}

async function nodeWithFirst(t: TestContext): Promise<{ readonly fleet: Fleet; readonly node: FleetNode }> {
  const fleet = await beginFleet(t);
  await fleet.publish(['r.test/shop/**']);
  const node = await startNode(fleet, 'node');
  t.after(() => node.close());
  await node.subscriber.poll();
  assert.equal(node.subscriber.status().release?.number, 1);
  return { fleet, node };
}

test('a signed release that is not a policy, or is hostile, is refused with a code, and the old release stays in force', async (t) => {
  const { fleet, node } = await nodeWithFirst(t);
  const policy = policyText(['**']);
  const outside = policy.replace('keys/build.pub', '/etc/hostname');
  const hostile: readonly [string, Buffer, number?][] = [
    ['TRUST_RELEASE_MALFORMED', await tarOf({ '../policy.yaml': policy })],
    ['TRUST_RELEASE_MALFORMED', await tarOf({ '/etc/portcullis/policy.yaml': policy })],
    ['TRUST_RELEASE_MALFORMED', await tarOf(Object.fromEntries(range(1001).map((n) => [`f${n}`, ''])))],
    ['TRUST_RELEASE_MALFORMED', Buffer.from('not a tar archive at all')],
    ['TRUST_TUF_TOO_LARGE', Buffer.alloc(16), 9 * 1024 * 1024],
    ['TRUST_POLICY_INVALID', await tarOf({ 'policy.yaml': 'kind: TrustPolicy\nrules: 5\n' })],
    ['TRUST_POLICY_INVALID', await tarOf({ 'policy.yaml': policy })],
    ['TRUST_POLICY_INVALID', await tarOf({ 'notes.txt': 'no policy' })],
    [/^(?:TRUST_RELEASE_OUTSIDE|TRUST_POLICY_INVALID)$/u.source, await tarOf({ 'policy.yaml': outside })],
  ];
  for (const [index, [code, bytes, length]] of hostile.entries()) {
    await publishBytes(fleet, index + 2, bytes, length);
    await node.subscriber.poll();
    const { state, release, problem } = node.subscriber.status();
    assert.match(problem?.code ?? 'none', new RegExp(code, 'u'), `case ${index}`);
    assert.deepEqual([state, release?.number], ['refused', 1], `case ${index}`);
    assert.equal(mayRun(node.holder.current(), shop), true);
    assert.equal(node.holder.problem(), undefined);
  }
  await fleet.publish(['r.test/**']);
  await node.subscriber.poll();
  assert.equal(
    node.subscriber.status().release?.number,
    hostile.length + 2,
    'a valid release is still accepted',
  );
});

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

test('a source that never answers delays only its own request', async (t) => {
  const { fleet, node } = await nodeWithFirst(t);
  const asked = Promise.withResolvers<() => void>();
  fleet.fault = (_, response) => {
    asked.resolve(() => response.destroy());
    return true;
  };
  const polled = node.subscriber.poll();
  const breakOff = await asked.promise;
  await node.holder.reload();
  assert.equal(mayRun(node.holder.current(), shop), true);
  assert.equal(node.subscriber.poll(), polled, 'no second request begins');
  breakOff();
  fleet.fault = () => false;
  await polled;
  assert.equal(node.subscriber.status().release?.number, 1);
});

test('a full disk keeps the old release in force, also after a restart', { timeout: 60_000 }, async (t) => {
  let mounted = '';
  // Before the fleet removes its folders.
  t.after(() => mounted !== '' && execFileSync('umount', ['--lazy', mounted]));
  const fleet = await beginFleet(t);
  await fleet.publish(['r.test/shop/**']);
  const folder = fleet.folder('node');
  mkdirSync(folder);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k,mode=0700', 'portcullis-test', folder]);
  mounted = folder;
  const node = await startNode(fleet, 'node');
  await node.subscriber.poll();
  await fleet.publish(['r.test/**']);
  const { bavail, bsize } = statfsSync(folder);
  const filler = join(folder, 'filler');
  writeFileSync(filler, Buffer.alloc(bavail * bsize));
  await node.subscriber.poll();
  const { release, problem } = node.subscriber.status();
  assert.match(problem?.code ?? 'none', /^(?:STORAGE_DISK_FULL|POLICY_RELEASE_UNSTORED)$/u);
  assert.equal(release?.number, 1);
  await node.close();
  const again = await startNode(fleet, 'node');
  t.after(() => again.close());
  assert.equal(mayRun(again.holder.current(), shop), true, 'a start does not write');
  rmSync(filler);
  await again.subscriber.poll();
  assert.equal(again.subscriber.status().release?.number, 2);
});
