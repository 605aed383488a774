import assert from 'node:assert/strict';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../../base/log/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { openNetworkDatabase } from '../../database/database.ts';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { readServices } from '../description/read.ts';
import type { Service } from '../model/model.ts';
import { becomeRouter, openHost } from '../switch/hosts.fixture.ts';
import type { TestHost } from '../switch/hosts.fixture.ts';
import type { ServiceList } from './protocol.ts';
import { startServices } from './services.ts';
import type { Services } from './services.ts';

/**
 * When the disk of the database is full, services in force go on, a change that cannot be stored is not in
 * force, and nothing is lost when there is room again.
 */
if (inPrivateNetns(import.meta.filename, 240_000)) {
  const disk = '/run/portcullis-full-disk';
  const databasePath = join(disk, 'network.db');
  const filling = join(disk, 'filling');
  let services: Services;
  let client: TestHost;
  let backend: TestHost;

  const service = (number: number, port = '80:8080'): Service => {
    const text = `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: s${number} }\naddresses: [10.96.0.${number}]\nports: [${port}]\nbackends: [10.2.0.2]\n`;
    return (readServices([{ file: 'one', text }]).described[0] as { service: Service }).service;
  };
  /** The balancer that each started thread was asked to use. */
  const asked: unknown[] = [];
  const silent = createLogger({ level: 'silent' });
  const log: Logger = {
    ...silent,
    info: (fields) => void ('asked' in fields && asked.push(fields.asked)),
    child: () => log,
  };
  const start = async (): Promise<void> => {
    services = await startServices({ databasePath, balancer: 'auto' }, log);
  };
  const answers = async (number: number): Promise<string> =>
    ((await client.greet(`10.96.0.${number}`, 80))[0] ?? '').split(' ')[0] ?? '';
  const names = async (): Promise<string[]> =>
    (JSON.parse(await services.ask('{"do":"list"}')) as ServiceList).services
      .map(({ name }) => name)
      .toSorted();
  const fill = (): void => {
    const { bavail, bsize } = statfsSync(disk);
    writeFileSync(filling, Buffer.alloc(bavail * bsize));
  };
  /** Retries, because the thread restarts after a failed write. */
  const eventually = async <T>(act: () => Promise<T>): Promise<T> => {
    for (let tries = 0; ; tries += 1)
      try {
        return await act();
      } catch (thrown) {
        if (tries === 100) throw thrown;
        await pause(200);
      }
  };

  before(async () => {
    shell('ip link set lo up');
    mkdirSync(disk, { recursive: true });
    shell(`mount -t tmpfs -o size=4m full-disk ${disk}`);
    becomeRouter();
    client = await openHost('client', 1, 2);
    backend = await openHost('b1', 2, 2);
    await backend.serve('tcp', backend.address, 8080);
    await start();
    assert.deepEqual(await services.put('command', [service(1), service(2)]), []);
  });
  after(async () => {
    await services.close();
    await Promise.all([client, backend].map((host) => host.stop()));
    shell(`umount --lazy ${disk}`);
    rmSync(disk, { recursive: true });
  });

  test('a service that cannot be stored is refused, and is not in force', async () => {
    await services.ask('{"do":"switch","balancer":"nftables"}');
    fill();
    const many = Array.from({ length: 200 }, (_, index) => service(3 + index));
    await assert.rejects(services.put('command', many), { code: 'STORAGE_DISK_FULL' });
    await eventually(async () => assert.deepEqual(await names(), ['s1', 's2']));
    assert.deepEqual([await answers(1), await answers(2), await answers(3)], ['b1', 'b1', 'ENETUNREACH']);
    assert.deepEqual(
      asked,
      ['auto', 'nftables'],
      'the thread was restarted with the balancer that was switched to',
    );
  });

  test('a process that starts meanwhile finds the previous services, and they answer', async () => {
    await services.close();
    await start();
    assert.deepEqual(await eventually(names), ['s1', 's2']);
    assert.deepEqual([await answers(1), await answers(2)], ['b1', 'b1']);
  });

  test('changes are stored again when the disk has room again', async () => {
    rmSync(filling);
    assert.deepEqual(await eventually(() => services.put('command', [service(3)])), []);
    await eventually(() => services.remove('command', ['s2']));
    assert.deepEqual([await answers(1), await answers(3)], ['b1', 'b1']);
    await services.close();
    await start();
    assert.equal((await names()).includes('s3'), true);
    assert.deepEqual([await answers(1), await answers(3)], ['b1', 'b1']);
  });

  test('a damaged record does not end the start of the other services', async () => {
    const withNodePort = service(3, '{ port: 80, targetPort: 8080, nodePort: 30080 }');
    assert.deepEqual(await services.put('command', [withNodePort]), []);
    await services.close();
    // As in the daemon, another thread has the database open, and its log has no room.
    const { db, close } = openNetworkDatabase(databasePath);
    try {
      db.exec("UPDATE service SET document = substr(document, 1, 20) WHERE name = 's3'");
      db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
      fill();
      await start();
      assert.deepEqual((await eventually(names)).includes('s3'), false);
      assert.deepEqual(await answers(1), 'b1');
      rmSync(filling);
      assert.deepEqual(await eventually(() => services.put('command', [service(3)])), []);
      assert.deepEqual(await answers(3), 'b1');
    } finally {
      close();
    }
  });
}
