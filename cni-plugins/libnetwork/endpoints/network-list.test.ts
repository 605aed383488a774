import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { netLabels } from '../protocol/protocol.ts';
import { networkOfRequest } from './network-list.ts';

test('a conflist has the plugins of the folder named after its network, by name and by path', (t) => {
  const confDir = mkdtempSync(join(tmpdir(), 'portcullis-lists-'));
  t.after(() => rmSync(confDir, { recursive: true }));
  const file = join(confDir, '10-shop.conflist');
  const plugins = [{ type: 'portcullis-bridge' }];
  writeFileSync(file, JSON.stringify({ cniVersion: '1.1.0', name: 'shop', plugins }));
  mkdirSync(join(confDir, 'shop'));
  writeFileSync(join(confDir, 'shop/10-firewall.conf'), '{ "type": "portcullis-firewall" }');
  for (const conflist of ['shop', file]) {
    const request = { NetworkID: 'a'.repeat(64), Options: { [netLabels.generic]: { conflist } } };
    const network = networkOfRequest(request, { confDir, plugins: 'auto' });
    assert.deepEqual(
      network.list.plugins.map(({ type }) => type),
      ['portcullis-bridge', 'portcullis-firewall'],
      conflist,
    );
  }
  writeFileSync(join(confDir, 'shop/20-broken.conf'), '{');
  const request = { NetworkID: 'b'.repeat(64), Options: { [netLabels.generic]: { conflist: file } } };
  assert.throws(() => networkOfRequest(request, { confDir, plugins: 'auto' }), {
    code: 'NETWORK_CNM_OPTION',
    message: /20-broken\.conf/u,
  });
});
