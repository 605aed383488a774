import assert from 'node:assert/strict';
import { lstatSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parsePrefix } from '../../base/addresses/index.ts';
import { entriesOf, unreachableBy } from './data-plane/entries.ts';
import type { Own } from './data-plane/entries.ts';
import { openHostKeys } from './data-plane/keys.ts';
import { encode, readHost } from './records/records.ts';
import type { HostRecord, WireguardEnd } from './records/records.ts';
import { createUsedKeys } from './data-plane/used-keys.ts';

const key = (byte: number): string => Buffer.alloc(32, byte).toString('base64');
const [first, second, third, fourth] = [1, 2, 3, 4].map(key) as [string, string, string, string];
const end = (publicKey: string, nextKey: string): WireguardEnd => ({ publicKey, nextKey, port: 51_820 });
const record: HostRecord = { id: 'id-2', underlay: '192.0.2.2', mtu: 1440, wireguard: end(first, second) };
const plain: HostRecord = {
  id: 'id-3',
  underlay: '192.0.2.3',
  mtu: 1450,
  vxlan: { mac: '02:00:00:00:00:03', port: 4789 },
};
const own: Own = {
  record: { id: 'id-1', underlay: '192.0.2.1', mtu: 1440, wireguard: end(key(8), key(9)) },
  subnets: ['10.128.1.0/24'],
  networks: [{ prefix: parsePrefix('10.128.0.0/14')!, hostLength: 24 }],
};

describe('hosts that get packets', () => {
  test('no packet is sent to a host without a key, or between hosts of which only one encrypts; both report why', () => {
    assert.match(unreachableBy(own.record, plain) ?? '', /has no key/u);
    assert.match(unreachableBy(plain, own.record) ?? '', /encrypts/u);
    assert.equal(unreachableBy(own.record, record), undefined);
    assert.deepEqual(entriesOf({ host: 'host-3', record: plain, subnets: ['10.128.3.0/24'] }, own), []);
  });

  test('a host gets its subnets with its current key, and its next key is added without subnets', () => {
    const peer = { host: 'host-2', record, subnets: ['10.128.2.0/24'] };
    const entries = (used?: string): unknown[] =>
      entriesOf(peer, own, used).flatMap((entry) =>
        entry.kind === 'peer' ? [[entry.publicKey, entry.subnets]] : [],
      );
    assert.deepEqual(entries(), [
      [first, ['10.128.2.0/24']],
      [second, []],
    ]);
    assert.deepEqual(entries(second), [
      [first, []],
      [second, ['10.128.2.0/24']],
    ]);
    // A previous key that was not removed yet stays until it is removed.
    assert.deepEqual(entries(third), [
      [first, []],
      [second, []],
      [third, ['10.128.2.0/24']],
    ]);
    assert.deepEqual(
      entriesOf(peer, own).filter(({ kind }) => kind === 'route'),
      [{ kind: 'route', subnet: '10.128.2.0/24', source: '10.128.1.0' }],
    );
  });
});

test('the record of a host is read completely or not at all', () => {
  assert.deepEqual(readHost(encode(record)), record);
  const wrong: readonly object[] = [
    { ...record, vxlan: plain.vxlan },
    { ...record, wireguard: undefined },
    { ...record, wireguard: { ...record.wireguard, publicKey: 'short' } },
    { ...record, wireguard: { ...record.wireguard, publicKey: `${first.slice(0, -1)}!` } },
    { ...record, wireguard: { ...record.wireguard, nextKey: first } },
    { ...record, wireguard: { ...record.wireguard, port: 0 } },
  ];
  for (const each of wrong)
    assert.equal(readHost(Buffer.from(JSON.stringify(each))), undefined, JSON.stringify(each));
});

describe('the key that a host uses', () => {
  const met = (...keys: readonly (readonly [string, number])[]): Map<string, { handshakeMs: number }> =>
    new Map(keys.map(([each, handshakeMs]) => [each, { handshakeMs }]));

  test('is the announced key, or the next key after a handshake with it, also without etcd', () => {
    const used = createUsedKeys();
    assert.equal(used.keyOf('host', end(first, second), met(), 0), first);
    assert.equal(used.keyOf('host', end(first, second), met([first, 10]), 20), first);
    assert.equal(used.keyOf('host', end(first, second), met([first, 10], [second, 30]), 40), second);
    assert.equal(
      used.keyOf('host', end(first, second), met([second, 30]), 50),
      second,
      'it does not go back',
    );
    assert.equal(
      used.keyOf('host', end(second, third), met([second, 30]), 60),
      second,
      'also when etcd announces it as well',
    );
    assert.equal(used.waiting.size, 0);
  });

  test('is the next key after a handshake with it, although the clock of the machine was set back before', () => {
    const used = createUsedKeys();
    assert.equal(used.keyOf('host', end(first, second), met([first, 3_600_000]), 10), first);
    const key = used.keyOf('host', end(first, second), met([first, 3_600_000], [second, 30]), 2010);
    assert.equal(key, second);
    const later = used.keyOf('host', end(first, second), met([first, 3_600_000], [second, 120_030]), 4010);
    assert.equal(later, second);
  });

  test('is a new key that was announced first, after it was seen', () => {
    const used = createUsedKeys();
    used.keyOf('host', end(first, second), met([first, 10]), 20);
    assert.equal(used.keyOf('host', end(second, third), met([first, 10]), 100), first);
    assert.deepEqual([...used.waiting], ['host']);
    assert.equal(used.keyOf('host', end(second, third), met([first, 10], [second, 120]), 200), second);
    assert.equal(used.waiting.size, 0);
  });

  test('is a new key after a while if the host lost its keys, and at once after a handshake with it', () => {
    const used = createUsedKeys();
    used.keyOf('host', end(first, second), met([first, 10]), 20);
    assert.equal(used.keyOf('host', end(third, fourth), met([first, 10]), 100), first);
    assert.equal(used.keyOf('host', end(third, fourth), met([first, 10]), 3099), first);
    assert.equal(used.keyOf('host', end(third, fourth), met([first, 10]), 3100), third);
    assert.equal(used.waiting.size, 0);
    used.forget('host');
    assert.equal(used.keyOf('host', end(first, second), met(), 4000), first);
  });
});

describe('the keys of this host', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-keys-'));
  const path = join(folder, 'own', 'wireguard-keys.json');
  test('are readable for root only, persist, and the next key becomes the current key', async (context) => {
    context.after(() => rmSync(folder, { recursive: true, force: true }));
    const keys = await openHostKeys(join(folder, 'own'));
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const [{ publicKey }, next] = [keys.current, keys.next];
    assert.notEqual(publicKey, next.publicKey);
    assert.equal((await openHostKeys(join(folder, 'own'))).current.publicKey, publicKey);
    await keys.announced(next.publicKey);
    await keys.rotate();
    assert.equal(keys.current.publicKey, next.publicKey);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal((await openHostKeys(join(folder, 'own'))).current.publicKey, next.publicKey);
    // An invalid pair is not used: no host would communicate with its holder.
    const stored = JSON.parse(readFileSync(path, 'utf8')) as { current: { publicKey: string } };
    writeFileSync(path, JSON.stringify({ ...stored, current: { ...stored.current, publicKey } }));
    assert.notEqual((await openHostKeys(join(folder, 'own'))).current.publicKey, publicKey);
    keys.remove();
    assert.throws(() => statSync(path), /ENOENT/u);
  });

  test('do not change before the other hosts can know the next key, also after a restart', async (context) => {
    const own = mkdtempSync(join(tmpdir(), 'portcullis-keys-'));
    context.after(() => rmSync(own, { recursive: true, force: true }));
    const keys = await openHostKeys(own);
    const refused = { code: 'OVERLAY_KEY_NOT_ANNOUNCED' };
    await assert.rejects(keys.rotate(), refused);
    await keys.announced(keys.next.publicKey);
    const restarted = await openHostKeys(own);
    const announced = restarted.next.publicKey;
    // Two administrators at once: etcd has the key of one change only.
    const both = await Promise.allSettled([restarted.rotate(), restarted.rotate()]);
    assert.deepEqual(
      both.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
    assert.equal(restarted.current.publicKey, announced);
    await restarted.announced(announced);
    for (const each of [restarted, await openHostKeys(own)]) await assert.rejects(each.rotate(), refused);
    assert.equal((await openHostKeys(own)).current.publicKey, announced);
    await restarted.announced(restarted.next.publicKey);
    await restarted.rotate();
  });

  test('are not replaced while their file cannot be read', async (context) => {
    const own = mkdtempSync(join(tmpdir(), 'portcullis-keys-'));
    context.after(() => rmSync(own, { recursive: true, force: true }));
    // A read of this file fails with EIO: nothing is mapped at the address 0.
    symlinkSync('/proc/self/mem', join(own, 'wireguard-keys.json'));
    await assert.rejects(openHostKeys(own), { code: 'STORAGE_IO' });
    assert.ok(lstatSync(join(own, 'wireguard-keys.json')).isSymbolicLink());
  });
});
