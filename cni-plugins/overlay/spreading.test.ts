import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { findTool } from '../../test/fixtures/tools.ts';
import { readServices } from '../services/description/read.ts';
import type { Service } from '../services/model/model.ts';
import { openEtcd } from './etcd/client.ts';
import type { EtcdClient } from './etcd/client.ts';
import { leaveNetwork } from './ownership/membership.ts';
import { createOwnership } from './ownership/ownership.ts';
import { encode, keysOf } from './records/records.ts';
import { spread, takeBack } from './spreading.ts';

const tool = findTool('etcd');
const endpoint = 'http://127.0.0.1:2379';
const keys = keysOf('shop');

const document = (name: string, address: string, more = ''): string =>
  `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\naddresses: [${address}]\nports: [80]\n${more}`;
const documents = (count: number): string =>
  Array.from({ length: count }, (_, index) =>
    document(`many/s${index}`, `10.97.${index >> 8}.${index & 255}`),
  ).join('---\n');

describe('services in a real etcd', { skip: tool.skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-spreading-'));
  let etcd: ChildProcess;
  let client: EtcdClient;
  let heard: readonly Service[] = [];
  const spreading = {
    keys,
    standing: () => heard,
    get client() {
      return client;
    },
  };
  const names = async (): Promise<string[]> =>
    (await client.list(`${keys.all}services/`)).pairs.flatMap(({ key }) => {
      const read = keys.read(key);
      return read.kind === 'service' ? [read.name] : [];
    });
  const refused = async (act: () => Promise<unknown>, code: string, why: RegExp): Promise<void> => {
    const before_ = await names();
    await assert.rejects(act(), (thrown: Error & { readonly code?: string }) => {
      assert.equal(thrown.code, code);
      assert.match(thrown.message, why);
      return true;
    });
    assert.deepEqual(await names(), before_, 'nothing was changed');
  };

  before(async () => {
    const urls = [
      '--listen-client-urls',
      endpoint,
      '--advertise-client-urls',
      endpoint,
      '--listen-peer-urls',
      'http://127.0.0.1:2380',
    ];
    etcd = spawn(tool.path, ['--data-dir', folder, ...urls], { stdio: 'ignore' });
    client = openEtcd({ endpoints: [endpoint] });
    for (const late = performance.now() + 60_000; ; await pause(50))
      try {
        await client.get('ready');
        break;
      } catch (thrown) {
        if (performance.now() > late) throw thrown;
      }
  });
  after(() => {
    client?.close();
    etcd?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  test('more documents than the limit are refused, and not skipped', async () => {
    await refused(
      () => spread('many.yaml', documents(1001), spreading),
      'OVERLAY_SERVICES_INVALID',
      /more than 1000 documents; split it/u,
    );
  });

  test('more services than fit into one transaction are all written, each readable on its own, and removed', async () => {
    const { spread: written } = await spread('many.yaml', documents(250), spreading);
    assert.equal(written.length, 250);
    assert.deepEqual((await names()).toSorted(), written.toSorted());
    const value = (await client.get(keys.service('many/s249')))?.value.toString() ?? '';
    assert.deepEqual(
      readServices([{ file: 'f', text: value }]).described.map(({ service }) => service.name),
      ['many/s249'],
    );
    await refused(
      () => takeBack(['many/s0', 'nobody', ''], spreading),
      'OVERLAY_SERVICE_UNKNOWN',
      /overlay nobody, : no such service is published.*nothing was removed/u,
    );
    assert.deepEqual(await takeBack([...written, 'many/s0'], spreading), { takenBack: written });
    assert.deepEqual(await names(), []);
  });

  test('an address and port of another service is refused with its position, in the text and in etcd; its own is not a conflict', async () => {
    const two = `${document('one', '10.96.0.1')}---\n${document('two', '"10.96.0.2", 10.96.0.1')}`;
    await refused(
      () => spread('two.yaml', two, spreading),
      'OVERLAY_SERVICES_INVALID',
      /two\.yaml:10:26: two: addresses\.1: 10\.96\.0\.1 port 80\/tcp belongs to the service one/u,
    );
    const one = document('one', '10.96.0.1');
    await spread('one.yaml', one, spreading);
    heard = readServices([{ file: 'one.yaml', text: one }]).described.map(({ service }) => service);
    await refused(
      () => spread('-', document('two', '10.96.0.1'), spreading),
      'OVERLAY_SERVICES_INVALID',
      /-:4:13: two: .* belongs to the service one/u,
    );
    await spread('one.yaml', document('one', '10.96.0.1', 'scheduler: lc\n'), spreading);
    await takeBack(['one'], spreading);
  });

  test('a host that leaves removes all of its keys in one transaction, and no keys of another host', async () => {
    const own = keys.own('host-1');
    const member = { client, keys, host: 'host-1', id: 'id-1', view: createOwnership(keys) };
    const put = (key: string, value: Parameters<typeof encode>[0]): Promise<boolean> =>
      client.transact([], [{ put: { key, value: encode(value) } }]);
    await put(own.record, {
      id: 'id-1',
      underlay: '192.0.2.1',
      mtu: 1450,
      vxlan: { mac: '02:00:00:00:00:01', port: 4789 },
    });
    await put(own.subnet('10.128.1.0/24'), { id: 'id-1' });
    await put(own.identity('mac-02:00:00:00:00:01'), {});
    await put(keys.subnet('10.128.1.0/24'), { host: 'host-1', id: 'id-1' });
    const others = [keys.own('host-10').record, keys.own('host-2').subnet('10.128.2.0/24')];
    for (const key of others) await put(key, {});
    const revision = async (): Promise<number> => (await client.list(keys.all)).revision;
    const before_ = await revision();
    await leaveNetwork(member);
    assert.equal(await revision(), before_ + 1);
    assert.deepEqual(
      (await client.list(keys.all)).pairs.map(({ key }) => key),
      others,
    );
    await leaveNetwork(member);
  });

  test('a host that leaves after another host took its name does not remove the other host’s keys', async () => {
    const own = keys.own('host-3');
    const put = (key: string, id: string): Promise<boolean> =>
      client.transact([], [{ put: { key, value: encode({ id }) } }]);
    await put(own.record, 'id-of-another');
    await put(own.subnet('10.128.3.0/24'), 'id-3');
    await put(own.subnet('10.128.4.0/24'), 'id-of-another');
    await leaveNetwork({ client, keys, host: 'host-3', id: 'id-3', view: createOwnership(keys) });
    assert.deepEqual(
      (await client.list(own.all)).pairs.map(({ key }) => key),
      [own.record, own.subnet('10.128.4.0/24')],
    );
  });
});
