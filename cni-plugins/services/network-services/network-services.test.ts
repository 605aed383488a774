import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, test } from 'node:test';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { createLogger } from '../../../base/log/index.ts';
import { openReadOnly } from '../../../base/storage/index.ts';
import { openNetworkDatabase } from '../../database/database.ts';
import { inPrivateNetns, shell, tried } from '../../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from '../../plugin-engine/plugin-engine.fixture.ts';
import type { Conf, Of } from '../../plugin-engine/plugin-engine.fixture.ts';
import { startNameServer } from '../../dns/name-server.ts';
import type { NameServer } from '../../dns/name-server.ts';
import type { ServiceList } from '../control/protocol.ts';
import { startServices } from '../control/services.ts';
import type { Services } from '../control/services.ts';

/**
 * Members join and leave by plugin calls, as with any runtime. The test sends name queries to the gateway,
 * and packets to the addresses in the answers.
 */
if (inPrivateNetns(import.meta.filename, 180_000)) {
  const fixture = createPluginFixture();
  const { databasePath, folder, pin, inside, add, del } = fixture;
  const log = createLogger({ level: 'error' });
  const programs: ChildProcess[] = [];
  let services: Services;
  let names: NameServer;

  const conf = (net: number, joined?: readonly object[]): Conf =>
    bridgeConf({
      bridge: `br${net}`,
      hairpinMode: true,
      capabilities: { aliases: true, services: true },
      ingress: { namespaces: ['*'], ports: ['30000-32767'] },
      ipam: {
        type: 'portcullis-ipam',
        ranges: [[{ subnet: `10.${net}.0.0/24` }], [{ subnet: `fd00:${net}::/64` }]],
      },
      runtimeConfig: { aliases: [], ...(joined !== undefined && { services: joined }) },
    });
  const networks: Readonly<Record<string, number>> = { shop: 91, vault: 92 };
  const pods = new Map<string, Of & { readonly addresses: readonly string[] }>();

  async function join1(id: string, network: string, joined?: readonly object[]): Promise<readonly string[]> {
    const of = { id, netns: pods.get(id)?.netns ?? pin(id), network };
    pods.set(id, { ...of, addresses: [] });
    const result = await add([conf(networks[network] ?? 0, joined)], of);
    const addresses = result.ips.map(({ address }) => address.replace(/\/.*/u, ''));
    pods.set(id, { ...of, addresses });
    return addresses;
  }
  const leave = (id: string): Promise<void> =>
    del([conf(networks[pods.get(id)?.network ?? ''] ?? 0)], pods.get(id) as Of);
  const within = (id: string, command: string): string | undefined =>
    inside(pods.get(id)?.netns ?? '', command);
  /** Answers with its own name. */
  function serve(id: string, port: number): void {
    const root = join(folder, id);
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, 'index.html'), id);
    programs.push(
      spawn('nsenter', [
        `--net=${pods.get(id)?.netns ?? ''}`,
        'busybox',
        'httpd',
        '-f',
        '-p',
        `[::]:${port}`,
        '-h',
        root,
      ]),
    );
  }
  const place = (address: string, port: number): string =>
    `http://${address.includes(':') ? `[${address}]` : address}:${port}/`;
  const fetch = (id: string, address: string, port = 80): string | undefined =>
    within(id, `timeout 5 busybox wget -q -O - ${place(address, port)}`);
  /** A dropped packet gets no answer. The timeout is long enough to distinguish that from a slow answer. */
  const isReached = (id: string, address: string): boolean =>
    within(id, `timeout 1 busybox wget -q -O - ${place(address, 80)}`) !== undefined;
  const fetched = (id: string, address: string, times = 8, port = 80): Record<string, number> => {
    const counts: Record<string, number> = {};
    for (let at = 0; at < times; at += 1) {
      const name = fetch(id, address, port) ?? 'nobody';
      counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  };
  /** Returns the gateway's answer, sorted. */
  const lookUp = (id: string, name: string): string[] => {
    const net = networks[pods.get(id)?.network ?? ''] ?? 0;
    const text = within(id, `busybox nslookup ${name} 10.${net}.0.1`) ?? '';
    const answer = text.slice(text.indexOf('Name:'));
    return text.includes('Name:')
      ? [...answer.matchAll(/^Address:?\s*\d*:?\s+([0-9a-f.:]+)$/gmu)]
          .map(([, address = '']) => address)
          .toSorted()
      : [];
  };
  async function comesAbout(what: string, is: () => boolean | Promise<boolean>): Promise<void> {
    for (const deadline = Date.now() + 40_000; !(await is()); await pause(50))
      if (Date.now() > deadline) assert.fail(what);
  }
  const rows = (sql: string): string[] => {
    const database = openReadOnly(databasePath);
    try {
      return [...database.each(sql)].map((row) => Object.values(row).join(' '));
    } finally {
      database.close();
    }
  };
  const listed = async (): Promise<ServiceList['services']> =>
    (JSON.parse(await services.ask(JSON.stringify({ do: 'list' }))) as ServiceList).services;
  const start = async (): Promise<void> => {
    services = await startServices({ databasePath, balancer: 'auto' }, log);
  };
  const web = { name: 'web', aliases: ['front'], ports: ['80:8080'], ingressPorts: ['30080:8080'] };

  before(async () => {
    shell('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1');
    await start();
    names = await startNameServer({ databasePath, ttl: 5, upstreams: [], maxForwards: 10 }, log);
    await join1('client', 'shop');
    await join1('stranger', 'vault');
  });
  after(async () => {
    programs.forEach((program) => program.kill());
    await services.close();
    await names.close();
    await fixture.end();
  });

  let virtual: string[] = [];

  test('with its first member, a service gets names and an address of the network in each family; all members are balanced', async () => {
    const [a, b] = [await join1('a', 'shop', [web]), await join1('b', 'shop', [web])];
    for (const id of ['a', 'b']) serve(id, 8080);
    await comesAbout('the service has no name', () => lookUp('client', 'web').length === 2);
    virtual = lookUp('client', 'web');
    assert.match(virtual.join(' '), /^10\.91\.0\.\d+ fd00:91::[0-9a-f]+$/u);
    assert.equal(
      [...a, ...b].some((address) => virtual.includes(address)),
      false,
    );
    assert.deepEqual(lookUp('client', 'front'), virtual);
    assert.deepEqual(lookUp('client', 'web.shop.portcullis.internal'), virtual);
    assert.deepEqual(lookUp('client', 'tasks.web'), [...a, ...b].toSorted());
    await comesAbout(
      'a member does not answer',
      () => fetch('client', a[0] ?? '', 8080) === 'a' && fetch('client', b[1] ?? '', 8080) === 'b',
    );
    await comesAbout('a member is not balanced', async () =>
      (await listed()).every(({ backends }) => backends.length >= 4),
    );
    for (const address of virtual) assert.deepEqual(fetched('client', address), { a: 4, b: 4 }, address);
    // A member reaches its own service, and ports that hosts publish are served at the virtual address as
    // well.
    assert.deepEqual(Object.keys(fetched('a', virtual[0] ?? '', 4)).toSorted(), ['a', 'b']);
    assert.deepEqual(fetched('client', virtual[1] ?? '', 4, 8080), { a: 2, b: 2 });
  });

  test('a virtual address is reachable only from its network and from the host', async () => {
    const direct = pods.get('a')?.addresses ?? [];
    for (const [index, address] of virtual.entries()) {
      assert.equal(
        fetch('stranger', direct[index] ?? '', 8080),
        'a',
        'the host routes between these networks',
      );
      assert.equal(isReached('stranger', address), false, `${address} is reached from another network`);
      assert.match(tried(`timeout 3 busybox wget -q -O - ${place(address, 80)}`) ?? '', /^[ab]$/u);
    }
    assert.deepEqual(lookUp('stranger', 'web'), []);
  });

  test('an ingress port is balanced at every address of the host', () => {
    const outside = pin('outside');
    shell(
      `ip link add uplink type veth peer name eth0 netns ${outside} && ip addr add 192.0.2.1/24 dev uplink && ip link set uplink up`,
    );
    shell('ip -6 addr add 2001:db8::1/64 dev uplink nodad');
    for (const command of [
      'ip link set eth0 up',
      'ip addr add 192.0.2.2/24 dev eth0',
      'ip -6 addr add 2001:db8::2/64 dev eth0 nodad',
    ])
      inside(outside, command);
    pods.set('outside', { id: 'outside', netns: outside, addresses: [] });
    for (const address of ['192.0.2.1', '2001:db8::1'])
      assert.deepEqual(fetched('outside', address, 4, 30080), { a: 2, b: 2 }, address);
  });

  test('round robin by name: the name has each member and no virtual address; one name has one mode', async () => {
    const db = { name: 'db', mode: 'dnsrr', aliases: ['store'] };
    const members = [...(await join1('c', 'shop', [db])), ...(await join1('d', 'shop', [db]))].toSorted();
    assert.deepEqual(lookUp('client', 'db'), members);
    assert.deepEqual(lookUp('client', 'store'), members);
    const first = (): string =>
      within('client', 'busybox nslookup -type=a db 10.91.0.1')?.match(/Address: (10\S+)\n*$/mu)?.[1] ?? '';
    const seen = new Set<string>();
    await comesAbout('the order does not change', () => seen.add(first()).size === 2);
    const coded = (code: string) => (thrown: unknown) => isPortcullisError(thrown) && thrown.code === code;
    await assert.rejects(
      join1('e', 'shop', [{ name: 'db', ports: [80] }]),
      coded('NETWORK_SERVICE_MODE_DIFFERS'),
    );
    await assert.rejects(
      join1('e', 'shop', [{ name: 'no', ports: ['x'] }]),
      coded('NETWORK_SERVICE_MEMBERSHIP_INVALID'),
    );
    assert.deepEqual(
      rows("SELECT 1 FROM attachment WHERE container_id = 'e'"),
      [],
      'a refused member leaves nothing behind',
    );
    for (const id of ['c', 'd']) await leave(id);
    assert.deepEqual(lookUp('client', 'db'), []);
  });

  test('the next start finds members that joined or left while no process was running; the address stays', async () => {
    await services.close();
    await leave('a');
    await join1('f', 'shop', [{ ...web, ports: ['80:8081'] }]);
    serve('f', 8081);
    await start();
    await comesAbout('the new member is not balanced', () => {
      const found = fetched('client', virtual[0] ?? '', 4);
      return found['b'] === 2 && found['f'] === 2;
    });
    assert.deepEqual(lookUp('client', 'web'), virtual);
    // State that another program removes is restored.
    shell(`ip addr del ${virtual[0] ?? ''}/32 dev br91 && nft delete table ip portcullis_service_networks`);
    await comesAbout('the address is not restored', () => isReached('client', virtual[0] ?? ''));
    await comesAbout(
      'the rule is not restored',
      () => tried('nft list table ip portcullis_service_networks') !== undefined,
    );
    assert.equal(isReached('stranger', virtual[0] ?? ''), false);
  });

  test('name and address are removed with the last member', async () => {
    for (const id of ['b', 'f']) await leave(id);
    await comesAbout('the name stays', () => lookUp('client', 'web').length === 0);
    await comesAbout('the address stays', () => rows('SELECT service FROM network_service').length === 0);
    assert.deepEqual(rows("SELECT container_id FROM attachment WHERE container_id LIKE 'service%'"), []);
    assert.deepEqual(await listed(), []);
    for (const address of virtual) assert.equal(shell('ip addr').includes(`${address}/`), false, address);
    assert.equal(tried('nft list table ip portcullis_service_networks'), undefined);
  });

  test('when a network begins to span hosts, it has the services that the hosts agreed on, with the members of all hosts', async () => {
    const own = await join1('g', 'shop', [web]);
    serve('g', 8080);
    await comesAbout('the service has no name', () => lookUp('client', 'web').length === 2);
    const before = lookUp('client', 'web');
    const shared = '10.99.0.9';
    const far = {
      id: 'far',
      addresses: ['10.91.0.200'],
      isReady: false,
      aliases: ['edge'],
      ports: [],
      ingressPorts: [],
    };
    const write = (service: object): void => {
      const { db, close } = openNetworkDatabase(databasePath);
      db.exec(
        "INSERT OR IGNORE INTO spanned_network SELECT 'shop', realm, 'br91' FROM attachment WHERE container_id = 'g'",
      );
      db.prepare("INSERT OR REPLACE INTO spanned_service VALUES ('shop', 'web', ?)").run(
        JSON.stringify(service),
      );
      db.prepare("INSERT OR REPLACE INTO spanned_member VALUES ('shop', 'web', 'two', ?)").run(
        JSON.stringify([far]),
      );
      close();
    };
    write({ mode: 'vip', addresses: [shared], ingressPorts: [] });
    for (const name of ['web', 'front', 'edge'])
      await comesAbout(
        `${name} is not what the hosts agreed on`,
        () => lookUp('client', name).join() === shared,
      );
    assert.deepEqual(lookUp('client', 'tasks.web'), [...own, ...far.addresses].toSorted());
    await comesAbout('a member here does not answer', () => fetch('client', shared) === 'g');
    assert.match(shell('ip address show dev lo'), /10\.99\.0\.9\/32/u);
    assert.equal(isReached('stranger', shared), false, 'the address can be reached only from its network');
    await comesAbout(
      'the address that was leased here is not given back',
      () => rows("SELECT 1 FROM attachment WHERE container_id = 'service.web'").length === 0,
    );
    for (const address of before) assert.equal(shell('ip address').includes(`${address}/`), false, address);
    const balanced = async (): Promise<string> => (await listed()).map(({ name }) => name).join();
    await comesAbout(
      'an ingress port that the hosts gave to no service is served',
      async () => (await balanced()) === 'shop/web',
    );
    // In the other mode, an attachment that joined here is not a member, and no name leads to it.
    write({ mode: 'dnsrr', addresses: [], ingressPorts: [] });
    for (const name of ['web', 'tasks.web'])
      await comesAbout(
        `${name} leads elsewhere`,
        () => lookUp('client', name).join() === far.addresses.join(),
      );
    await comesAbout('the address stays', () => !shell('ip address show dev lo').includes(shared));
    await leave('g');
  });

  for (const { table, what } of [
    { table: 'service_member', what: 'a member' },
    { table: 'network_service', what: 'a service' },
  ])
    test(`${what} whose record is damaged costs no other service its members`, async () => {
      await join1(table, 'vault', [{ name: 'broken', ports: ['80:8080'] }]);
      await comesAbout('the service has no name', () => lookUp('stranger', 'broken').length === 2);
      const addresses = lookUp('stranger', 'broken');
      const database = new DatabaseSync(databasePath);
      const sql = `UPDATE ${table} SET document = substr(document, 1, 5) WHERE service = 'broken'`;
      assert.equal(database.prepare(sql).run().changes, 1);
      database.close();
      await join1(`late-${table}`, 'vault', [{ name: 'intact', ports: ['80:8080'] }]);
      await comesAbout('the other service has no name', () => lookUp('stranger', 'intact').length === 2);
      // Another container joins the service of the damaged record.
      const [v4] = await join1(`mate-${table}`, 'vault', [{ name: 'broken', ports: ['80:8080'] }]);
      await comesAbout('it is no member', () => lookUp('stranger', 'tasks.broken').includes(v4 ?? ''));
      if (table === 'network_service') assert.deepEqual(lookUp('stranger', 'broken'), addresses);
      for (const id of [`mate-${table}`, table, `late-${table}`]) await leave(id);
      await comesAbout('an address stays', () => rows('SELECT service FROM network_service').length === 0);
    });
}
