import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { createFixture, eventually, inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import type { PluginCall } from '../calls/plugin-call.ts';

/**
 * Callers in host namespaces of their own, as in a node within a node: the records of a namespace end with
 * it, those of another namespace stay.
 */
if (inPrivateNetns(import.meta.filename, 240_000)) {
  const config = JSON.stringify({
    cniVersion: '1.1.0',
    name: 'inner',
    type: 'bridge',
    bridge: 'br0',
    isGateway: true,
    ipam: { type: 'host-local', ranges: [[{ subnet: '10.91.0.0/24' }]] },
  });

  test('addresses of an ended namespace are free again, whether or not the engine ran meanwhile; those of existing namespaces are kept', async () => {
    const fixture = createFixture();
    let engine = await fixture.engine();
    const database = new DatabaseSync(fixture.databasePath);
    const leases = (): string[] =>
      (
        database
          .prepare(
            "SELECT container_id FROM lease JOIN attachment ON number = attachment WHERE origin = 'plugin' ORDER BY 1",
          )
          .all() as unknown as {
          container_id: string;
        }[]
      ).map(({ container_id }) => container_id);
    const add = async (id: string, hostNetns: string): Promise<void> => {
      const netnsFd = openSync(hostNetns, 'r');
      const call: PluginCall = {
        verb: 'add',
        type: 'bridge',
        caller: { netnsFd },
        key: { network: 'inner', containerId: id, interface: 'eth0' },
        netns: fixture.pod(`${id}-pod`).request.netns,
        args: {},
        path: [],
        config,
      };
      await engine.callPlugin(call).finally(() => closeSync(netnsFd));
    };
    const hosts = ['first', 'second', 'third'].map((name) => fixture.pod(name).request.netns);
    const [first = '', second = '', third = ''] = hosts;
    await add('in-first', first);
    await add('in-second', second);
    await add('in-third', third);
    assert.deepEqual(leases(), ['in-first', 'in-second', 'in-third']);

    shell(`umount ${first}`);
    await eventually(() => leases().length === 2 || undefined, 30_000);
    assert.deepEqual(leases(), ['in-second', 'in-third']);

    await engine.close({ removeAll: false });
    shell(`umount ${second}`);
    engine = await fixture.engine();
    await eventually(() => leases().length === 1 || undefined, 30_000);
    assert.deepEqual(leases(), ['in-third']);
    await engine.gc(new Set());
    assert.deepEqual(leases(), ['in-third'], 'an existing namespace keeps its records');

    database.close();
    await engine.close({ removeAll: true });
    fixture.end();
  });
}
