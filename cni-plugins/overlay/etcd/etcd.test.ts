import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeCertificate } from '../../../test/fixtures/certificate.ts';
import { findTool } from '../../../test/fixtures/tools.ts';
import { openEtcd } from './client.ts';
import type { EtcdAccess, EtcdClient } from './client.ts';
import { followPrefix } from './follow.ts';
import { holdLease } from './lease.ts';

/** Runs against a real etcd: the one of test/peers, or another one in `$PEERS/bin`, such as Debian's 3.4. */

const tool = findTool('etcd');
const limitMs = 60_000;

async function until(what: string, condition: () => Promise<boolean> | boolean): Promise<void> {
  const began = performance.now();
  let last = '';
  for (;;) {
    try {
      if (await condition()) return;
    } catch (thrown) {
      last = `: ${(thrown as Error).message}`;
    }
    if (performance.now() - began > limitMs)
      throw new Error(`not within ${limitMs / 1000} s: ${what}${last}`);
    await sleep(20);
  }
}

describe('the client of a real etcd', { skip: tool.skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-etcd-'));
  const started: ChildProcess[] = [];
  const clients: EtcdClient[] = [];
  const open = (access: EtcdAccess): EtcdClient => {
    const client = openEtcd(access);
    clients.push(client);
    return client;
  };
  const start = (name: string, clientUrl: string, peerUrl: string, more: readonly string[] = []): void => {
    const urls = [
      '--listen-client-urls',
      clientUrl,
      '--advertise-client-urls',
      clientUrl,
      '--listen-peer-urls',
      peerUrl,
    ];
    const cluster = ['--initial-advertise-peer-urls', peerUrl, '--initial-cluster', `default=${peerUrl}`];
    started.push(
      spawn(tool.path, ['--data-dir', join(folder, name), ...urls, ...cluster, ...more], { stdio: 'ignore' }),
    );
  };
  let access: EtcdAccess;

  before(() => {
    const { key, certificate } = makeCertificate(folder, 'etcd', {
      more: ['-addext', 'subjectAltName=IP:127.0.0.1'],
    });
    // One authority for both ends: a self-signed certificate is its own authority.
    const pem = readFileSync(certificate, 'utf8');
    start('plain', 'http://127.0.0.1:2379', 'http://127.0.0.1:2380');
    start('tls', 'https://127.0.0.1:3379,https://127.0.0.2:3379', 'http://127.0.0.1:3380', [
      ...[
        '--cert-file',
        certificate,
        '--key-file',
        key,
        '--trusted-ca-file',
        certificate,
        '--client-cert-auth',
      ],
    ]);
    access = { endpoints: ['https://127.0.0.1:3379'], ca: pem, cert: pem, key: readFileSync(key, 'utf8') };
  });
  after(async () => {
    for (const client of clients) client.close();
    await Promise.all(
      started.map((child) => new Promise((resolve) => child.once('exit', resolve) && child.kill('SIGKILL'))),
    );
    rmSync(folder, { recursive: true, force: true });
  });

  test('reads and writes keys, keeps a lease and follows changes by TLS with a certificate of this host', async () => {
    const client = open(access);
    await until('etcd answers', async () =>
      client.transact([], [{ put: { key: '/a/1', value: Buffer.from('one') } }]),
    );
    const heard: string[] = [];
    let isHere = false;
    const unfollow = followPrefix(client, '/a/', {
      onListing: ({ pairs }) => heard.push(...pairs.map(({ key, value }) => `${key}=${value.toString()}`)),
      onChanges: (changes) =>
        heard.push(...changes.map(({ key, value }) => `${key}=${value?.toString() ?? 'gone'}`)),
      onHere: () => (isHere = true),
      onAway: () => undefined,
    });
    await until('it is followed', () => isHere);
    let isHeld = false;
    const lease = holdLease({
      client,
      seconds: 2,
      register: async (id) =>
        void (await client.transact(
          [],
          [{ put: { key: '/a/lease', value: Buffer.from('held'), lease: id } }],
        )),
      onHeld: () => (isHeld = true),
      onTrouble: () => undefined,
    });
    await until('the lease is held', () => isHeld && heard.includes('/a/lease=held'));
    await sleep(3000);
    assert.ok((await client.get('/a/lease')) !== undefined, 'it is kept longer than its TTL');
    lease.close();
    await until('it ends when nobody keeps it', () => heard.includes('/a/lease=gone'));
    unfollow();
    assert.deepEqual(heard, ['/a/1=one', '/a/lease=held', '/a/lease=gone']);
  });

  test('is refused by name without a certificate, or with a certificate of another authority', async () => {
    const other = makeCertificate(folder, 'other', { more: ['-addext', 'subjectAltName=IP:127.0.0.1'] });
    const refused: readonly EtcdAccess[] = [
      { endpoints: access.endpoints, ca: access.ca! },
      { ...access, ca: readFileSync(other.certificate, 'utf8') },
      {
        endpoints: access.endpoints,
        ca: access.ca!,
        cert: readFileSync(other.certificate, 'utf8'),
        key: readFileSync(other.key, 'utf8'),
      },
      { endpoints: ['http://127.0.0.1:3379'] },
      // Its certificate is for 127.0.0.1.
      { ...access, endpoints: ['https://127.0.0.2:3379'] },
    ];
    for (const each of refused)
      await assert.rejects(open(each).list('/a/'), (thrown: Error & { code?: string }) => {
        assert.equal(thrown.code, 'OVERLAY_ETCD_UNREACHABLE');
        assert.match(thrown.message, /127\.0\.0\.[12]:3379/u);
        // The commands of groups of nodes use the same client without the configuration of the daemon.
        assert.match(thrown.message, /network\.overlay\.etcd\.endpoints.*--etcd/u);
        assert.doesNotMatch(thrown.message, /PRIVATE KEY/u);
        return true;
      });
  });

  test('lists and follows the other keys when a key is not UTF-8', async () => {
    const client = open({ endpoints: ['http://127.0.0.1:2379'] });
    const put = (key: string): Promise<boolean> =>
      client.transact([], [{ put: { key, value: Buffer.from('') } }]);
    await until('etcd answers', () => put('/c/1'));
    /** More than one page. A host that may write below a prefix may write any bytes there. */
    const foreign = Array.from({ length: 1100 }, (_, index) =>
      Buffer.concat([Buffer.from('/c/'), Buffer.of(0xff), Buffer.from(String(index).padStart(4, '0'))]),
    );
    const heard: string[] = [];
    const unfollow = followPrefix(open({ endpoints: ['http://127.0.0.1:2379'] }), '/c/', {
      onListing: ({ pairs }) => heard.push(...pairs.map(({ key }) => key)),
      onChanges: (changes) => heard.push(...changes.map(({ key }) => key)),
      onHere: () => undefined,
      onAway: (thrown) => heard.push(String(thrown)),
    });
    await until('it is followed', () => heard.includes('/c/1'));
    for (let at = 0; at < foreign.length; at += 100) {
      const success = foreign
        .slice(at, at + 100)
        .map((key) => ({ requestPut: { key: key.toString('base64'), value: '' } }));
      const written = await fetch('http://127.0.0.1:2379/v3/kv/txn', {
        method: 'POST',
        body: JSON.stringify({ success }),
      });
      assert.equal(written.status, 200);
    }
    await put('/c/2');
    await until('a later change is heard', () => heard.includes('/c/2'));
    unfollow();
    assert.deepEqual(
      heard.filter((key) => !key.startsWith('/c/\ufffd')),
      ['/c/1', '/c/2'],
    );
    const { pairs } = await client.list('/c/');
    assert.equal(pairs.length, foreign.length + 2);
  });

  test('keeps of a long listing what its reader wants, while it is read', async () => {
    const client = open({ endpoints: ['http://127.0.0.1:2379'] });
    for (let at = 0; at < 2500; at += 100)
      await until('keys are written', () =>
        client.transact(
          [],
          Array.from({ length: 100 }, (_, index) => ({
            put: { key: `/d/${at + index}`, value: Buffer.from('x') },
          })),
        ),
      );
    const lengths: number[] = [];
    const { pairs } = await client.list('/d/', {
      bound: {
        bytes: 1000,
        keep(read) {
          lengths.push(read.length);
          return read.slice(0, 2);
        },
      },
    });
    assert.ok(lengths.length > 1, 'it is called before everything was read');
    assert.ok(Math.max(...lengths) < 2500);
    assert.equal(pairs.length, 2);
  });

  test('reads everything again after revisions were compacted while it was disconnected, and continues from there', async () => {
    const sockets = new Set<Socket>();
    let isCut = false;
    const relay = createServer((socket) => {
      if (isCut) return void socket.destroy();
      const onward = connect(2379, '127.0.0.1');
      for (const [one, two] of [
        [socket, onward],
        [onward, socket],
      ] as const) {
        sockets.add(one);
        one.pipe(two);
        one.on('error', () => undefined);
        one.on('close', () => two.destroy());
      }
    });
    await new Promise<void>((resolve) => relay.listen(4379, '127.0.0.1', resolve));
    const direct = open({ endpoints: ['http://127.0.0.1:2379'] });
    const put = (key: string, value: string): Promise<boolean> =>
      direct.transact([], [{ put: { key, value: Buffer.from(value) } }]);
    await until('etcd answers', () => put('/b/1', 'one'));
    const held = new Map<string, string>();
    const state = { listings: 0, away: 0 };
    const unfollow = followPrefix(open({ endpoints: ['http://127.0.0.1:4379'] }), '/b/', {
      onListing({ pairs }) {
        state.listings += 1;
        held.clear();
        for (const { key, value } of pairs) held.set(key, value.toString());
      },
      onChanges(changes) {
        for (const { key, value } of changes)
          if (value === undefined) held.delete(key);
          else held.set(key, value.toString());
      },
      onHere: () => undefined,
      onAway: () => (state.away += 1),
    });
    await until('it is followed', async () => (await put('/b/2', 'two')) && held.get('/b/2') === 'two');
    assert.equal(state.listings, 1);
    isCut = true;
    for (const socket of sockets) socket.destroy();
    await until('it is away', () => state.away > 0);
    await direct.transact([], [{ deleteRange: { key: '/b/1' } }]);
    for (let count = 0; count < 10; count += 1) await put('/b/2', String(count));
    const { revision } = await direct.list('/b/');
    const compacted = await fetch('http://127.0.0.1:2379/v3/kv/compaction', {
      method: 'POST',
      body: JSON.stringify({ revision }),
    });
    assert.equal(compacted.status, 200);
    isCut = false;
    await until('it is here again', () => held.get('/b/2') === '9' && !held.has('/b/1'));
    assert.equal(state.listings, 2, 'read completely once more');
    await put('/b/3', 'three');
    await until('it goes on', () => held.get('/b/3') === 'three');
    assert.equal(state.listings, 2);
    unfollow();
    relay.close();
    for (const socket of sockets) socket.destroy();
  });
});
