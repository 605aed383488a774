import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { after, test } from 'node:test';
import packet from 'dns-packet';
import { parseIp } from '../../base/addresses/index.ts';
import { createClusterNames } from '../cluster-names/table.ts';
import { createLogger } from '../../base/log/index.ts';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { openNetworkDatabase } from '../database/database.ts';
import { createPluginAttachmentStore } from '../database/plugin-attachments.ts';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { createPluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import { openClusterListener } from './cluster-listener.ts';
import { createNameCounts } from './figures.ts';
import { createNameTable } from './name-table.ts';
import { ownNamespace } from './open-namespaces.ts';

if (inPrivateNetns(import.meta.filename, 120_000)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());

  test('a sender with forged source addresses does not keep a new pod from its answers', async (t) => {
    const database = openNetworkDatabase(fixture.databasePath);
    const table = createNameTable(database);
    const counts = createNameCounts();
    const address = parseIp('169.254.20.10');
    assert.ok(address !== undefined);
    const listener = openClusterListener({
      ...{ address, port: 53, zone: { domain: 'cluster.local', podNames: false, ttl: 5, address } },
      names: createClusterNames(),
      table,
      upstreams: () => [],
      isGateway: () => false,
      limits: { most: 10, mostOfAsker: 10 },
      figures: counts,
      log: createLogger({ level: 'silent' }),
    });
    t.after(() => {
      listener.close();
      database.close();
    });
    shell('ip addr add 10.200.0.1/16 dev lo');
    const query = packet.encode({ type: 'query', id: 7, questions: [{ type: 'A', name: 'web.example' }] });
    const sockets = Array.from({ length: 3500 }, () => createSocket('udp4'));
    t.after(() => sockets.forEach((socket) => socket.close()));
    for (const [index, socket] of sockets.entries())
      await new Promise<void>((resolve) =>
        socket.bind(0, `10.200.${1 + (index >> 8)}.${index & 255}`, resolve),
      );
    const pod = createSocket('udp4');
    t.after(() => pod.close());
    await new Promise<void>((resolve) => pod.bind(0, '10.200.99.1', resolve));
    for (const [index, socket] of sockets.entries()) {
      socket.send(query, 53, '169.254.20.10');
      // The buffer of the listener has room for some hundred questions.
      if (index % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      if (index === 2000) attach('10.200.99.1');
    }
    const answered = once(pod, 'message') as Promise<[Buffer]>;
    // As a resolver does: a full buffer of the listener drops questions.
    const asking = setInterval(() => pod.send(query, 53, '169.254.20.10'), 200);
    const [answer] = await answered.finally(() => clearInterval(asking));
    assert.equal(packet.decode(answer).id, 7);
    const { queries } = counts.figures({ listeners: 1, closedListeners: 0 });
    assert.ok(queries.ignored > 1000, `${queries.ignored} questions of unknown senders are ignored`);
  });

  test('a lasting failure to restore the address is logged once', (t) => {
    const database = openNetworkDatabase(fixture.databasePath);
    const address = parseIp('169.254.20.11');
    assert.ok(address !== undefined);
    const warned: string[] = [];
    const listener = openClusterListener({
      ...{ address, port: 53, zone: { domain: 'cluster.local', podNames: false, ttl: 5, address } },
      names: createClusterNames(),
      table: createNameTable(database),
      upstreams: () => [],
      isGateway: () => false,
      limits: { most: 10, mostOfAsker: 10 },
      figures: createNameCounts(),
      log: { info: () => undefined, warn: (_fields: object, message: string) => void warned.push(message) },
    });
    t.after(() => {
      listener.close();
      database.close();
    });
    const descriptors = holdDescriptors();
    t.after(() => descriptors.release());
    for (const times of [1, 2]) {
      descriptors.fill();
      for (let call = 0; call < 3; call += 1) listener.rest();
      assert.equal(warned.length, times, warned.join('\n'));
      descriptors.free(20);
      listener.rest();
    }
  });

  /** Records an attachment with this address in the host network namespace of the test. */
  function attach(text: string): void {
    const writing = openNetworkDatabase(fixture.databasePath);
    const pluginAttachments = createPluginAttachmentStore(writing);
    const key = { network: 'pods', containerId: 'new', interface: 'eth0' };
    const attachment = pluginAttachments.attachment(ownNamespace().namespaceId, key, 'pcnew');
    const result = { interfaces: [], ips: [{ address: `${text}/16` }], routes: [], dns: {} };
    pluginAttachments.begin({ attachment, key, type: 'other', netns: '', resources: [], result });
    writing.close();
  }
}
