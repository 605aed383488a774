import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { after, test } from 'node:test';
import packet from 'dns-packet';
import { parseIp } from '../../base/addresses/index.ts';
import { createClusterNames } from '../cluster-names/table.ts';
import { createLogger } from '../../base/log/index.ts';
import { openNetworkDatabase } from '../database/database.ts';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { createPluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import { openClusterListener } from './cluster-listener.ts';
import { createNameCounts } from './figures.ts';
import { createNameTable } from './name-table.ts';

if (inPrivateNetns(import.meta.filename, 120_000)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());

  test('whoever invents source addresses causes a limited number of look-ups', async (t) => {
    const database = openNetworkDatabase(fixture.databasePath);
    const table = createNameTable(database);
    let lookUps = 0;
    const counts = createNameCounts();
    const address = parseIp('169.254.20.10');
    assert.ok(address !== undefined);
    const listener = openClusterListener({
      ...{ address, port: 53, zone: { domain: 'cluster.local', podNames: false, ttl: 5 } },
      names: createClusterNames(),
      table: {
        changed: table.changed,
        isRemembered: table.isRemembered,
        seenOnHost(asker, namespaceId) {
          if (!table.isRemembered(asker, namespaceId)) lookUps += 1;
          return table.seenOnHost(asker, namespaceId);
        },
      },
      upstreams: () => [],
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
    const begun = performance.now();
    for (const [index, socket] of sockets.entries()) {
      socket.send(query, 53, '169.254.20.10');
      // The buffer of the listener has room for some hundred questions.
      if (index % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    const seconds = (performance.now() - begun) / 1000;
    const { queries } = counts.figures({ gates: 1, closedGates: 0 });
    const received = queries.refused + queries.ignored;
    const found = `${lookUps} look-ups for ${received} questions in ${seconds} s`;
    assert.ok(lookUps > 100 && lookUps <= 1001 + 500 * seconds, found);
    assert.ok(received > lookUps + 300, found);
  });
}
