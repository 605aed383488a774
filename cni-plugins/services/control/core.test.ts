import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, test } from 'node:test';
import { openNetworkDatabase } from '../../database/database.ts';
import { readServices } from '../description/read.ts';
import { keyOf } from '../model/model.ts';
import type { Balancer, ServerKey, Service, VirtualServer } from '../model/model.ts';
import { createServiceCore } from './core.ts';
import type { ServiceCore } from './core.ts';
import type { HealthChecks } from './health/checks.ts';
import { reportServices } from './report.ts';
import type { ReportPage } from './report.ts';
import { createServiceStore } from './store.ts';
import { createUpkeep } from './upkeep.ts';

/**
 * Models the kernel, by the contract of {@link Balancer}. It uses no destination of weight 0 for new
 * connections.
 */
class Held implements Balancer {
  readonly kind = 'nftables';
  readonly servers = new Map<ServerKey, VirtualServer>();
  readonly cuts: string[] = [];
  fails = false;
  refuse({ scheduler }: VirtualServer): { field: string; why: string } | undefined {
    return scheduler === 'lc' ? { field: 'scheduler', why: 'lc is not known here' } : undefined;
  }
  reconcile(all: Iterable<VirtualServer>): number {
    if (this.fails) throw new Error('the kernel answered EBUSY');
    this.reconciled += 1;
    this.isChanged = false;
    const servers = [...all];
    const differ = servers.filter(
      (one) => JSON.stringify(one) !== JSON.stringify(this.servers.get(keyOf(one))),
    ).length;
    this.servers.clear();
    for (const server of servers) this.servers.set(keyOf(server), server);
    return differ;
  }
  change(put: readonly VirtualServer[], remove: readonly ServerKey[]): void {
    if (this.fails) throw new Error('the kernel answered EBUSY');
    for (const key of remove) assert.ok(this.servers.delete(key), key);
    for (const server of put) this.servers.set(keyOf(server), server);
  }
  cut(server: ServerKey, { address, port }: { address: string; port: number }): number {
    this.cuts.push(`${server} ${address} ${port}`);
    return 1;
  }
  active: number | undefined = 1;
  counts(): ReturnType<Balancer['counts']> {
    return [...this.servers].map(([key, { destinations }]) => ({
      key,
      destinations: destinations.map(({ address, port }) => ({ address, port, active: this.active ?? 0 })),
    }));
  }
  tick(): void {}
  restore?: () => number | undefined;
  takeRepairs?: () => number;
  isChanged = false;
  reconciled = 0;
  changedByOthers(): boolean {
    return this.isChanged;
  }
  removeAll(): void {
    this.servers.clear();
  }
  close(): void {}
  /** Returns `10.96.0.1 80 → 10.0.0.2:80=1 …`, one line for each virtual server. */
  shown(): string[] {
    return [...this.servers.values()].map(
      ({ address = '*', port, destinations }) =>
        `${address} ${port} → ${destinations.map((each) => `${each.address}:${each.port}=${each.weight}`).join(' ')}`,
    );
  }
}

const noChecks: HealthChecks = {
  follow: () => {},
  forget: () => {},
  why: () => undefined,
  isChecked: () => false,
  close: () => {},
};

let folder: string;
let kernel: Held;
let core: ServiceCore;
let now: number;
let tick: () => void;
let look: () => void;
let repairs: () => number;

/** Starts like a daemon, with the state that the kernel and the disk hold. */
function start(): void {
  const store = createServiceStore(openNetworkDatabase(join(folder, 'network.db')));
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  core = createServiceCore({ store, log, checks: noChecks, now: () => now }, kernel);
  kernel.reconcile(core.judgeFor(kernel));
  const upkeep = createUpkeep(
    core,
    log,
    () => now,
    () => now,
  );
  tick = () => upkeep.tick();
  look = () => upkeep.look();
  repairs = () => upkeep.repairs();
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-services-'));
  now = 1_000_000;
  kernel = new Held();
  start();
});
afterEach(() => {
  core.close();
  rmSync(folder, { recursive: true });
});

const service = (name: string, body: string): Service => {
  const text = `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\n${body}`;
  const { described, problems } = readServices([{ file: name, text }]);
  assert.deepEqual(problems, []);
  return (described[0] as { service: Service }).service;
};
const web = (backends: string, more = ''): Service =>
  service('web', `addresses: [10.96.0.1]\nports: [80]\ndrainGrace: 10s\nbackends: [${backends}]\n${more}`);
/** Changes one row of the database. */
const change = (sql: string): void => {
  const database = new DatabaseSync(join(folder, 'network.db'));
  assert.equal(database.prepare(sql).run().changes, 1);
  database.close();
};
const restart = (): void => {
  core.close();
  start();
};

test('applied services are in the kernel, also after a restart', () => {
  assert.deepEqual(core.apply('command', [web('10.0.0.2, 10.0.0.3')], false), []);
  const shown = ['10.96.0.1 80 → 10.0.0.2:80=1 10.0.0.3:80=1'];
  assert.deepEqual(kernel.shown(), shown);
  kernel.removeAll();
  restart();
  assert.deepEqual(kernel.shown(), shown);
});

for (const [what, damage] of [
  ['is cut off', 'substr(document, 1, 20)'],
  ['is null', "'null'"],
] as const)
  test(`a stored service whose text ${what} costs no other service, and can be applied again`, () => {
    const shop = service('shop', 'addresses: [10.96.0.2]\nports: [80]\nbackends: [10.0.0.4]');
    core.apply('command', [web('10.0.0.2'), shop], false);
    core.close();
    change(`UPDATE service SET document = ${damage} WHERE name = 'web'`);
    start();
    assert.deepEqual(kernel.shown(), ['10.96.0.2 80 → 10.0.0.4:80=1']);
    assert.deepEqual(core.apply('command', [web('10.0.0.2')], false), []);
    restart();
    assert.deepEqual(kernel.shown().toSorted(), [
      '10.96.0.1 80 → 10.0.0.2:80=1',
      '10.96.0.2 80 → 10.0.0.4:80=1',
    ]);
  });

test('a stored drain whose text is damaged costs no service', () => {
  core.apply('command', [web('10.0.0.2, 10.0.0.3')], false);
  core.apply('command', [web('10.0.0.2')], false);
  core.close();
  change('UPDATE service_drain SET standing = substr(standing, 1, 20)');
  start();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
});

test('services are listed in pages, ordered by name, or selected by name', () => {
  const names = Array.from({ length: 7 }, (_, index) => `web-${index}`);
  const all = names.map((name, index) =>
    service(name, `addresses: [10.96.0.${index + 1}]\nports: [80]\nbackends: [10.0.0.2]`),
  );
  core.apply('command', all.toReversed(), false);
  core.apply(
    'command',
    [service('web-7', 'addresses: [10.96.0.8]\nports: [80]\nbackends: [10.0.0.2]')],
    false,
  );
  core.remove('command', ['web-7']);
  const reported = (page: ReportPage): { names: string[]; next: string | undefined } => {
    const reports = reportServices(core, noChecks, page);
    const found: string[] = [];
    for (;;) {
      const { done, value } = reports.next();
      if (done === true) return { names: found, next: value };
      assert.deepEqual(
        value.backends.map(({ active }) => active),
        [1],
        value.name,
      );
      found.push(value.name);
    }
  };
  const ending = [...names, 'web-7'];
  assert.deepEqual(reported({}), { names: ending, next: undefined });
  assert.deepEqual(reported({ most: 3 }), { names: ending.slice(0, 3), next: 'web-2' });
  assert.deepEqual(reported({ most: 3, after: 'web-2' }), { names: ending.slice(3, 6), next: 'web-5' });
  assert.deepEqual(reported({ most: 3, after: 'web-5' }), { names: ending.slice(6), next: undefined });
  assert.deepEqual(reported({ most: 1, names: ['web-6', 'nobody', 'web-1'] }), {
    names: ['web-1'],
    next: 'web-1',
  });
});

test('a removed backend keeps established connections until its grace period is over, across restarts', () => {
  core.apply('command', [web('10.0.0.2, 10.0.0.3')], false);
  core.apply('command', [web('10.0.0.2')], false);
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1 10.0.0.3:80=0']);
  now += 6000;
  restart();
  tick();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1 10.0.0.3:80=0']);
  assert.deepEqual(kernel.cuts, []);
  now += 4000;
  tick();
  assert.deepEqual(kernel.cuts, ['4 tcp 10.96.0.1 80 10.0.0.3 80']);
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
  restart();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
});

test('a grace period that began before the clock was set back lasts no longer than one that begins now', () => {
  core.apply('command', [web('10.0.0.2, 10.0.0.3')], false);
  core.apply('command', [web('10.0.0.2')], false);
  now -= 3_600_000;
  tick();
  assert.deepEqual(kernel.cuts, []);
  now += 10_000;
  tick();
  assert.deepEqual(kernel.cuts, ['4 tcp 10.96.0.1 80 10.0.0.3 80']);
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
});

test('a removed backend without connections leaves before its grace period is over', () => {
  core.apply('command', [web('10.0.0.2, 10.0.0.3')], false);
  core.apply('command', [web('10.0.0.2')], false);
  kernel.active = 0;
  now += 1;
  tick();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
  assert.deepEqual(kernel.cuts, []);
});

test('at the end of the grace period, nothing is cut if no connection is established: a cut walks all connections of the host', () => {
  core.apply('command', [web('10.0.0.2, 10.0.0.3')], false);
  core.apply('command', [web('10.0.0.2')], false);
  kernel.active = 0;
  now += 60_000;
  tick();
  assert.deepEqual([kernel.cuts, kernel.shown()], [[], ['10.96.0.1 80 → 10.0.0.2:80=1']]);
});

test('a removed service ends in the same way, and its address is available at once', () => {
  core.apply('command', [web('10.0.0.2')], false);
  core.remove('command', ['web']);
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=0']);
  restart();
  assert.deepEqual(
    core.apply(
      'files',
      [service('other', 'addresses: [10.96.0.1]\nports: [80]\nbackends: [10.0.0.9]')],
      true,
    ),
    [],
  );
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.9:80=1 10.0.0.2:80=0']);
  now += 10_000;
  tick();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.9:80=1']);
  core.remove('files', ['other']);
  now += 30_000;
  tick();
  // Its clients get a reset for their next segment only while the address is served.
  assert.equal(kernel.cuts.length, 2);
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.9:80=0']);
  tick();
  assert.deepEqual(kernel.shown(), []);
  assert.equal(core.standings.size, 0);
});

test('the drain of a backend, and the end of the drain, survive restarts and new descriptions', () => {
  core.apply('command', [web('10.0.0.2, 10.0.0.3')], false);
  assert.deepEqual(core.drain('web', ['10.0.0.9'], true), ['10.0.0.9']);
  assert.deepEqual(core.drain('web', ['10.0.0.3'], true), []);
  restart();
  core.apply('command', [web('10.0.0.2, 10.0.0.3, 10.0.0.4')], false);
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1 10.0.0.3:80=0 10.0.0.4:80=1']);
  now += 10_000;
  tick();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1 10.0.0.4:80=1']);
  restart();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1 10.0.0.4:80=1']);
  assert.deepEqual(core.drain('web', ['10.0.0.3'], false), []);
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1 10.0.0.3:80=1 10.0.0.4:80=1']);
  assert.equal(core.ending.size, 0);
});

test('an unhealthy backend gets no new connections until it is healthy, and all backends get them when none is healthy', () => {
  core.apply('command', [web('10.0.0.2, 10.0.0.3', 'healthCheck: { tcp: {} }')], false);
  core.judged('web', '10.0.0.2 80', false);
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=0 10.0.0.3:80=1']);
  restart();
  assert.deepEqual(
    kernel.shown(),
    ['10.96.0.1 80 → 10.0.0.2:80=0 10.0.0.3:80=1'],
    'a restart does not forget that a backend is unhealthy',
  );
  core.judged('web', '10.0.0.3 80', false);
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1 10.0.0.3:80=1']);
  core.judged('web', '10.0.0.3 80', true);
  core.judged('web', '10.0.0.2 80', true);
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1 10.0.0.3:80=1']);
});

test('a source cannot change services of another source, and the holder of an address keeps it', () => {
  core.apply('files', [web('10.0.0.2')], true);
  const other = service('other', 'addresses: [10.96.0.2, 10.96.0.1]\nports: [80]\nbackends: [10.0.0.9]');
  const free = service('free', 'addresses: [10.96.0.3]\nports: [80]\nbackends: [10.0.0.9]');
  assert.deepEqual(core.apply('command', [web('10.0.0.9'), other, free], false), [
    {
      name: 'web',
      code: 'NETWORK_SERVICE_EXISTS',
      field: 'name',
      why: 'a service with this name already exists (source: files)',
    },
    {
      name: 'other',
      code: 'NETWORK_SERVICE_ADDRESS_TAKEN',
      field: 'addresses.1',
      why: '10.96.0.1 port 80/tcp belongs to the service web (source: files)',
    },
  ]);
  core.remove('command', ['web']);
  core.apply('command', [], true);
  now += 30_000;
  tick();
  tick();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
});

test('only sources of this host may run a program of the host as a check', () => {
  const program = web('10.0.0.2', 'healthCheck: { exec: { command: [/bin/true] } }');
  for (const source of ['overlay', 'kubernetes', 'anybody']) {
    const [refused, ...more] = core.apply(source, [program], true);
    assert.deepEqual(
      [refused?.code, refused?.field, more],
      ['NETWORK_SERVICE_UNSUPPORTED', 'healthCheck.exec', []],
      source,
    );
    assert.equal(core.held.size, 0);
  }
  assert.deepEqual(core.apply('command', [program], false), []);
  core.remove('command', ['web']);
  assert.deepEqual(core.apply('files', [program], true), []);
});

test('two services of one source swap their addresses', () => {
  const at = (name: string, address: string): Service =>
    service(name, `addresses: [${address}]\nports: [80]\nbackends: [10.0.0.2]`);
  core.apply('files', [at('a', '10.96.0.1'), at('b', '10.96.0.2')], true);
  assert.deepEqual(core.apply('files', [at('a', '10.96.0.2'), at('b', '10.96.0.1')], true), []);
  assert.deepEqual(
    [...kernel.servers.values()].map(({ service: name, address }) => `${name} ${address ?? ''}`).toSorted(),
    ['a 10.96.0.2', 'b 10.96.0.1'],
  );
});

test('a refused service keeps its previous state', () => {
  core.apply('command', [web('10.0.0.2')], false);
  assert.deepEqual(core.apply('command', [web('10.0.0.3', 'scheduler: lc')], false), [
    {
      name: 'web',
      code: 'NETWORK_SERVICE_UNSUPPORTED',
      field: 'scheduler',
      why: 'lc is not known here (nftables)',
    },
  ]);
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
  restart();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
});

test('a change that the kernel refused is durable and takes effect a second later', () => {
  kernel.fails = true;
  assert.throws(() => core.apply('command', [web('10.0.0.2')], false), /EBUSY/);
  assert.deepEqual(kernel.shown(), []);
  kernel.fails = false;
  tick();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
});

test('the next check restores servers that another program removed, and compares nothing else', () => {
  core.apply('command', [web('10.0.0.2')], false);
  const before = kernel.reconciled;
  look();
  assert.equal(kernel.reconciled, before);
  kernel.servers.clear();
  kernel.isChanged = true;
  look();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
});

test('a comparison that failed is repeated, even if the balancer no longer reports a change', () => {
  core.apply('command', [web('10.0.0.2')], false);
  kernel.servers.clear();
  [kernel.isChanged, kernel.fails] = [true, true];
  look();
  [kernel.isChanged, kernel.fails] = [false, false];
  tick();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
});

test('a balancer restores its state if all of it is gone, and compares it if something is left', () => {
  core.apply('command', [web('10.0.0.2')], false);
  const lost = new Map(kernel.servers);
  const before = kernel.reconciled;
  let isWhole = true;
  kernel.restore = () => {
    if (!isWhole) return undefined;
    for (const [key, server] of lost) kernel.servers.set(key, server);
    kernel.isChanged = false;
    return lost.size;
  };
  kernel.servers.clear();
  kernel.isChanged = true;
  look();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
  assert.equal(kernel.reconciled, before);
  [kernel.isChanged, isWhole] = [true, false];
  look();
  assert.equal(kernel.reconciled, before + 1);
});

test('servers that a balancer repairs during a change are counted', () => {
  core.apply('command', [web('10.0.0.2')], false);
  const taken = [3];
  kernel.takeRepairs = () => taken.pop() ?? 0;
  look();
  look();
  assert.equal(repairs(), 3);
});

test('a refused change leads to a comparison, even if the previous state could be restored', () => {
  core.apply('command', [web('10.0.0.2')], false);
  kernel.restore = () => assert.fail('the previous state does not have the last change');
  kernel.fails = true;
  assert.throws(() => core.apply('command', [web('10.0.0.3')], false));
  [kernel.fails, kernel.isChanged] = [false, true];
  look();
  assert.match(kernel.shown().join(), /10\.0\.0\.3:80=1/u);
});

test('only changes that an API server lists again do not wait for the disk', () => {
  core.close();
  const database = openNetworkDatabase(join(folder, 'network.db'));
  const store = createServiceStore(database);
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  core = createServiceCore({ store, log, checks: noChecks, now: () => now }, kernel);
  const [normal, full] = [1, 2];
  const waits = (): unknown => database.db.prepare('PRAGMA synchronous').get()?.['synchronous'];
  core.apply('kubernetes', [{ ...web('10.0.0.2'), name: 'shop/web' }], false);
  assert.equal(waits(), normal);
  core.apply(
    'command',
    [service('own', 'addresses: [10.96.0.9]\nports: [80]\nbackends: [10.0.0.9]\n')],
    false,
  );
  assert.equal(waits(), full);
  core.remove('kubernetes', ['shop/web']);
  assert.equal(waits(), normal);
  core.drain('own', ['10.0.0.9'], true);
  assert.equal(waits(), full);
});

test('while the kernel refuses changes, they are retried once a second', () => {
  core.apply('command', [web('10.0.0.2')], false);
  kernel.servers.clear();
  [kernel.isChanged, kernel.fails] = [true, true];
  look();
  kernel.fails = false;
  look();
  assert.deepEqual(kernel.shown(), [], 'the check after a failure does nothing');
  tick();
  assert.deepEqual(kernel.shown(), ['10.96.0.1 80 → 10.0.0.2:80=1']);
});

test('a repeated change that the kernel refused is answered as soon as the kernel has it', () => {
  const repeated = (change: () => unknown, shown: readonly string[]): void => {
    kernel.fails = true;
    assert.throws(change, /EBUSY/);
    assert.throws(change, /EBUSY/, 'the kernel still refuses it');
    kernel.fails = false;
    change();
    assert.deepEqual(kernel.shown(), shown);
  };
  repeated(
    () => core.apply('command', [web('10.0.0.2, 10.0.0.3')], false),
    ['10.96.0.1 80 → 10.0.0.2:80=1 10.0.0.3:80=1'],
  );
  repeated(() => core.drain('web', ['10.0.0.3'], true), ['10.96.0.1 80 → 10.0.0.2:80=1 10.0.0.3:80=0']);
  repeated(() => core.remove('command', ['web']), ['10.96.0.1 80 → 10.0.0.2:80=0 10.0.0.3:80=0']);
});

/** Services in the form of `translate`. `created` is in the order of time. */
const ofCluster = (name: string, created: number, fields: string, backend = '10.0.0.9'): Service => ({
  ...service(name.replace('.external', ''), `${fields}\nports: [53/udp]\nbackends: [${backend}]`),
  name,
  createdAt: created,
});
test('flows of UDP leave an endpoint of a cluster that is gone, and other connections get their time', () => {
  const described = (...backends: readonly string[]): Service =>
    service('dns', `addresses: [10.96.0.10]\nports: [53/udp, 54/tcp]\nbackends: [${backends.join(', ')}]`);
  const two = ['10.0.0.2', '10.0.0.3'];
  const ending = '10.96.0.10 54 → 10.0.0.2:54=1 10.0.0.3:54=0';
  for (const source of ['kubernetes', 'command']) {
    core.apply(source, [described(...two)], false);
    core.apply(source, [described('10.0.0.2')], false);
    const udp = `10.96.0.10 53 → 10.0.0.2:53=1${source === 'kubernetes' ? '' : ' 10.0.0.3:53=0'}`;
    assert.deepEqual(kernel.shown().toSorted(), [udp, ending], source);
    restart();
    assert.deepEqual(kernel.shown().toSorted(), [udp, ending], `${source}, after a restart`);
    // An operator drains it: its flows get their time, too.
    core.apply(source, [described(...two)], false);
    core.drain('dns', ['10.0.0.3'], true);
    assert.deepEqual(
      kernel.shown().toSorted(),
      ['10.96.0.10 53 → 10.0.0.2:53=1 10.0.0.3:53=0', ending],
      source,
    );
    core.apply(source, [], true);
    now += 60_000;
    tick();
    tick();
    assert.deepEqual(kernel.shown().toSorted(), []);
  }
});

const holderAt = (address: string): string | undefined =>
  [...kernel.servers.values()].find((server) => server.address === address)?.service;

test('a cluster address wins over a load balancer address, and a load balancer address over an external address, in any order', () => {
  const external = ofCluster(
    'aaa/evil.external',
    1,
    'addresses: []\nexternalAddresses: [10.96.0.10, 192.0.2.8]',
  );
  const balanced: Service = {
    ...ofCluster('shop/web.external', 9, 'externalAddresses: [192.0.2.9]'),
    loadBalancerAddresses: ['192.0.2.8'],
  };
  const dns = ofCluster('kube-system/kube-dns', 9, 'addresses: [10.96.0.10]', '10.0.0.2');
  for (const order of [
    [external, balanced, dns],
    [dns, balanced, external],
    [balanced, external, dns],
  ]) {
    for (const each of order) core.apply('kubernetes', [each], false);
    assert.deepEqual(['10.96.0.10', '192.0.2.8'].map(holderAt), [
      'kube-system/kube-dns',
      'shop/web.external',
    ]);
    assert.match(
      [...reportServices(core, noChecks, { names: ['aaa/evil.external'] })][0]?.refused ?? '',
      /10\.96\.0\.10 port 53\/udp belongs to/u,
    );
    assert.equal(core.contested(), 1);
    restart();
    assert.deepEqual(
      ['10.96.0.10', '192.0.2.8'].map(holderAt),
      ['kube-system/kube-dns', 'shop/web.external'],
      'after a restart',
    );
    core.remove('kubernetes', ['kube-system/kube-dns']);
    assert.equal(holderAt('10.96.0.10'), 'aaa/evil.external', 'the evicted service gets its address back');
    core.apply('kubernetes', [], true);
    now += 60_000;
    tick();
    tick();
    assert.deepEqual([kernel.servers.size, core.contested()], [0, 0]);
  }
});

test('within one rank, the oldest service has the address, then the first by name; connections of the evicted service are cut at once', () => {
  const at = (name: string, created: number, backend: string): Service =>
    ofCluster(name, created, 'externalAddresses: [192.0.2.8]', backend);
  core.apply('kubernetes', [at('b/young', 5, '10.0.0.5')], false);
  core.apply('kubernetes', [at('c/old', 3, '10.0.0.3')], false);
  assert.equal(holderAt('192.0.2.8'), 'c/old');
  now += 1;
  tick();
  assert.deepEqual(kernel.shown(), ['192.0.2.8 53 → 10.0.0.3:53=1']);
  core.apply('kubernetes', [at('a/same', 3, '10.0.0.1')], false);
  assert.equal(holderAt('192.0.2.8'), 'a/same');
  core.apply('command', [at('own', 0, '10.0.0.7')], false);
  assert.equal(holderAt('192.0.2.8'), 'a/same', 'another source evicts no service');
});

test('a refused address does not block updates of the other ports and the endpoints of its service', () => {
  const web = (ports: string, backend: string): Service => ({
    ...service('web', `externalAddresses: [192.0.2.8, 192.0.2.9]\nports: [${ports}]\nbackends: [${backend}]`),
    name: 'shop/web.external',
  });
  core.apply(
    'files',
    [service('mine', 'externalAddresses: [192.0.2.9]\nports: [80]\nbackends: [10.0.0.2]')],
    true,
  );
  for (const source of ['kubernetes', 'networks']) {
    const [refused, ...more] = core.apply(source, [web('80', '10.0.0.5')], false);
    assert.deepEqual(
      [refused?.code, refused?.field, more],
      ['NETWORK_SERVICE_ADDRESS_TAKEN', 'externalAddresses.1', []],
      source,
    );
    assert.equal(
      core.apply(source, [web('80', '10.0.0.5')], false).length,
      1,
      'the repeated request is refused again',
    );
    core.apply(source, [web('80, 81', '10.0.0.77')], false);
    now += 60_000;
    tick();
    assert.deepEqual(kernel.shown().toSorted(), [
      '192.0.2.8 80 → 10.0.0.77:80=1',
      '192.0.2.8 81 → 10.0.0.77:81=1',
      '192.0.2.9 80 → 10.0.0.2:80=1',
      '192.0.2.9 81 → 10.0.0.77:81=1',
    ]);
    core.apply(source, [], true);
    now += 60_000;
    tick();
    tick();
  }
});

const nodePorts: Readonly<Record<string, string>> = {
  kubernetes: 'default/web.external',
  networks: 'net/evil',
  files: 'own',
};
const onNodePort = (source: string, backends: string, port = 30_080): Service => ({
  ...service('x', `ports: [{ port: 80, nodePort: ${port} }]\nbackends: [${backends}]`),
  name: nodePorts[source] ?? source,
  ...(source === 'kubernetes' && { createdAt: 5 }),
});
const nodePortOf = (port = 30_080): string[] =>
  [...kernel.servers.values()]
    .filter((each) => each.kind === 'node' && each.port === port)
    .map((each) => each.service);

for (const [holder, other] of [
  ['kubernetes', 'networks'],
  ['networks', 'kubernetes'],
  ['networks', 'networks'],
  ['files', 'networks'],
] as const) {
  test(`a service of ${holder} does not lose its node port to a service of ${other} when its endpoints change or after a restart`, () => {
    const rival = { ...onNodePort(other, '10.0.0.66'), name: 'aaa/rival' };
    const name = nodePorts[holder];
    // The rival is stored first, so that the order of rows favours it.
    core.apply(other, [{ ...rival, ports: onNodePort(other, '10.0.0.66', 30_099).ports }], false);
    core.apply(holder, [onNodePort(holder, '10.0.0.1')], false);
    core.apply(other, [rival], false);
    assert.deepEqual(nodePortOf(), [name]);
    for (const backends of ['10.0.0.1, 10.0.0.2', '"fd00::1"', '', '10.0.0.3']) {
      core.apply(holder, [onNodePort(holder, backends)], false);
      assert.deepEqual([...new Set(nodePortOf())], [name], `backends: ${backends}`);
      now += 60_000;
      tick();
    }
    core.apply(other, [{ ...rival, backends: [{ address: '10.0.0.67' }] }], false);
    assert.deepEqual(nodePortOf(), [name], 'the rival changed');
    restart();
    assert.deepEqual(nodePortOf(), [name], 'after a restart');
    core.apply(holder, holder === other ? [rival] : [], true);
    assert.deepEqual(
      nodePortOf(),
      ['aaa/rival'],
      'the waiting service gets the node port when the holder is removed',
    );
  });
}

test('a service that replaces another service of its source gets its node port before services that wait for the port', () => {
  core.apply('files', [onNodePort('files', '10.0.0.1')], true);
  core.apply('networks', [onNodePort('networks', '10.0.0.66')], true);
  assert.deepEqual(core.apply('files', [{ ...onNodePort('files', '10.0.0.1'), name: 'renamed' }], true), []);
  assert.deepEqual(nodePortOf(), ['renamed']);
});

test('an address whose holder now has a worse claim goes to the waiting service with the better claim', () => {
  const first = ofCluster('a/first', 1, 'addresses: [10.96.0.10]');
  core.apply('kubernetes', [first], false);
  core.apply('kubernetes', [ofCluster('b/second', 2, 'addresses: [10.96.0.10]')], false);
  assert.equal(holderAt('10.96.0.10'), 'a/first');
  core.apply('kubernetes', [{ ...first, addresses: [], externalAddresses: ['10.96.0.10'] }], false);
  assert.equal(holderAt('10.96.0.10'), 'b/second');
  core.apply('kubernetes', [first], false);
  assert.equal(holderAt('10.96.0.10'), 'a/first');
});
