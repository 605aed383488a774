import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { connectedId } from '../spec/connected-id.ts';
import { openPluginEngine } from './engine.ts';
import { createFixture, inPrivateNetns } from './engine.fixture.ts';

/** Another runtime on the same network calls GC: it knows its own attachments alone. */
if (inPrivateNetns(import.meta.filename)) {
  const ptp = {
    type: 'portcullis-ptp',
    ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.95.0.0/24' }]] },
  };
  const network = { cniVersion: '1.1.0', name: 'pods' };
  const fixture = createFixture({ ...network, plugins: [ptp] });
  const engine = await fixture.engine();
  const log = createLogger({ level: 'error' });
  const plugins = openPluginEngine({ databasePath: fixture.databasePath, log });
  after(async () => {
    await plugins.close();
    await engine.close({ removeAll: true });
    fixture.end();
  });

  const call = (verb: PluginCall['verb'], containerId: string, more: Partial<PluginCall>): Promise<unknown> =>
    plugins.callPlugin({
      verb,
      type: ptp.type,
      caller: {},
      key: { network: 'pods', containerId, interface: containerId === '' ? '' : 'eth0' },
      netns: '',
      args: {},
      path: [],
      config: JSON.stringify({ ...network, ...ptp }),
      ...more,
    });
  const attached = (): string[] =>
    fixture.rows("SELECT container_id FROM attachment WHERE origin = 'plugin' ORDER BY 1");

  test('GC removes attachments of the runtime that calls, and none of a pod, service or command', async () => {
    const own = fixture.pod('own');
    await engine.attach(own.request);
    const connected = connectedId({ dev: 4, ino: 7 });
    for (const id of ['theirs', connected]) await call('add', id, { netns: fixture.pod(id).request.netns });
    const ipam = {
      type: 'portcullis-ipam',
      config: JSON.stringify({ ...network, ...ptp.ipam, ipam: ptp.ipam }),
    };
    const key = { network: 'pods', containerId: 'service.web', interface: 'vip' };
    await call('add', '', { ...ipam, key });
    const all = [own.request.id, connected, 'service.web', 'theirs'].toSorted();
    assert.deepEqual(attached(), all);
    await call('gc', '', { valid: [] });
    assert.deepEqual(
      attached(),
      all.filter((id) => id !== 'theirs'),
    );
    assert.match(own.run('ip addr show dev eth0') ?? '', /10\.95\.0/u);
    await call('del', '', { ...ipam, key });
    await call('del', connected, {});
    // A pod that is gone is a leftover like any other.
    await engine.detach(own.request.id);
    await call('gc', '', { valid: [] });
    assert.deepEqual(attached(), []);
  });
}
