import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { etcdTool, eventually, startEtcdMembers, startEtcdProxy } from '../../../test/fixtures/etcd.ts';
import type { EtcdMember } from '../../../test/fixtures/etcd.ts';
import { openEtcd } from './client.ts';
import type { EtcdClient } from './client.ts';
import { followPrefix } from './follow.ts';
import { holdLease } from './lease.ts';

/** Three real members, one of which stops to serve in each of the ways in which members fail. */

const nobody = 65_534;
const leaseSeconds = 10;

describe('a cluster of which one member fails', { skip: etcdTool.skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-failover-'));
  const clients: EtcdClient[] = [];
  let members: EtcdMember[] = [];
  const open = (endpoints: readonly string[]): EtcdClient => {
    const client = openEtcd({ endpoints });
    clients.push(client);
    return client;
  };
  before(async () => {
    chmodSync(folder, 0o755);
    members = startEtcdMembers({ folder, port: 2379, count: 3, uid: nobody });
    for (const { endpoint } of members)
      await eventually('each member answers', async () => (await open([endpoint]).list('/')).revision > 0);
  });
  after(async () => {
    for (const client of clients) client.close();
    await Promise.all(members.map((member) => member.end()));
    rmSync(folder, { recursive: true, force: true });
  });

  /**
   * Checks that a host that asks the failing member first keeps its lease, receives each write of others once
   * and in order, and gets its calls answered.
   */
  async function staysWhole(
    prefix: string,
    first: string,
    fail: () => void,
    heal: () => void,
  ): Promise<void> {
    const others = members.slice(1).map(({ endpoint }) => endpoint);
    const writer = open(others);
    const client = open([first, ...others]);
    const heard: string[] = [];
    const ended: string[] = [];
    let isHere = false;
    let isHeld = false;
    const unfollow = followPrefix(client, prefix, {
      // The lease may be registered before the first listing is read.
      onListing: ({ pairs }) =>
        heard.push(...pairs.flatMap(({ key, value }) => (key.endsWith('lease') ? [] : [value.toString()]))),
      onChanges: (changes) =>
        heard.push(
          ...changes.flatMap(({ key, value }) =>
            key.endsWith('lease') ? [] : [value?.toString() ?? 'gone'],
          ),
        ),
      onHere: () => (isHere = true),
      onAway: () => undefined,
    });
    const lease = holdLease({
      client,
      seconds: leaseSeconds,
      register: async (id) =>
        void (await client.transact(
          [],
          [{ put: { key: `${prefix}lease`, value: Buffer.from('held'), lease: id } }],
        )),
      onHeld: () => (isHeld = true),
      onTrouble: () => undefined,
    });
    try {
      await eventually('it is followed, and the lease is held', () => isHere && isHeld);
      const watching = followPrefix(writer, `${prefix}lease`, {
        onListing: () => undefined,
        onChanges: (changes) =>
          ended.push(...changes.flatMap(({ value }) => (value === undefined ? ['ended'] : []))),
        onHere: () => undefined,
        onAway: () => undefined,
      });
      const written: string[] = [];
      const write = async (): Promise<void> => {
        const value = String(written.length);
        await eventually('a write is accepted', () =>
          writer.transact([], [{ put: { key: `${prefix}n`, value: Buffer.from(value) } }]),
        );
        written.push(value);
      };
      for (let count = 0; count < 20; count += 1) await write();
      fail();
      // Longer than the lease lasts without renewal.
      for (const late = performance.now() + leaseSeconds * 1500; performance.now() < late; await sleep(200))
        await write();
      await eventually('all is heard', () => heard.length >= written.length);
      await write();
      await eventually('the last too', () => heard.length >= written.length);
      assert.deepEqual(heard, written, 'each once and in order');
      assert.equal((await client.get(`${prefix}n`))?.value.toString(), written.at(-1));
      assert.deepEqual(ended, [], 'the lease did not end');
      watching();
    } finally {
      heal();
      lease.close();
      unfollow();
    }
  }

  test('only the first call is sent to a member that hangs', async () => {
    const proxy = await startEtcdProxy(members[0]!.endpoint);
    try {
      const client = open([proxy.endpoint, members[1]!.endpoint]);
      await client.get('/x');
      proxy.hang();
      for (let count = 0; count < 20; count += 1) await client.get('/x');
      assert.equal(proxy.calls, 2, 'once before it hung and once after');
    } finally {
      await proxy.close();
    }
  });

  test('calls, the lease (before it expires) and the watch leave a member that answers pings but no calls', async () => {
    const proxy = await startEtcdProxy(members[0]!.endpoint);
    try {
      await staysWhole('/hung/', proxy.endpoint, proxy.hang, proxy.resume);
    } finally {
      await proxy.close();
    }
  });

  test('the client leaves a member that is stopped (SIGSTOP)', async () => {
    const [{ process: child, endpoint }] = members as [EtcdMember];
    await staysWhole(
      '/stopped/',
      endpoint,
      () => child.kill('SIGSTOP'),
      () => child.kill('SIGCONT'),
    );
  });

  test('the client leaves a member that is cut off from the other members and serves old data', async () => {
    const [{ endpoint, peerPort }, ...others] = members as [EtcdMember, ...EtcdMember[]];
    const ports = others.map((member) => member.peerPort).join(', ');
    const nft = (script: string): unknown => execFileSync('nft', ['-f', '-'], { input: script });
    await staysWhole(
      '/minority/',
      endpoint,
      () =>
        nft(
          `table ip cut { chain out { type filter hook output priority 0; tcp dport ${peerPort} drop; tcp sport ${peerPort} drop; meta skuid ${nobody} tcp dport { ${ports} } drop; meta skuid ${nobody} tcp sport { ${ports} } drop; }; }`,
        ),
      () => nft('delete table ip cut'),
    );
  });
});
