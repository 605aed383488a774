import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openNetworkDatabase } from './database.ts';
import { createNameStore, networkNameOf } from './endpoint-names.ts';
import { createPluginAttachmentStore } from './plugin-attachments.ts';
import { bootOf } from '../namespaces/namespace-id.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-names-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'network.db');

const namespaceId = `${bootOf()}/1`;

test('names belong to a network, end with their attachment, and report every change', () => {
  const database = openNetworkDatabase(path);
  const [names, pluginAttachments] = [createNameStore(database), createPluginAttachmentStore(database)];
  const key = { network: 'shop', containerId: 'web', interface: 'eth0' };
  const result = { interfaces: [], ips: [], routes: [], dns: {} };
  const pluginAttachment = pluginAttachments.begin({
    attachment: pluginAttachments.attachment(namespaceId, key, 'pcx'),
    key,
    type: 'bridge',
    netns: '',
    resources: [],
    result,
  });
  const holder = {
    namespaceId: namespaceId,
    network: 'shop',
    holder: 'web/eth0',
    attachment: pluginAttachment.attachment,
  };
  const first = names.version();
  names.put(holder, [
    { name: 'web', address: '10.0.0.2', kind: 'container' },
    { name: 'web', address: 'fd00::2', kind: 'container' },
    { name: 'front', address: '10.0.0.2', kind: 'alias' },
  ]);
  assert.notEqual(names.version(), first);
  names.put({ namespaceId: namespaceId, network: 'shop', holder: 'service front' }, [
    { name: 'front', address: '10.96.0.1', kind: 'service' },
  ]);
  assert.deepEqual(
    names
      .of(namespaceId, 'shop')
      .map(({ name, address, kind }) => `${name} ${address} ${kind}`)
      .toSorted(),
    ['front 10.0.0.2 alias', 'front 10.96.0.1 service', 'web 10.0.0.2 container', 'web fd00::2 container'],
  );
  assert.deepEqual(
    [names.networks(namespaceId), names.networks('former/1'), names.of('former/1', 'shop')],
    [['shop'], [], []],
  );
  names.put(holder, [{ name: 'web', address: '10.0.0.3', kind: 'container' }]);
  assert.deepEqual(
    names.of(namespaceId, 'shop').map(({ address }) => address),
    ['10.96.0.1', '10.0.0.3'],
  );
  names.put({ namespaceId: 'former/1', network: 'shop', holder: 'service old' }, [
    { name: 'old', address: '10.96.0.2', kind: 'service' },
  ]);
  const other = openNetworkDatabase(path);
  assert.deepEqual(names.networks('former/1'), [], 'a reboot forgets');
  const seen = createNameStore(other);
  const before = seen.version();
  assert.deepEqual(seen.of(namespaceId, 'shop').length, 2);
  pluginAttachments.remove(pluginAttachment);
  assert.notEqual(seen.version(), before);
  assert.deepEqual(
    seen.of(namespaceId, 'shop').map(({ kind }) => kind),
    ['service'],
  );
  names.take({ namespaceId: namespaceId, network: 'shop', holder: 'service front' });
  assert.deepEqual(seen.networks(namespaceId), []);
  other.close();
  database.close();
});

test('valid and invalid names are distinguished', () => {
  for (const [text, name] of [
    ['Web', 'web'],
    ['web.shop.', 'web.shop'],
    ['my_app-1', 'my_app-1'],
    ['', undefined],
    ['.', undefined],
    ['-a', undefined],
    ['a b', undefined],
    ['a..b', undefined],
    ['x'.repeat(64), undefined],
    [Array.from({ length: 5 }, () => 'x'.repeat(60)).join('.'), undefined],
  ] as const)
    assert.equal(networkNameOf(text), name, text);
});
