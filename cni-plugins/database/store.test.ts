import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { readConflist } from '../spec/conflist.ts';
import type { AttachRequest, PortMapping } from '../types.ts';
import { bootOf } from '../namespaces/namespace-id.ts';
import { hostInterfaceOf } from './record.ts';
import { specOf } from '../engine/pods/request.ts';
import { openNetworkDatabase } from './database.ts';
import { migrations } from './migrations.ts';
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
  const request: AttachRequest = {
    id,
    netns: '/x',
    pod: { name: id, namespace: 'default', uid: id },
    portMappings,
  };
  return {
    id,
    hostInterface: hostInterfaceOf(id),
    network,
    portMappings,
    memberships: [],
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

const addressesOf = (store: NetworkStore): string[] =>
  store.records().flatMap(({ spec }) => spec.addresses.map(({ ip }) => ip));

test('one address of each family is leased until none is left; a released address is leased again', () => {
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
    for (let index = 0; index < 200; index += 1)
      (index % 3 === 0 ? one : two).claim(claimOf(`pod-${index}`, wide));
    assert.equal(new Set(addressesOf(one)).size, 200);
    other.close();
  });
});

test('an existing claim is returned unchanged; states and classes persist', () => {
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

test('a host port has one holder; the same port at different host addresses can have different holders, a port without address covers all', () => {
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
    [tcp(80, '0.0.0.0'), tcp(80), false],
    [tcp(80), tcp(80, '::'), false],
    [tcp(80, '0.0.0.0'), tcp(80, '192.0.2.1'), false],
    [tcp(80, '2001:db8::1'), tcp(80, '::'), false],
    [tcp(80, '0.0.0.0'), tcp(80, '::'), true],
    [tcp(80, '0.0.0.0'), tcp(80, '2001:db8::1'), true],
    [tcp(80), { ...tcp(80), protocol: 'udp' }, true],
    [tcp(80), tcp(81), true],
  ];
  for (const [taken, wanted, free] of rows) {
    withStore((store) => {
      store.claim(claimOf('holder', wide, [taken]));
      if (free) store.claim(claimOf('next', wide, [wanted]));
      else
        assert.throws(() => store.claim(claimOf('next', wide, [wanted])), coded('NETWORK_HOST_PORT_TAKEN'));
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

test('a database that no release wrote is refused, and stays unchanged byte for byte', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-ipam-'));
  try {
    for (const [name, statement] of [
      ['negative', 'PRAGMA user_version = -1'],
      ['without-version', 'CREATE TABLE theirs (x)'],
    ] as const) {
      const path = join(folder, `${name}.db`);
      const foreign = new DatabaseSync(path);
      foreign.exec(statement);
      foreign.close();
      const bytes = readFileSync(path);
      assert.throws(() => openNetworkDatabase(path), coded('NETWORK_FOREIGN_SCHEMA'), name);
      assert.deepEqual(readFileSync(path), bytes, name);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a database of version 1 is taken over with its attachments, addresses and host ports', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-ipam-'));
  const path = join(folder, 'network.db');
  const old = new DatabaseSync(path);
  old.exec(migrations[0] ?? '');
  const spec = {
    ...specOf(
      { id: 'old', netns: '/x', pod: { name: 'old', namespace: 'default', uid: 'old' }, portMappings: [] },
      small,
      [],
      [],
      1500,
    ),
    addresses: [{ ip: '10.9.0.2', prefixLength: 29, gateway: '10.9.0.1' }],
  };
  old
    .prepare(
      "INSERT INTO attachment (id, state, class, host_interface, spec) VALUES ('old', 'ready', 'user', 'pc0', ?)",
    )
    .run(JSON.stringify(spec));
  old
    .prepare("INSERT INTO lease (address, attachment) VALUES (?, 'old')")
    .run(Buffer.from('00000000000000000000ffff0a090002', 'hex'));
  old.exec(
    "INSERT INTO host_port (protocol, port, host_ip, attachment) VALUES ('tcp', 80, '', 'old'); PRAGMA user_version = 1",
  );
  old.close();
  const database = openNetworkDatabase(path);
  try {
    const store = createNetworkStore(database, `${bootOf()}/1`);
    assert.deepEqual(store.record('old'), { id: 'old', state: 'ready', class: 'user', rules: {}, spec });
    assert.equal(store.claim(claimOf('new')).record.spec.addresses[0]?.ip, '10.9.0.3');
    const mapping = { protocol: 'tcp', containerPort: 1, hostPort: 80 } as const;
    assert.throws(() => store.claim(claimOf('thief', small, [mapping])), coded('NETWORK_HOST_PORT_TAKEN'));
  } finally {
    database.close();
    rmSync(folder, { recursive: true });
  }
});

test('records from before the last boot are removed, also damaged ones', () => {
  withStore((store, path) => {
    for (const id of ['before', 'damaged']) store.claim(claimOf(id));
    const db = new DatabaseSync(path);
    db.exec("UPDATE attachment SET spec = substr(spec, 1, 50) WHERE container_id = 'damaged'");
    for (const table of ['attachment', 'lease'])
      db.exec(`UPDATE ${table} SET realm = '00000000-0000-4000-8000-000000000000/1'`);
    db.close();
    const database = openNetworkDatabase(path);
    const after = createNetworkStore(database, `${bootOf()}/1`);
    assert.equal(after.record('before'), undefined);
    assert.equal((database.db.prepare('SELECT count(*) AS n FROM lease').get() as { n: number }).n, 0);
    database.close();
  });
});

test('a database that cannot grow, or is not a database, has its own error code, and keeps its content', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-network-'));
  const path = join(folder, 'network.db');
  try {
    const database = openNetworkDatabase(path);
    const store = createNetworkStore(database, `${bootOf()}/1`);
    store.claim(claimOf('first'));
    const { page_count: pages } = database.db.prepare('PRAGMA page_count').get() as { page_count: number };
    database.db.exec(`PRAGMA max_page_count = ${pages}`);
    assert.throws(() => {
      for (let pod = 0; pod < 200; pod += 1)
        store.claim(claimOf(`pod-${pod}`, networkOf({ ranges: [[{ subnet: '10.10.0.0/16' }]] })));
    }, coded('STORAGE_DISK_FULL'));
    assert.ok(store.records().some(({ id }) => id === 'first'));
    database.close();
    rmSync(`${path}-wal`, { force: true });
    writeFileSync(path, 'no database'.repeat(100));
    assert.throws(() => openNetworkDatabase(path), coded('STORAGE_DAMAGED'));
    assert.throws(() => openNetworkDatabase('/proc/none/network.db'), coded('STORAGE_NO_ACCESS'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
