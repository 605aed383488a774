import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { readConflist } from '../spec/conflist.ts';
import type { AttachRequest, PortMapping } from '../types.ts';
import { bootOf } from './realm.ts';
import { hostInterfaceOf } from './record.ts';
import { specOf } from './request.ts';
import { openNetworkDatabase } from './database.ts';
import { createNetworkStore } from './store.ts';
import type { Claim, NetworkStore } from './store.ts';

function networkOf(ipam: object): Claim['network'] {
  const read = readConflist(
    JSON.stringify({ name: 'n', plugins: [{ type: 'bridge', ipam: { type: 'host-local', ...ipam } }] }),
    'n.conflist',
  );
  return read.outcome === 'ok' ? read.network : assert.fail(JSON.stringify(read));
}

const small = networkOf({ ranges: [[{ subnet: '10.9.0.0/29' }], [{ subnet: 'fd00:9::/64' }]] });

function claimOf(id: string, network = small, portMappings: PortMapping[] = []): Claim {
  const request: AttachRequest = { id, netns: '/x', pod: { name: id, namespace: 'default', uid: id }, portMappings };
  return {
    id,
    hostInterface: hostInterfaceOf(id),
    network,
    portMappings,
    specOf: (choices) => specOf(request, network, portMappings, choices, 1500),
  };
}

const coded = (code: string) => (thrown: unknown) => isPortcullisError(thrown) && thrown.code === code;

function withStore(body: (store: NetworkStore, path: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-ipam-'));
  const path = join(folder, 'state', 'network.db');
  const database = openNetworkDatabase(path);
  try {
    body(createNetworkStore(database, `${bootOf()}/1`), path);
  } finally {
    database.close();
    rmSync(folder, { recursive: true });
  }
}

const addressesOf = (store: NetworkStore): string[] => store.records().flatMap(({ spec }) => spec.addresses.map(({ ip }) => ip));

test('leases one address of each family until none is left; a freed one is leased again', () => {
  withStore((store) => {
    for (const id of ['a', 'b', 'c', 'd', 'e']) store.claim(claimOf(id));
    assert.deepEqual(
      store.record('a')?.spec.addresses.map(({ ip }) => ip),
      ['10.9.0.2', 'fd00:9::2'],
    );
    assert.throws(() => store.claim(claimOf('f')), coded('NETWORK_ADDRESSES_EXHAUSTED'));
    assert.equal(store.record('f'), undefined);
    store.remove('c');
    assert.equal(store.claim(claimOf('f')).record.spec.addresses[0]?.ip, '10.9.0.4');
    assert.equal(new Set(addressesOf(store)).size, 10);
  });
});

test('two connections never lease one address twice', () => {
  withStore((one, path) => {
    const other = openNetworkDatabase(path);
    const two = createNetworkStore(other, `${bootOf()}/1`);
    const wide = networkOf({ subnet: '10.9.0.0/24' });
    for (let index = 0; index < 200; index += 1) (index % 3 === 0 ? one : two).claim(claimOf(`pod-${index}`, wide));
    assert.equal(new Set(addressesOf(one)).size, 200);
    other.close();
  });
});

test('a claim that stands is returned as it is; states and classes last', () => {
  withStore((store, path) => {
    const first = store.claim(claimOf('a'));
    assert.equal(first.created, true);
    store.setState('a', 'ready');
    store.setClass('a', 'user', {});
    const again = store.claim(claimOf('a'));
    assert.deepEqual(again, { record: { ...first.record, state: 'ready', class: 'user' }, created: false });
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });
});

test('a host port has one holder; addresses of the host keep ports apart, no address takes them all', () => {
  const tcp = (hostPort: number, hostIp?: string): PortMapping => ({
    protocol: 'tcp',
    containerPort: 80,
    hostPort,
    ...(hostIp === undefined ? {} : { hostIp }),
  });
  const wide = networkOf({ subnet: '10.9.0.0/24' });
  const rows: [taken: PortMapping, wanted: PortMapping, free: boolean][] = [
    [tcp(80), tcp(80), false],
    [tcp(80), tcp(80, '192.0.2.1'), false],
    [tcp(80, '192.0.2.1'), tcp(80), false],
    [tcp(80, '192.0.2.1'), tcp(80, '192.0.2.1'), false],
    [tcp(80, '192.0.2.1'), tcp(80, '192.0.2.2'), true],
    [tcp(80), { ...tcp(80), protocol: 'udp' }, true],
    [tcp(80), tcp(81), true],
  ];
  for (const [taken, wanted, free] of rows) {
    withStore((store) => {
      store.claim(claimOf('holder', wide, [taken]));
      if (free) store.claim(claimOf('next', wide, [wanted]));
      else assert.throws(() => store.claim(claimOf('next', wide, [wanted])), coded('NETWORK_HOST_PORT_TAKEN'));
      store.remove('holder');
      if (!free) store.claim(claimOf('next', wide, [wanted]));
    });
  }
});

test('a database of a newer version is refused', () => {
  withStore((store, path) => {
    const db = new DatabaseSync(path);
    db.exec('PRAGMA user_version = 99');
    db.close();
    assert.throws(() => openNetworkDatabase(path), coded('NETWORK_NEWER_SCHEMA'));
    assert.deepEqual(store.records(), []);
  });
});
