import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openNetworkDatabase } from './database.ts';
import { createPluginAttachmentStore } from './plugin-attachments.ts';
import { createPodResolver } from './pod-resolver.ts';
import { bootOf } from '../namespaces/namespace-id.ts';

test('a pod asks the gateways of its network; the record of its servers ends with its attachment', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-resolver-'));
  const database = openNetworkDatabase(join(folder, 'network.db'));
  try {
    const namespaceId = `${bootOf()}/1`;
    const pluginAttachments = createPluginAttachmentStore(database);
    const key = { network: 'shop', containerId: 'web', interface: 'net1' };
    const ips = [
      { address: 'fd00::2/64', gateway: 'fd00::1' },
      { address: '10.0.0.2/24', gateway: '10.0.0.1' },
      { address: '10.9.0.2/24' },
    ];
    const result = { interfaces: [], ips, routes: [], dns: {} };
    const pluginAttachment = pluginAttachments.begin({
      attachment: pluginAttachments.attachment(namespaceId, key, 'pcx'),
      key,
      type: 'bridge',
      netns: '',
      resources: [],
      result,
    });
    const resolver = createPodResolver(database, namespaceId);
    const upstreams = (): unknown[] =>
      database.db
        .prepare('SELECT address FROM upstream ORDER BY position')
        .all()
        .map((row) => row['address']);
    const given = [
      '10.96.0.10',
      '127.0.0.53',
      '::1',
      // 127.0.0.1: the kernel sends to it over IPv4.
      '::ffff:7f00:1',
      '0.0.0.0',
      '224.0.0.251',
      'dns.example.com',
      '169.254.20.10',
      '2001:db8::53',
    ];
    assert.deepEqual(resolver.ask('web', 'shop', given), ['10.0.0.1', 'fd00::1']);
    assert.deepEqual(upstreams(), ['10.96.0.10', '169.254.20.10', '2001:db8::53']);
    resolver.ask('web', 'shop', ['10.96.0.11']);
    assert.deepEqual(upstreams(), ['10.96.0.11'], 'the last call counts');
    for (const [id, network] of [
      ['web', 'vault'],
      ['other', 'shop'],
    ] as const)
      assert.throws(() => resolver.ask(id, network, []), { code: 'NETWORK_NOT_ON_NETWORK' });
    assert.throws(() => createPodResolver(database, 'other/1').ask('web', 'shop', []), {
      code: 'NETWORK_NOT_ON_NETWORK',
    });
    pluginAttachments.remove(pluginAttachment);
    assert.deepEqual(upstreams(), []);
  } finally {
    database.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
