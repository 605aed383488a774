import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openMemory } from './memory.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-memory-'));
after(() => rmSync(folder, { recursive: true }));

const record = {
  id: 'id-2',
  underlay: '192.0.2.2',
  mtu: 1450,
  vxlan: { mac: '02:00:00:00:00:02', port: 4789 },
};
const peer = { host: 'node-b', record, subnets: ['10.128.2.0/24'] };

test('the identity of this host is not replaced while its file cannot be read', async () => {
  const own = join(folder, 'unreadable');
  mkdirSync(own);
  // A read of this file fails with EIO: nothing is mapped at the address 0.
  symlinkSync('/proc/self/mem', join(own, 'overlay.json'));
  await assert.rejects(openMemory(own, 'shop'), { code: 'STORAGE_IO' });
  assert.ok(lstatSync(join(own, 'overlay.json')).isSymbolicLink());
});

test('the identity, the subnets and the other hosts outlast a restart', async () => {
  const own = join(folder, 'whole');
  const memory = await openMemory(own, 'shop');
  const now = { ...memory.remembered, subnets: ['10.128.1.0/24'], peers: [peer] };
  await memory.write(now);
  assert.deepEqual((await openMemory(own, 'shop')).remembered, now);
  const ofAnother = { network: 'other', id: now.id, subnets: [], peers: [] };
  assert.deepEqual((await openMemory(own, 'other')).remembered, ofAnother);
});

test('elements that are no subnets or no hosts are dropped, and the identity stays', async () => {
  const own = join(folder, 'damaged');
  mkdirSync(own);
  const subnets = [null, 7, '10.128.1.7/24', '10.128.1.0/24'];
  const peers = [null, 'b', { host: 'c' }, { ...peer, record: null }, { ...peer, subnets: [null] }, peer];
  writeFileSync(join(own, 'overlay.json'), JSON.stringify({ network: 'shop', id: 'id-1', subnets, peers }));
  assert.deepEqual((await openMemory(own, 'shop')).remembered, {
    network: 'shop',
    id: 'id-1',
    subnets: ['10.128.1.0/24'],
    peers: [{ ...peer, subnets: [] }, peer],
  });
});
