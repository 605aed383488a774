import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import { openNetworkDatabase } from '../database/database.ts';
import { conflist, createFixture, inPrivateNetns } from '../engine/engine.fixture.ts';
import { createNetwork, removeNetwork } from './conflist-file.ts';
import { connectNetwork, disconnectNetwork } from './connect.ts';
import { readNetworkReport } from './report.ts';
import type { ReportedAttachment } from './report.ts';

if (inPrivateNetns(import.meta.filename, 240_000)) {
  const ordinary = conflist() as { readonly plugins: readonly object[] };
  const fixture = createFixture({
    ...ordinary,
    plugins: [...ordinary.plugins, { type: 'firewall', ingressPolicy: 'same-bridge' }],
  });
  after(() => fixture.end());
  const source = {
    databasePath: fixture.databasePath,
    confDir: fixture.confDir,
    choice: { plugins: 'auto' as const, maxConfigs: 1 },
    binDirs: [],
    cacheDir: join(fixture.folder, 'cni'),
    log: createLogger({ level: 'error' }),
  };
  const attachedTo = (name: string): (Partial<ReportedAttachment> & { readonly used?: number })[] => {
    const network = readNetworkReport(source).networks.find((each) => each.name === name);
    return (network?.attachments ?? []).map(({ namespace, pod, interface: link, origin }) => ({
      namespace: namespace ?? '',
      pod: pod ?? '',
      interface: link,
      origin,
      used: network?.leases.used ?? 0,
    }));
  };

  test('a pod is listed once, by its name, whatever plugins its network has, together with the networks that it was connected to', async () => {
    const side = {
      name: 'side',
      type: 'bridge',
      subnets: ['10.84.0.0/24'],
      gateways: [],
      podNamespaces: [],
      order: '50',
    } as const;
    createNetwork(source, { ...side, masquerade: true, separated: true, internal: false });
    const engine = await fixture.engine();
    const { request } = fixture.pod('web');
    await engine.attach(request);
    try {
      await engine.setClass(request.id, 'user', {});
      const own = { namespace: 'default', pod: 'web' };
      assert.deepEqual(attachedTo('pods'), [{ ...own, interface: 'eth0', origin: 'pod', used: 2 }]);
      assert.deepEqual((await engine.figures()).attachments, [{ network: 'pods', state: 'ready', count: 1 }]);
      const [{ leases } = assert.fail('it is there')] = readNetworkReport(source).networks.filter(
        ({ name }) => name === 'pods',
      );
      assert.deepEqual(
        leases.ranges?.map(({ subnets, used }) => [subnets.join(), used]),
        [
          ['10.88.0.0/24', 1],
          ['fd00:88::/64', 1],
        ],
      );
      assert.equal(leases.ranges[0]?.size, 253);
      await connectNetwork(source, 'side', { ips: [], aliases: [], target: 'default/web' });
      assert.deepEqual(attachedTo('side'), [{ ...own, interface: 'eth1', origin: 'plugin', used: 1 }]);
      await disconnectNetwork(source, 'side', 'default/web');
    } finally {
      await engine.detach(request.id);
      await engine.close({ removeAll: true });
    }
    assert.deepEqual([...attachedTo('pods'), ...attachedTo('side')], []);
  });

  test('a pod of another runtime is listed by its name, if its record has one', async () => {
    const engine = await fixture.engine();
    const { request } = fixture.pod('other');
    const ipam = { type: 'portcullis-ipam', ranges: [[{ subnet: '10.90.0.0/24' }]] };
    const config = { cniVersion: '1.1.0', name: 'others', type: 'portcullis-bridge', bridge: 'br9', ipam };
    const call = {
      type: config.type,
      caller: {},
      key: { network: config.name, containerId: request.id, interface: 'eth0' },
      netns: request.netns,
      args: {},
      path: [],
      config: JSON.stringify(config),
    };
    await engine.callPlugin({ ...call, verb: 'add' });
    try {
      assert.deepEqual(
        attachedTo('others').map(({ pod }) => pod),
        [''],
      );
      const database = openNetworkDatabase(fixture.databasePath);
      const pod = { namespace: 'shop', name: 'web', uid: 'u' };
      database.db
        .prepare('UPDATE attachment SET spec = ? WHERE container_id = ?')
        .run(JSON.stringify({ policed: config.type, pod }), request.id);
      database.close();
      assert.deepEqual(attachedTo('others'), [
        { namespace: 'shop', pod: 'web', interface: 'eth0', origin: 'plugin', used: 1 },
      ]);
    } finally {
      await engine.callPlugin({ ...call, verb: 'del' });
      await engine.close({ removeAll: true });
    }
  });

  test('a damaged record of a member of a service does not hide the networks', async () => {
    const engine = await fixture.engine();
    const { request } = fixture.pod('member');
    await engine.attach(request);
    try {
      const { db, close } = openNetworkDatabase(fixture.databasePath);
      db.exec(`INSERT INTO service_member (attachment, realm, network, service, document, owner)
        SELECT number, realm, network, 'broken', '{"name', '' FROM attachment WHERE container_id = '${request.id}'`);
      close();
      assert.ok(attachedTo('pods').some(({ pod }) => pod === 'member'));
    } finally {
      await engine.detach(request.id);
      await engine.close({ removeAll: true });
    }
  });

  test('a damaged record of a pod, a plugin or a service hides nothing else, and other pods can be connected', async () => {
    const engine = await fixture.engine();
    const [hurt, whole] = [fixture.pod('hurt').request, fixture.pod('whole').request];
    for (const request of [hurt, whole]) await engine.attach(request);
    await engine.setClass(whole.id, 'user', {});
    try {
      const { db, close } = openNetworkDatabase(fixture.databasePath);
      const before = db
        .prepare("SELECT spec FROM attachment WHERE origin = 'pod' AND container_id = ?")
        .get(hurt.id);
      db.exec(`INSERT INTO spanned_network (network, realm, link) VALUES ('far', 'here', 'br')`);
      db.exec(`INSERT INTO spanned_service (network, service, document) VALUES ('far', 'web', '{"mode')`);
      db.exec(
        `INSERT INTO spanned_member (network, service, host, document) VALUES ('far', 'web', 'h', '[{')`,
      );
      db.exec("UPDATE part SET resources = resources || '}'");
      assert.ok(attachedTo('pods').some(({ pod }) => pod === 'whole'));
      db.exec('UPDATE part SET resources = substr(resources, 1, length(resources) - 1)');
      // As the disk damages it, and as the start of the daemon leaves it.
      for (const spec of ['{"pod":', '{}']) {
        db.prepare("UPDATE attachment SET spec = ? WHERE origin = 'pod' AND container_id = ?").run(
          spec,
          hurt.id,
        );
        assert.ok(attachedTo('pods').some(({ pod }) => pod === 'whole'));
        await connectNetwork(source, 'side', { ips: [], aliases: [], target: 'default/whole' });
        await disconnectNetwork(source, 'side', 'default/whole');
      }
      db.prepare("UPDATE attachment SET spec = ? WHERE origin = 'pod' AND container_id = ?").run(
        String(before?.['spec']),
        hurt.id,
      );
      db.exec('DELETE FROM spanned_member; DELETE FROM spanned_service; DELETE FROM spanned_network');
      close();
    } finally {
      for (const { id } of [hurt, whole]) await engine.detach(id);
      await engine.close({ removeAll: true });
    }
  });

  test('a connected namespace is listed as a namespace, by its path, also if it keeps its network', async () => {
    const { request } = fixture.pod('blue');
    await connectNetwork(source, 'side', { ips: [], aliases: [], target: request.netns });
    const network = readNetworkReport(source).networks.find(({ name }) => name === 'side');
    assert.deepEqual(
      network?.attachments.map(({ connected, origin }) => [connected, origin]),
      [[request.netns, 'plugin']],
    );
    assert.throws(
      () => removeNetwork(source, 'side'),
      new RegExp(`attached to it: ${request.netns}; .* disconnect`, 'u'),
    );
    await disconnectNetwork(source, 'side', request.netns);
  });
}
