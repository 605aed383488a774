import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { test } from 'node:test';
import { openKit } from '../../trust/verdict-log/log.fixture.ts';
import { exportTo, read, sourceOf, temporaryFolder, until } from '../fleet.fixture.ts';
import { startFleetService } from '../service/fleet-service.ts';

test('an aggregator that lost its database gets the checkpoint again, also if the log does not grow', async (t) => {
  const kit = await openKit(t);
  await kit.append(5);
  const data = await temporaryFolder(t);
  const start = (listen: string) => startFleetService({ listen, data, keepDays: 400, keepBytes: 2 ** 34 });
  let service = await start('127.0.0.1:0');
  t.after(() => service.close());
  const { url } = service;
  const checkpointAt = async (): Promise<string> =>
    (await read<{ checkpoint: string }>(url, '/v1/nodes/a').catch(() => ({ checkpoint: '' }))).checkpoint;
  exportTo(t, url, sourceOf(kit), { stateMs: 20 });
  await until(async () => (await checkpointAt()) !== '');
  const before = await checkpointAt();

  await service.close();
  await rm(data, { recursive: true });
  service = await start(new URL(url).host);
  const rows = async (): Promise<number> =>
    (await read<{ rows: readonly object[] }>(url, '/v1/nodes/a/log').catch(() => ({ rows: [] }))).rows.length;
  await until(async () => (await rows()) >= 5);
  const late = performance.now() + 3000;
  await until(async () => (await checkpointAt()) !== '' || performance.now() > late);
  assert.equal(await checkpointAt(), before);
});
