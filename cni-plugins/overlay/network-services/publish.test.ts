import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { findTool } from '../../../test/fixtures/tools.ts';
import { failure } from '../../../base/errors/index.ts';
import { parsePrefix } from '../../../base/addresses/index.ts';
import { noServiceRules } from '../../spec/service-rules.ts';
import type { ServiceRules } from '../../spec/service-rules.ts';
import { openEtcd } from '../etcd/client.ts';
import type { EtcdClient } from '../etcd/client.ts';
import { followPrefix } from '../etcd/follow.ts';
import { createOwnership } from '../ownership/ownership.ts';
import type { Ownership } from '../ownership/ownership.ts';
import { encode, identitiesOf, keysOf } from '../records/records.ts';
import type { HostRecord } from '../records/records.ts';
import type { OverlayNetwork } from '../records/settings.ts';
import type { LocalMember } from './fitting-members.ts';
import { createMerged } from './merged.ts';
import type { Merged } from './merged.ts';
import { openPublisher } from './publish.ts';
import type { Publisher } from './publish.ts';

/** Hosts that publish into a real etcd, without kernels or databases of their own. */

const tool = findTool('etcd');
const keys = keysOf('shop');

interface Publishing {
  readonly name: string;
  readonly merged: Merged;
  readonly view: Ownership;
  readonly publisher: Publisher;
  local: readonly LocalMember[];
  /** Ends without closing, as by kill -9: etcd notices when its lease ends. */
  die(): void;
}

describe('services across hosts in a real etcd', { skip: tool.skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-published-'));
  let etcd: ChildProcess;
  let client: EtcdClient;
  let hosts: Publishing[] = [];

  const network = (text: string, hostLength: number): OverlayNetwork => ({
    prefix: parsePrefix(text)!,
    hostLength,
  });
  const small = [network('10.128.0.0/22', 24), network('fd00:10:128::/62', 64)];

  const open: ServiceRules = {
    ...noServiceRules,
    ingress: { namespaces: ['*'], ports: [[30_000, 32_767]], privilegedPorts: false, heldPorts: false },
  };

  function host(
    number: number,
    networks: readonly OverlayNetwork[] = small,
    rules: ServiceRules = open,
    through: Partial<EtcdClient> = {},
  ): Publishing {
    const name = `host-${number}`;
    const merged = createMerged(name, keys, 1000);
    const view = createOwnership(keys);
    const made: Publishing = {
      name,
      merged,
      view,
      local: [],
      publisher: openPublisher({
        member: { client: { ...client, ...through }, keys, host: name, id: `id-${number}`, view },
        networks,
        merged,
        readLocal: () => made.local,
        rules,
        log: { warn: () => undefined },
      }),
      die() {
        unfollow();
        made.publisher.close();
      },
    };
    const own = (): ReadonlySet<string> => new Set(made.local.map(({ service }) => service));
    const concern = (): void => {
      const mine = [...merged.taken()].filter((service) => own().has(service));
      if (mine.length > 0) made.publisher.look(new Set(mine));
    };
    const unfollow = followPrefix(client, keys.all, {
      onListing({ pairs, revision }) {
        merged.list(view.list(pairs, revision), Date.now(), own());
        concern();
      },
      onChanges(changes) {
        merged.change(view.change(changes, changes.at(-1)!.modRevision!), Date.now());
        concern();
      },
      onHere: () => undefined,
      onAway: () => undefined,
    });
    hosts.push(made);
    return made;
  }
  async function up(made: Publishing, leaseSeconds = 60): Promise<void> {
    const lease = await client.grant(leaseSeconds);
    await made.publisher.register(lease);
    const number = Number(made.name.slice('host-'.length));
    const record: HostRecord = {
      id: `id-${number}`,
      underlay: `192.0.2.${number}`,
      mtu: 1450,
      vxlan: { mac: `02:00:00:00:00:${number.toString(16).padStart(2, '0')}`, port: 4789 },
    };
    const own = keys.own(made.name);
    await client.transact(
      [],
      [
        { put: { key: own.record, value: encode(record), lease } },
        ...identitiesOf(record).map((value) => ({ put: { key: own.identity(value), value: encode({}) } })),
      ],
    );
  }
  const claim = (host_: string, subnet: string): Promise<boolean> =>
    client.transact([], [{ put: { key: keys.own(host_).subnet(subnet), value: encode({ id: 'x' }) } }]);
  const joined = (service: string, on: string, more: Partial<LocalMember> = {}): LocalMember => ({
    service,
    id: `${service}-${on}`,
    mode: 'vip',
    addresses: [],
    isReady: true,
    aliases: [],
    ports: [{ protocol: 'tcp', port: 80, targetPort: 80 }],
    ingressPorts: [],
    virtualIPs: [],
    ...more,
  });
  const published = (port: number): Partial<LocalMember> => ({
    ingressPorts: [{ protocol: 'tcp', port, targetPort: 80 }],
  });
  const folderOf = async (name: string): Promise<string[]> =>
    (await facts())
      .map(({ key }) => key.slice(keys.all.length))
      .filter((key) => key.startsWith(`${name}/`))
      .toSorted();
  const facts = async (): Promise<ReturnType<Ownership['list']>> => {
    const { pairs, revision } = await client.list(keys.all);
    return createOwnership(keys).list(pairs, revision);
  };
  const refusals = (made: Publishing): string => [...made.publisher.refused.values()].flat().join('\n');
  async function until(what: string, condition: () => Promise<boolean> | boolean): Promise<void> {
    for (const deadline = Date.now() + 60_000; ; await sleep(20)) {
      try {
        if (await condition()) return;
      } catch {
        // Not yet.
      }
      if (Date.now() > deadline) assert.fail(`not within a minute: ${what}`);
    }
  }

  before(async () => {
    const urls = [
      '--listen-client-urls',
      'http://127.0.0.1:2379',
      '--advertise-client-urls',
      'http://127.0.0.1:2379',
    ];
    etcd = spawn(tool.path, ['--data-dir', folder, ...urls, '--listen-peer-urls', 'http://127.0.0.1:2380'], {
      stdio: 'ignore',
    });
    client = openEtcd({ endpoints: ['http://127.0.0.1:2379'] });
    await until('etcd answers', async () => (await client.list('/')).revision > 0);
  });
  beforeEach(async () => {
    hosts.forEach((each) => each.die());
    hosts = [];
    for (const { key } of (await client.list(keys.all)).pairs)
      await client.transact([], [{ deleteRange: { key } }]);
  });
  after(async () => {
    hosts.forEach((each) => each.die());
    client.close();
    await new Promise((resolve) => etcd.once('exit', resolve) && etcd.kill('SIGKILL'));
    rmSync(folder, { recursive: true, force: true });
  });

  test('if twenty hosts create one common and one own service at once, each service gets one address, and no address is used twice', async () => {
    const made = Array.from({ length: 20 }, (_, number) => host(number));
    for (const each of made) each.local = [joined('web', each.name), joined(`own-${each.name}`, each.name)];
    await Promise.all(made.map((each) => up(each)));
    await until('all know all', () =>
      made.every(({ merged }) => merged.names().length === 21 && merged.service('web')?.members.size === 19),
    );
    const seen = new Set(made.map(({ merged }) => merged.service('web')?.addresses.join()));
    assert.equal(seen.size, 1);
    assert.match([...seen][0]!, /^10\.128\.\d\.\d+,fd00:10:128/u);
    const addresses = made[0]!.merged
      .names()
      .flatMap((name) => made[0]!.merged.service(name)?.addresses ?? []);
    assert.equal(new Set(addresses).size, 42);
    assert.deepEqual(
      (await folderOf('addresses')).toSorted(),
      addresses.map((address) => `addresses/${address}`).toSorted(),
    );
    assert.equal((await folderOf('subnets')).length, 2, 'one subnet of virtual addresses for each family');
  });

  test('the first host defines the mode and gets the ingress port; the others are refused by name', async () => {
    const [one, two] = [host(1), host(2)];
    one.local = [joined('web', 'one', published(30_080))];
    await up(one);
    two.local = [
      joined('web', 'two', { mode: 'dnsrr' }),
      joined('api', 'two', {
        ingressPorts: [...published(30_080).ingressPorts!, ...published(30_081).ingressPorts!],
      }),
    ];
    await up(two);
    assert.match(
      refusals(two),
      /NETWORK_SERVICE_MODE_DIFFERS: web-two joins with the mode dnsrr, and the service has vip/u,
    );
    assert.match(
      refusals(two),
      /NETWORK_SERVICE_ADDRESS_TAKEN: the ingress port tcp 30080 belongs to the service web on all hosts/u,
    );
    assert.deepEqual(await folderOf('ports'), ['ports/tcp-30080', 'ports/tcp-30081']);
    assert.deepEqual(await folderOf('holders'), ['holders/api/host-2', 'holders/web/host-1']);
    // When the first host leaves, the others get what it had.
    one.local = [];
    one.publisher.look();
    await until(
      'the mode is the other',
      () => two.merged.service('web')?.mode === 'dnsrr' && one.merged.service('web')?.members.size === 1,
    );
    two.publisher.sweep();
    await until('the port is the other’s', () => one.merged.portHolder('tcp-30080') === 'api');
    await until('nothing is refused', () => two.publisher.refused.size === 0);
  });

  test('addresses that members request must belong to no host and to no other service', async () => {
    await claim('host-9', '10.128.1.0/24');
    const one = host(1);
    const asking = (service: string, address: string): LocalMember =>
      joined(service, 'one', { virtualIPs: [address] });
    one.local = [
      asking('web', '10.128.2.7'),
      asking('second', '10.128.2.7'),
      asking('hosts', '10.128.1.7'),
      asking('edge', '10.128.2.0'),
      asking('other', '192.0.2.7'),
    ];
    await up(one);
    assert.match(refusals(one), /second: 10\.128\.2\.7 belongs to the service web/u);
    assert.match(refusals(one), /hosts: 10\.128\.1\.7: it is in the subnet of the host host-9/u);
    assert.match(refusals(one), /edge: 10\.128\.2\.0: it is the first or last address of its subnet/u);
    assert.match(refusals(one), /other: 192\.0\.2\.7: it is in no network of the overlay/u);
    await until(
      'the first gets the requested address',
      () => one.merged.service('web')?.addresses[0] === '10.128.2.7',
    );
    assert.deepEqual(await folderOf('virtual'), ['virtual/web']);
  });

  test('a service belongs to the namespace of its first member on any host; if two claim it at once, one gets it and the other is refused', async () => {
    const [one, two] = [host(1), host(2)];
    one.local = [joined('web', 'one', { owner: 'shop' })];
    two.local = [joined('web', 'two', { owner: 'evil' })];
    await Promise.all([up(one), up(two)]);
    const winner = one.merged.service('web')?.owner ?? two.merged.service('web')?.owner;
    const [first, loser] = winner === 'shop' ? [one, two] : [two, one];
    await until('both know whose it is', () =>
      [one, two].every(({ merged }) => merged.service('web')?.owner === winner),
    );
    assert.match(
      refusals(loser),
      /NETWORK_SERVICE_OTHER_NAMESPACE: web-\w+ of \w+ joins, and the service belongs to \w+/u,
    );
    assert.deepEqual(await folderOf('holders'), [`holders/web/${first.name}`]);
    await until('the first knows of no other member', () => first.merged.service('web')?.members.size === 0);
    assert.equal(first.publisher.refused.size, 0);
    // The loser's members do not belong to it. When the first namespace leaves, the service is theirs.
    first.local = [];
    first.publisher.look();
    // It may be requested again at once, or by the next sweep.
    await until('the first gave it back', () => loser.merged.service('web')?.owner !== winner);
    loser.publisher.sweep();
    await until('it is the other’s', () => loser.merged.service('web')?.owner === loser.local[0]?.owner);
  });

  test('an ingress port is claimed only if this host opens it to the member', async () => {
    const one = host(1, small, { ...open, ingress: { ...open.ingress!, namespaces: ['shop'] } });
    one.local = [
      joined('web', 'one', { owner: 'shop', ...published(30_080) }),
      joined('low', 'one', { owner: 'shop', ...published(22) }),
      joined('evil', 'one', { owner: 'evil', ...published(30_081) }),
    ];
    await up(one);
    assert.deepEqual(await folderOf('ports'), ['ports/tcp-30080']);
  });

  test('the number of services of a namespace is limited; requested addresses use a limited number of subnets, which are released again', async () => {
    const wide = [network('10.128.0.0/18', 24)];
    // The watch shows a commit before its answer arrives.
    const commit: EtcdClient['commit'] = async (...given) => {
      const answer = await client.commit(...given);
      await sleep(50);
      return answer;
    };
    const one = host(1, wide, { ...open, servicesPerNamespace: 6 }, { commit });
    one.local = [
      ...Array.from({ length: 10 }, (_, at) =>
        joined(`s${at}`, 'one', { owner: 'evil', virtualIPs: [`10.128.${at}.7`] }),
      ),
      joined('web', 'one', { owner: 'shop' }),
    ];
    await up(one);
    await until('it knows what it has', () => one.merged.service('web') !== undefined);
    assert.equal((await folderOf('subnets')).length, 4, 'of 64 subnets');
    assert.match(refusals(one), /NETWORK_ADDRESSES_EXHAUSTED/u);
    one.local = Array.from({ length: 10 }, (_, at) =>
      joined(`n${at}`, 'one', { owner: 'many', mode: 'dnsrr' }),
    );
    one.publisher.look();
    await until(
      'as many as the limit',
      () => one.merged.names().filter((name) => name.startsWith('n')).length === 6,
    );
    await until('the others are refused', () =>
      /NETWORK_SERVICES_EXHAUSTED: the namespace many has 6 services/u.test(refusals(one)),
    );
    await until('empty subnets are released', async () => (await folderOf('subnets')).length === 0);
  });

  test('a service is refused by name while no subnet is left for virtual addresses', async () => {
    const tiny = [network('10.128.0.0/23', 24)];
    for (const at of [0, 1]) await claim(`h${at}`, `10.128.${at}.0/24`);
    const one = host(1, tiny);
    one.local = [joined('web', 'one'), joined('names', 'one', { mode: 'dnsrr' })];
    await up(one);
    assert.match(refusals(one), /NETWORK_ADDRESSES_EXHAUSTED/u);
    assert.deepEqual(await folderOf('virtual'), ['virtual/names']);
    await client.transact([], [{ deleteRange: { key: keys.own('h1').subnet('10.128.1.0/24') } }]);
    await until('it is free', () => one.view.subnetHolder('10.128.1.0/24') === undefined);
    one.publisher.sweep();
    await until(
      'it has an address',
      () => one.merged.service('web')?.addresses[0]?.startsWith('10.128.1.') === true,
    );
  });

  test('a host that was killed between leaving a service and releasing it releases it when it returns, or when it is released itself', async () => {
    const [one, two] = [host(1), host(2)];
    one.local = [joined('web', 'one', published(30_080))];
    await up(one);
    await up(two);
    one.die();
    await client.transact([], [{ deleteRange: { key: keys.own('host-1').members('web') } }]);
    await until('the other heard', () => two.merged.service('web')?.members.size === 0);
    assert.equal((await folderOf('virtual')).length, 1, 'its claims are kept');
    const again = host(1);
    await up(again);
    await until('nothing is left', async () => {
      const left = await Promise.all(['virtual', 'holders', 'members', 'ports', 'addresses'].map(folderOf));
      return left.flat().length === 0;
    });
  });

  test('the claims of a service are released after a failure of etcd, although no lease ends and no call is refused', async () => {
    let failures = 0;
    const commit: EtcdClient['commit'] = (compare, steps) => {
      const isEnd = steps.every((step) => 'deleteRange' in step);
      if (!isEnd || failures === 2) return client.commit(compare, steps);
      failures += 1;
      throw failure('OVERLAY_ETCD_UNREACHABLE', 'unavailable', 'write', 'etcd', 'connection reset', 'wait');
    };
    const one = host(1, small, open, { commit });
    one.local = [joined('web', 'one'), joined('api', 'one')];
    await up(one);
    one.local = [];
    one.publisher.look();
    await until('everything is released', async () => {
      const left = await Promise.all(['virtual', 'holders', 'addresses', 'subnets'].map(folderOf));
      return left.flat().length === 0;
    });
    assert.equal(failures, 2);
  });

  test('a service stays unchanged for the other hosts when its first host leaves', async () => {
    const [one, two] = [host(1), host(2)];
    for (const each of [one, two]) {
      each.local = [joined('web', each.name, published(30_080))];
      await up(each);
    }
    await until('both are in it', () => two.merged.service('web')?.members.size === 1);
    const before = await folderOf('addresses');
    one.local = [];
    one.publisher.look();
    await until(
      'all keys of the first are gone',
      async () => (await client.list(`${keys.own('host-1').all}virtual/`)).pairs.length === 0,
    );
    assert.deepEqual(await folderOf('addresses'), before);
    assert.deepEqual(await folderOf('ports'), ['ports/tcp-30080']);
    assert.deepEqual(
      two.merged.service('web')?.addresses.map((address) => `addresses/${address}`),
      before,
    );
  });

  test('a host that comes back with a new lease writes its current state, and removes services that ended meanwhile', async () => {
    const [one, two] = [host(1), host(2)];
    one.local = [joined('web', 'one'), joined('old', 'one')];
    await up(one, 2);
    await up(two);
    one.die();
    await until('its lease ended', async () => (await folderOf('members')).length === 0);
    assert.deepEqual(
      await folderOf('holders'),
      ['holders/old/host-1', 'holders/web/host-1'],
      'its claims are kept',
    );
    const again = host(1);
    again.local = [joined('web', 'one'), joined('new', 'one')];
    await up(again);
    await until(
      'others see its state',
      () => two.merged.service('web')?.members.size === 1 && two.merged.service('new')?.members.size === 1,
    );
    await until('its former services end', () => !two.merged.names().includes('old'));
  });

  test('after etcd was restored empty, the same services exist again at the same addresses', async () => {
    const [one, two] = [host(1), host(2)];
    one.local = [joined('web', 'one', published(30_080))];
    two.local = [joined('web', 'two')];
    for (const each of [one, two]) await up(each);
    await until('both know it', () =>
      [one, two].every(({ merged }) => merged.service('web')?.members.size === 1),
    );
    const before = one.merged.service('web')?.addresses;
    const merged = one.merged;
    // The listing of an empty etcd, as a restarted watch brings it.
    for (const { key } of (await client.list(keys.all)).pairs)
      if (!key.includes('/hosts/')) await client.transact([], [{ deleteRange: { key } }]);
    const restored = createMerged(
      'host-1',
      keys,
      1000,
      new Map([
        ['web', { mode: 'vip', addresses: before!, ingressPorts: ['tcp-30080'], members: new Map() }],
      ]),
    );
    const publisher = openPublisher({
      member: { client, keys, host: 'host-1', id: 'id-1', view: one.view },
      networks: small,
      merged: restored,
      readLocal: () => one.local,
      rules: open,
      log: { warn: () => undefined },
    });
    await publisher.register(await client.grant(60));
    await until('it is there again', () => merged.service('web')?.addresses.join() === before?.join());
    publisher.close();
  });
});
