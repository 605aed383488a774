import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { openNetworkDatabase } from '../../database/database.ts';
import { createMembershipStore } from '../../database/memberships.ts';
import { migrations } from '../../database/migrations.ts';
import { bootOf } from '../../namespaces/namespace-id.ts';
import { createEndpointNames } from './endpoint-names.ts';
import type { CnmStore } from './store.ts';

const namespaceId = `${bootOf()}/1`;
const web = { name: 'web', mode: 'dnsrr', aliases: [], ports: [], ingressPorts: [], virtualIPs: [] } as const;
const called = (id: string): { name: string; aliases: []; services: string } => ({
  name: `container-${id}`,
  aliases: [],
  services: JSON.stringify([{ name: 'web', mode: 'dnsrr' }]),
});
/** A docker endpoint on the network n, for every id. */
const store = {
  endpoint: (id: string) => ({
    id,
    network: 'n',
    namespaceId,
    state: 'ready',
    spec: { result: { ips: [{ address: '10.0.0.2/24' }] } },
  }),
  network: () => ({ id: 'n', name: 'n', list: { plugins: [{ capabilities: ['aliases'], config: {} }] } }),
} as unknown as Pick<CnmStore, 'endpoint' | 'network'>;

interface Old {
  readonly id: string;
  readonly origin: 'plugin' | 'pod';
  readonly interface?: string;
  readonly spec?: object;
  /** Whether it is a member of the service `web`. */
  readonly isMember?: boolean;
  readonly isDockers?: boolean;
}

/** Opens a database with this version that the version before owners left. */
function upgraded(
  rows: readonly Old[],
  use: (database: ReturnType<typeof openNetworkDatabase>) => void,
): void {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-owners-'));
  const path = join(folder, 'network.db');
  const index = migrations.findIndex((sql) => sql.includes('ALTER TABLE service_member ADD COLUMN owner'));
  const old = new DatabaseSync(path);
  for (const sql of migrations.slice(0, index)) old.exec(sql);
  old.exec(`PRAGMA user_version = ${index}`);
  old.prepare("INSERT INTO cnm_network (id, spec) VALUES ('n', '{}')").run();
  const insert = old.prepare(
    `INSERT INTO attachment (realm, origin, network, container_id, interface, state, class, host_interface, spec)
     VALUES (?, ?, 'n', ?, ?, 'ready', 'admin', ?, ?)`,
  );
  for (const {
    id,
    origin,
    interface: name = 'eth0',
    spec = {},
    isMember = true,
    isDockers = false,
  } of rows) {
    const { lastInsertRowid } = insert.run(
      namespaceId,
      origin,
      id,
      name,
      `${id}${name}${origin}`,
      JSON.stringify(spec),
    );
    if (isMember)
      old
        .prepare(
          "INSERT INTO service_member (attachment, realm, network, service, document) VALUES (?, ?, 'n', 'web', ?)",
        )
        .run(
          lastInsertRowid,
          namespaceId,
          JSON.stringify({ ...web, addresses: [`10.0.0.${lastInsertRowid}`] }),
        );
    if (isDockers)
      old
        .prepare(
          "INSERT INTO cnm_endpoint (id, network, realm, state, spec) VALUES (?, 'n', ?, 'ready', '{}')",
        )
        .run(id, namespaceId);
  }
  old.close();
  const database = openNetworkDatabase(path);
  try {
    use(database);
  } finally {
    database.close();
    rmSync(folder, { recursive: true });
  }
}

test('members of an earlier version have their known owner, or none', () => {
  const shop = { pod: { namespace: 'shop' } };
  const rows: Old[] = [
    { id: 'docker', origin: 'plugin', isDockers: true },
    { id: 'pod', origin: 'pod', spec: shop },
    { id: 'further', origin: 'pod', spec: shop, isMember: false },
    { id: 'further', origin: 'plugin', interface: 'net1' },
    { id: 'containerd', origin: 'plugin' },
    { id: 'nameless', origin: 'pod', spec: { pod: { namespace: '' } } },
  ];
  upgraded(rows, ({ db }) => {
    const owners = db.prepare('SELECT owner FROM service_member ORDER BY attachment').all() as unknown as {
      owner: string;
    }[];
    assert.deepEqual(
      owners.map(({ owner }) => owner),
      ['(docker)', 'shop', 'shop', '', '(cni)'],
    );
  });
});

test('a pod joins members whose owner an earlier version did not record; then the service belongs to its namespace', () => {
  const rows = ['one', 'two', 'new', 'strange'].map((id): Old => ({
    id,
    origin: 'plugin',
    isMember: ['one', 'two'].includes(id),
  }));
  upgraded(rows, ({ db }) => {
    const members = createMembershipStore({ db });
    const join = (attachment: number, owner: string): void =>
      members.put(
        { namespaceId, network: 'n', holder: `${attachment}`, attachment, owner },
        { memberships: [web], addresses: ['10.0.0.9'], ipam: undefined },
      );
    join(3, 'shop');
    assert.throws(() => join(4, 'evil'), { code: 'NETWORK_SERVICE_OTHER_NAMESPACE' });
    join(1, 'shop');
  });
});

test('Docker containers that are read again after an upgrade stay members, with their names', () => {
  const ids = ['one', 'two', 'three'];
  upgraded(
    ids.map((id) => ({ id, origin: 'plugin', isDockers: true })),
    (database) => {
      const put = createEndpointNames(database, store);
      for (const id of ids) put(id, called(id), () => false);
      assert.equal(
        database.db.prepare("SELECT 1 FROM service_member WHERE owner = '(docker)'").all().length,
        3,
      );
    },
  );
});

test('a membership that is refused when it is read again stays unchanged; a wrong label ends it', () => {
  upgraded(
    [
      { id: 'one', origin: 'plugin', isDockers: true },
      { id: 'pod', origin: 'pod', spec: { pod: { namespace: 'shop' } } },
    ],
    (database) => {
      const put = createEndpointNames(database, store);
      const members = createMembershipStore(database);
      const names = (): unknown[] =>
        (
          database.db
            .prepare('SELECT name FROM name WHERE attachment = 1 ORDER BY name')
            .all() as unknown as { name: string }[]
        ).map(({ name }) => name);
      assert.throws(() => put('one', called('one'), () => false), {
        code: 'NETWORK_SERVICE_OTHER_NAMESPACE',
      });
      assert.deepEqual(
        members.standing(1).map(({ name }) => name),
        ['web'],
      );
      assert.deepEqual(names(), ['container-one', 'tasks.web', 'web']);
      assert.throws(() => put('one', { ...called('one'), services: '[' }, () => false), {
        code: 'NETWORK_SERVICE_MEMBERSHIP_INVALID',
      });
      assert.deepEqual([members.standing(1), names()], [[], ['container-one']]);
    },
  );
});
