import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import { eventually } from '../../test/fixtures/etcd.ts';
import { startServices } from '../services/control/services.ts';
import type { Services } from '../services/control/services.ts';
import { readServices } from '../services/description/read.ts';
import type { Service } from '../services/model/model.ts';
import { keysOf } from './records/records.ts';
import { createSpreadServices } from './spread-services.ts';

/** Services of the overlay next to those of the host itself, on this host's real balancer. */

const keys = keysOf('shop');
const folder = mkdtempSync(join(tmpdir(), 'portcullis-spread-'));
const reported: string[] = [];
let services: Services;
/** The services thread alone does not keep the process alive. */
const alive = setInterval(() => undefined, 1000);

const text = (name: string, address: string): string =>
  `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\naddresses: [${address}]\nports: [80]\nbackends: [{ address: 10.128.1.2 }]\n`;
const own = (name: string, address: string): Service =>
  readServices([{ file: 'own', text: text(name, address) }]).described[0]!.service;
const spread = (name: string, address: string): { key: string; value: Buffer } => ({
  key: keys.service(name),
  value: Buffer.from(text(name, address)),
});
const existing = async (): Promise<string[]> => {
  const { services: found } = JSON.parse(await services.ask(JSON.stringify({ do: 'list' }))) as {
    services: { name: string }[];
  };
  return found.map(({ name }) => name).toSorted();
};

before(async () => {
  services = await startServices(
    { databasePath: join(folder, 'network.db'), balancer: 'nftables' },
    createLogger({ level: 'silent' }),
  );
});
after(async () => {
  await services?.close();
  clearInterval(alive);
  rmSync(folder, { recursive: true, force: true });
});

test('a service that this host refuses is reported, and retried until the conflict is gone', async () => {
  await services.put('own', [own('mine', '10.96.0.1')]);
  const spreading = createSpreadServices(services, keys, (problem) => reported.push(problem));
  spreading.list([spread('theirs', '10.96.0.1'), spread('free', '10.96.0.2')]);
  await eventually('the service without a conflict exists', async () => (await existing()).includes('free'));
  await eventually('the other is reported', () => spreading.refused.length === 1);
  assert.match(spreading.refused[0]!, /services\/theirs: addresses.*mine/u);
  assert.deepEqual(await existing(), ['free', 'mine']);
  await services.remove('own', ['mine']);
  await eventually('it exists without a change in etcd', async () => (await existing()).includes('theirs'));
  await eventually('nothing is reported', () => spreading.refused.length === 0);
  assert.equal(reported.length, 1, 'it is reported once, however often it is applied');
  await spreading.close();
});

test('a description that cannot be read is reported as long as it is in etcd, and does not affect the others', async () => {
  const spreading = createSpreadServices(services, keys, () => undefined);
  spreading.list([spread('free', '10.96.0.2')]);
  spreading.change([{ key: keys.service('bad'), value: Buffer.from('kind: [') }]);
  assert.match(spreading.refused.join(), /services\/bad/u);
  spreading.change([{ key: keys.service('bad'), value: undefined }]);
  assert.deepEqual(spreading.refused, []);
  await eventually('the other stands', async () => (await existing()).join() === 'free');
  await spreading.close();
});
