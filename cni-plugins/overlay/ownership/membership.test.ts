import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  etcdTool,
  etcdctlTool,
  eventually,
  makeAuthority,
  startEtcdMembers,
  startEtcdProxy,
} from '../../../test/fixtures/etcd.ts';
import type { EtcdMember } from '../../../test/fixtures/etcd.ts';
import { parsePrefix } from '../../../base/addresses/index.ts';
import { openEtcd } from '../etcd/client.ts';
import type { EtcdAccess, EtcdClient } from '../etcd/client.ts';
import type { Step } from '../etcd/messages.ts';
import { followPrefix } from '../etcd/follow.ts';
import { agreeOnNetwork, leaveNetwork, mayWriteForOthers, register, requireName } from './membership.ts';
import { claimSubnets } from './claim-subnets.ts';
import type { Member } from './membership.ts';
import { noServiceRules } from '../../spec/service-rules.ts';
import { createMerged } from '../network-services/merged.ts';
import { openPublisher } from '../network-services/publish.ts';
import { createOwnership } from './ownership.ts';
import { answerQuestion } from '../questions.ts';
import { encode, keysOf } from '../records/records.ts';
import type { HostRecord, SharedSettings } from '../records/records.ts';
import type { OverlayNetwork } from '../records/settings.ts';

/**
 * The records that hosts write into a real etcd: claims whose answers are lost, hosts of both versions, and
 * roles that let each host write only its own keys.
 */

const keys = keysOf('overlay');
const networks: readonly OverlayNetwork[] = [{ prefix: parsePrefix('10.128.0.0/14')!, hostLength: 24 }];
const shared: SharedSettings = { networks: [{ prefix: '10.128.0.0/14', hostLength: 24 }], vni: 1 };
const tcp80 = { protocol: 'tcp', port: 30_080, targetPort: 80 } as const;

describe('hosts in a real etcd', { skip: etcdTool.skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-membership-'));
  const ends: (() => unknown)[] = [];
  let plain: EtcdMember;
  before(async () => {
    [plain] = startEtcdMembers({ folder, port: 2379 }) as [EtcdMember];
    ends.push(plain.end);
    await eventually(
      'etcd answers',
      async () => (await open({ endpoints: [plain.endpoint] }).list('/')).revision > 0,
    );
  });
  after(async () => {
    for (const end of ends.toReversed()) await end();
    rmSync(folder, { recursive: true, force: true });
  });

  function open(access: EtcdAccess): EtcdClient {
    const client = openEtcd(access);
    ends.push(() => client.close());
    return client;
  }
  function member(host: string, access: EtcdAccess, id = `id-${host}`): Member {
    const client = open(access);
    const view = createOwnership(keys);
    ends.push(
      followPrefix(client, keys.all, {
        onListing: ({ pairs, revision }) => view.list(pairs, revision),
        onChanges: (changes) => view.change(changes, changes.at(-1)!.modRevision!),
        onHere: () => undefined,
        onAway: () => undefined,
      }),
    );
    return { client, keys, host, id, view };
  }
  const record = (number: number): HostRecord => ({
    id: `id-host-${number}`,
    underlay: `192.0.2.${number}`,
    mtu: 1450,
    vxlan: { mac: `02:00:00:00:00:${String(number).padStart(2, '0')}`, port: 4789 },
  });

  test('a claim whose answer is lost is not repeated: the host keeps one subnet', async () => {
    for (let round = 0; round < 2; round += 1) {
      const proxy = await startEtcdProxy(plain.endpoint);
      ends.push(() => proxy.close());
      const host = `lossy-${round}`;
      const lossy = member(host, { endpoints: [proxy.endpoint, plain.endpoint] });
      await lossy.view.reached(0);
      await lossy.client.get('/');
      proxy.loseAnswer('/etcdserverpb.KV/Txn');
      const [subnet] = await claimSubnets(lossy, networks, []);
      assert.equal(proxy.lost, 1, 'the answer of the claim was lost');
      const { pairs } = await lossy.client.list(keys.own(host).subnets);
      assert.deepEqual(
        pairs.map(({ key }) => key),
        [keys.own(host).subnet(subnet!)],
      );
      assert.equal(lossy.view.subnetHolder(subnet!), host);
    }
  });

  test('a host that finds two claims of its own keeps the one that it uses', async () => {
    const one = member('double', { endpoints: [plain.endpoint] });
    for (const subnet of ['10.130.1.0/24', '10.130.2.0/24'])
      await one.client.transact(
        [],
        [{ put: { key: keys.own('double').subnet(subnet), value: encode({ id: one.id }) } }],
      );
    assert.deepEqual(await claimSubnets(one, networks, ['10.130.2.0/24']), ['10.130.2.0/24']);
    assert.deepEqual(
      (await one.client.list(keys.own('double').subnets)).pairs.map(({ key }) => key),
      [keys.own('double').subnet('10.130.2.0/24')],
    );
  });

  test('a host takes no subnet that another host could get by the removal of its other claim', async () => {
    const victim = member('victim', { endpoints: [plain.endpoint] });
    const evil = keys.own('evil');
    const write = async (...steps: Step[]): Promise<void> => {
      const { revision } = await victim.client.commit([], steps);
      await victim.view.reached(revision);
    };
    const claim = (subnet: string) => ({ put: { key: evil.subnet(subnet), value: encode({ id: 'evil' }) } });
    // The search begins at a position that everybody can compute.
    const [first] = await claimSubnets(victim, networks, []);
    await write({ deleteRange: { key: keys.own('victim').subnet(first!) } });
    await write(claim('10.129.77.0/24'));
    await write(claim(first!));
    const [second] = await claimSubnets(victim, networks, []);
    assert.notEqual(second, first);
    await write({ deleteRange: { key: evil.subnet('10.129.77.0/24') } });
    assert.equal(victim.view.subnetHolder(first!), 'evil');
    assert.equal(victim.view.subnetHolder(second!), 'victim');
  });

  test('thirty hosts that join a network of thirty-two subnets at once get one subnet each', async () => {
    const narrow: readonly OverlayNetwork[] = [{ prefix: parsePrefix('10.140.0.0/19')!, hostLength: 24 }];
    const hosts = Array.from({ length: 30 }, (_, index) =>
      member(`crowd-${index}`, { endpoints: [plain.endpoint] }),
    );
    const claimed = (await Promise.all(hosts.map((each) => claimSubnets(each, narrow, [])))).flat();
    assert.equal(new Set(claimed).size, 30);
    const { pairs } = await hosts[0]!.client.list(`${keys.all}hosts/crowd-`);
    assert.equal(
      pairs.filter(({ key }) => keys.readOwn(key)?.kind === 'subnets').length,
      30,
      'nothing is left of attempts',
    );
  });

  test('a subnet that another host claimed first is released, and the error names that host; a subnet without an owner is claimed again', async () => {
    const [one, two] = [
      member('first', { endpoints: [plain.endpoint] }),
      member('second', { endpoints: [plain.endpoint] }),
    ];
    assert.deepEqual(await claimSubnets(one, networks, ['10.131.1.0/24']), ['10.131.1.0/24']);
    await assert.rejects(claimSubnets(two, networks, ['10.131.1.0/24']), {
      code: 'OVERLAY_SUBNET_LOST',
      message: /first/u,
    });
    assert.equal((await two.client.list(keys.own('second').all)).pairs.length, 0);
    await leaveNetwork(one);
    await eventually('the other heard', () => two.view.subnetHolder('10.131.1.0/24') === undefined);
    assert.deepEqual(await claimSubnets(two, networks, ['10.131.1.0/24']), ['10.131.1.0/24']);
  });

  test('a claim that came too late is removed when the subnet is given up', async () => {
    const [one, two] = [
      member('early', { endpoints: [plain.endpoint] }),
      member('late', { endpoints: [plain.endpoint] }),
    ];
    assert.deepEqual(await claimSubnets(one, networks, ['10.131.2.0/24']), ['10.131.2.0/24']);
    // The watch had not reported the first claim yet.
    await two.client.transact(
      [],
      [{ put: { key: keys.own('late').subnet('10.131.2.0/24'), value: encode({ id: two.id }) } }],
    );
    await assert.rejects(claimSubnets(two, networks, ['10.131.2.0/24']), { code: 'OVERLAY_SUBNET_LOST' });
    assert.deepEqual((await two.client.list(keys.own('late').all)).pairs, []);
  });

  test('subnets whose claim by the former version cannot be read are skipped; if this host needs one of them, it is reported as lost', async () => {
    const one = member('skipping', { endpoints: [plain.endpoint] });
    const tried = [];
    for (let round = 0; round < 3; round += 1) {
      const [subnet] = await claimSubnets(one, networks, []);
      tried.push(subnet!);
      await leaveNetwork(one);
      await eventually('it is heard', () => one.view.subnetHolder(subnet!) === undefined);
      await one.client.transact([], [{ put: { key: keys.subnet(subnet!), value: Buffer.from('{"host":') } }]);
    }
    assert.equal(new Set(tried).size, 3, 'each was the next one');
    await assert.rejects(claimSubnets(one, networks, [tried[0]!]), {
      code: 'OVERLAY_SUBNET_LOST',
      message: /somebody/u,
    });
    await one.client.transact(
      [],
      tried.map((subnet) => ({ deleteRange: { key: keys.subnet(subnet) } })),
    );
  });

  test('a host gets a subnet even if there are more unreadable claims than it makes attempts', async () => {
    const narrow: readonly OverlayNetwork[] = [{ prefix: parsePrefix('10.144.0.0/18')!, hostLength: 24 }];
    const one = member('patient', { endpoints: [plain.endpoint] });
    const taken = Array.from({ length: 64 }, (_, part) => `10.144.${part}.0/24`).filter(
      (subnet) => subnet !== '10.144.5.0/24',
    );
    for (const subnet of taken)
      await one.client.transact([], [{ put: { key: keys.subnet(subnet), value: Buffer.from('?') } }]);
    assert.deepEqual(await claimSubnets(one, narrow, []), ['10.144.5.0/24']);
    await leaveNetwork(one);
    for (const subnet of taken)
      await one.client.transact([], [{ deleteRange: { key: keys.subnet(subnet) } }]);
  });

  test('a host with the MAC address of another host (a copied disk) is refused by name, and the other host continues', async () => {
    const [one, two] = [
      member('origin', { endpoints: [plain.endpoint] }),
      member('copy', { endpoints: [plain.endpoint] }),
    ];
    const lease = await one.client.grant(60);
    await register(one, record(50), lease);
    await assert.rejects(register(two, { ...record(51), vxlan: record(50).vxlan! }, lease), {
      code: 'OVERLAY_IDENTITY_TAKEN',
      message: /mac 02:00:00:00:00:50, which belongs to the host origin/u,
    });
    assert.equal(one.view.refusalOf('origin'), undefined);
    await leaveNetwork(one);
    await leaveNetwork({ ...two, id: record(51).id });
  });

  test('a host does not take subnets of hosts with the former version, and they see it until all have this version', async () => {
    const one = member('newer', { endpoints: [plain.endpoint] }, 'id-host-60');
    const { client } = one;
    const write = (key: string, value: object): Promise<boolean> =>
      client.transact([], [{ put: { key, value: encode(value) } }]);
    await write(keys.host('older'), { ...record(61), id: 'older' });
    await write(keys.subnet('10.131.107.0/24'), { host: 'older', id: 'older' });
    await write(keys.subnet('10.131.108.0/24'), { host: 'newer', id: one.id });
    await eventually(
      'it is heard',
      () => one.view.oldHosts().length === 1 && one.view.subnetHolder('10.131.108.0/24') === 'newer',
    );
    await assert.rejects(claimSubnets(one, networks, ['10.131.107.0/24']), { code: 'OVERLAY_SUBNET_LOST' });
    assert.deepEqual(
      await claimSubnets(one, networks, []),
      ['10.131.108.0/24'],
      'the subnet of this host from the former version is kept',
    );
    await register(one, record(60), await client.grant(60));
    assert.ok(
      (await client.get(keys.host('newer'))) !== undefined &&
        (await client.get(keys.subnet('10.131.108.0/24'))) !== undefined,
    );
    const fresh = member('fresh', { endpoints: [plain.endpoint] });
    const [subnet] = await claimSubnets(fresh, networks, []);
    assert.ok(
      (await client.get(keys.subnet(subnet!))) !== undefined,
      'an older host does not take it meanwhile',
    );
    await client.transact([], [{ deleteRange: { key: keys.host('older') } }]);
    await eventually('it is heard', () => !one.view.oldHosts().includes('older'));
    await register(one, record(60), await client.grant(60));
    assert.equal(await client.get(keys.host('newer')), undefined);
    assert.equal(await client.get(keys.subnet('10.131.108.0/24')), undefined);
    assert.equal(one.view.subnetHolder('10.131.108.0/24'), 'newer');
    await client.transact([], [{ deleteRange: { key: keys.subnet('10.131.107.0/24') } }]);
    for (const each of [one, fresh]) await leaveNetwork(each);
  });

  test('without roles, a host notices that it may change the records of others', async () => {
    assert.equal(await mayWriteForOthers({ client: open({ endpoints: [plain.endpoint] }), keys }), true);
  });

  describe(
    'with roles by the name of each certificate, as in docs/overlay.md',
    { skip: etcdctlTool.skip },
    () => {
      const authority = makeAuthority(folder);
      const docs = readFileSync(join(import.meta.dirname, '../../../docs/overlay.md'), 'utf8');
      let secured: EtcdMember;
      const access = (commonName: string): EtcdAccess => ({
        endpoints: [secured.endpoint],
        files: { ca: authority.ca, ...authority.issue(commonName) },
      });
      const script = (mark: string): string => {
        const [, found] = new RegExp(`<!-- ${mark} -->\\n+\`\`\`sh\\n([^]*?)\`\`\``, 'u').exec(docs) ?? [];
        assert.ok(found !== undefined, `docs/overlay.md has the commands ${mark}`);
        return found;
      };
      const run = (commands: string, more: Readonly<Record<string, string>> = {}): string => {
        const { cert, key } = authority.issue('root');
        const env = {
          PATH: `${join(etcdctlTool.path, '..')}:${process.env['PATH'] ?? ''}`,
          ETCDCTL_API: '3',
          ETCDCTL_ENDPOINTS: secured.endpoint,
          ETCDCTL_CACERT: authority.ca,
          ETCDCTL_CERT: cert,
          ETCDCTL_KEY: key,
          ...more,
        };
        return execFileSync('sh', ['-euc', commands], {
          env,
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
        });
      };
      before(async () => {
        [secured] = startEtcdMembers({
          folder,
          port: 3379,
          tls: { ca: authority.ca, ...authority.issue('server') },
        }) as [EtcdMember];
        ends.push(secured.end);
        await eventually('etcd answers', async () => (await open(access('root')).list('/')).revision > 0);
        run(script('roles'));
      });

      test('hosts join, publish services, change their records and leave, each with access to its own keys only', async () => {
        const [one, two] = [
          member('node-a', access('node-a'), 'id-host-1'),
          member('node-b', access('node-b'), 'id-host-2'),
        ];
        const publishers = [];
        for (const [index, each] of [one, two].entries()) {
          const lease = await each.client.grant(60);
          await agreeOnNetwork(each, shared);
          await requireName(each);
          assert.equal((await claimSubnets(each, networks, [])).length, 1);
          const publisher = openPublisher({
            member: each,
            networks,
            merged: createMerged(each.host, keys, 1000),
            readLocal: () => [
              {
                service: 'web',
                id: each.host,
                mode: 'vip',
                addresses: [],
                isReady: true,
                aliases: [],
                ports: [tcp80],
                ingressPorts: [tcp80],
                virtualIPs: [],
              },
            ],
            rules: {
              ...noServiceRules,
              ingress: {
                namespaces: ['*'],
                ports: [[30_080, 30_080]],
                privilegedPorts: false,
                heldPorts: false,
              },
            },
            log: { warn: () => undefined },
          });
          publishers.push(publisher);
          ends.push(() => publisher.close());
          await publisher.register(lease);
          assert.deepEqual([...publisher.refused.values()], []);
          await register(each, record(index + 1), lease);
          assert.equal(await mayWriteForOthers(each), false);
        }
        const lease = await one.client.grant(60);
        await register(one, { ...record(1), underlay: '192.0.2.77' }, lease);
        await eventually('the other sees it', () =>
          two.view.keysOf('node-a').has(keys.own('node-a').identity('underlay-192.0.2.77')),
        );
        assert.equal(two.view.portHolder('tcp-30080'), 'web');
        assert.equal(two.view.refused.size, 0);
        await publishers[0]!.leave();
        await leaveNetwork(one);
        await eventually('the other sees that it left', () => two.view.keysOf('node-a').size === 0);
        assert.equal(two.view.portHolder('tcp-30080'), 'web', 'the service is still the other’s');
      });

      test('a host cannot write, delete or lease keys of another host or of an administrator', async () => {
        const [one, two] = [
          member('node-a', access('node-a'), 'id-host-1'),
          member('node-b', access('node-b'), 'id-host-2'),
        ];
        const lease = await two.client.grant(60);
        await register(two, record(2), lease);
        const before_ = JSON.stringify((await two.client.list(keys.own('node-b').all)).pairs);
        const theirs = keys.own('node-b');
        const value = encode({});
        const acts = [
          { put: { key: theirs.record, value } },
          { put: { key: theirs.subnet('10.128.9.0/24'), value } },
          { deleteRange: { key: theirs.record } },
          { deleteRange: { key: keys.all, rangeEnd: `${keys.all}~` } },
          { deleteRange: { key: keys.own('node-a').all, rangeEnd: `${theirs.all}~` } },
          { put: { key: keys.network, value } },
          { put: { key: keys.service('web'), value } },
          { put: { key: keys.host('node-b'), value } },
          { put: { key: keys.subnet('10.128.9.0/24'), value } },
        ];
        for (const act of acts)
          await assert.rejects(
            one.client.transact([], [act]),
            { code: 'OVERLAY_ETCD_DENIED', kind: 'denied' },
            JSON.stringify(act),
          );
        assert.equal(JSON.stringify((await two.client.list(theirs.all)).pairs), before_);
        const asked = {
          client: one.client,
          keys,
          host: 'node-a',
          status: () => assert.fail(),
          rotateKey: () => assert.fail(),
          leave: () => assert.fail(),
          standing: () => [],
        };
        await leaveNetwork(two);
        await claimSubnets(two, networks, []);
        await assert.rejects(answerQuestion({ do: 'release', host: 'node-b' }, asked), {
          code: 'OVERLAY_ETCD_DENIED',
          message: /as an administrator, delete/u,
        });
        await assert.rejects(open(access('stranger')).list(keys.all), { code: 'OVERLAY_ETCD_DENIED' });
      });

      test('an administrator releases a host that is gone, and lets a host spread services, by the commands of the documentation', async () => {
        const two = member('node-b', access('node-b'), 'id-host-2');
        await claimSubnets(two, networks, []);
        run(script('release'));
        assert.equal((await two.client.list(keys.own('node-b').all)).pairs.length, 0);
        run(script('spread'));
        const one = open(access('node-a'));
        await one.transact([], [{ put: { key: keys.service('web'), value: encode({}) } }]);
        await assert.rejects(two.client.transact([], [{ deleteRange: { key: keys.service('web') } }]), {
          code: 'OVERLAY_ETCD_DENIED',
        });
      });
    },
  );
});
