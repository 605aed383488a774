import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, afterEach, before, test } from 'node:test';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { createLogger } from '../../../base/log/index.ts';
import { createNetwork } from '../../manage/conflist-file.ts';
import { connectNetwork, disconnectNetwork } from '../../manage/connect.ts';
import type { ConnectSource } from '../../manage/connect.ts';
import { readNetworkReport } from '../../manage/report.ts';
import type { NetworkEngine } from '../../types.ts';
import { createFixture, eventually, inPrivateNetns, shell, tried } from '../engine.fixture.ts';
import type { Fixture, Pod } from '../engine.fixture.ts';

const coded = (code: string) => (thrown: unknown) => isPortcullisError(thrown) && thrown.code === code;

/** Links of running pods that another program removes, on the real kernel. */
if (inPrivateNetns(import.meta.filename, 240_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let source: ConnectSource;
  before(async () => {
    fixture = createFixture();
    source = {
      databasePath: fixture.databasePath,
      confDir: fixture.confDir,
      choice: { plugins: 'auto', maxConfigs: 1 },
      binDirs: [],
      cacheDir: join(fixture.folder, 'cni'),
      log: createLogger({ level: 'error' }),
    };
    createNetwork(source, {
      name: 'side',
      type: 'bridge',
      subnets: ['10.84.0.0/24'],
      gateways: [],
      masquerade: true,
      separated: true,
      internal: false,
      podNamespaces: [],
      order: '50',
    });
    engine = await fixture.engine();
  });
  after(async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });
  afterEach(() => engine.gc(new Set()));

  const attached = async (name: string): Promise<{ pod: Pod; link: string; address: string }> => {
    const pod = fixture.pod(name);
    const { hostInterface, ips } = await engine.attach(pod.request);
    await engine.setClass(pod.request.id, 'user');
    return { pod, link: hostInterface, address: ips[0]?.address ?? '' };
  };
  const has = (pod: Pod, address: string): true | undefined =>
    (pod.run('ip -o addr show dev eth0') ?? '').includes(` ${address} `) || undefined;
  const pings = (address: string): true | undefined =>
    tried(`busybox ping -c1 -W1 ${address.replace(/\/.*/u, '')}`) === undefined ? undefined : true;
  const statesOf = (network: string): string[] =>
    readNetworkReport(source)
      .networks.filter(({ name }) => name === network)
      .flatMap(({ attachments }) => attachments.map(({ interface: name, state }) => `${name} ${state}`));
  const aliasOf = (link: string): string => /alias (\S+)/u.exec(shell(`ip link show ${link}`))?.[1] ?? '';
  const indexOf = (link: string): string => /^\d+/u.exec(shell(`ip -o link show ${link}`))?.[0] ?? '';
  const leases = (): string[] => fixture.rows('SELECT hex(address) FROM lease');

  test('a link that is deleted while the engine runs is created again with its address, class and alias', async () => {
    const { pod, link, address } = await attached('deleted');
    await eventually(() => pings(address));
    const alias = aliasOf(link);
    assert.match(alias, /^portcullis:[0-9a-f]{16}$/u);
    const index = indexOf(link);
    shell(`ip link del ${link}`);
    await eventually(() => has(pod, address));
    await eventually(() => pings(address));
    assert.notEqual(indexOf(link), index, 'it is a new link');
    assert.equal(aliasOf(link), alias);
    assert.equal((await engine.linkState(pod.request.id))?.lets, 'own packets');
    assert.deepEqual(statesOf('pods'), ['eth0 ready']);
    assert.ok((await engine.figures()).repairs > 0);
  });

  test('a deleted bridge is created again', async () => {
    const { address } = await attached('bridged');
    await eventually(() => pings(address));
    shell('ip link del cni0');
    await eventually(() => pings(address));
  });

  test('a renamed link gets its name back, and a link that was set down or removed from its group is restored', async () => {
    const { pod, link, address } = await attached('renamed');
    await eventually(() => pings(address));
    const index = indexOf(link);
    shell(`ip link set ${link} down && ip link set ${link} name other0 && ip link set other0 up`);
    await eventually(() => (tried(`ip link show ${link}`) === undefined ? undefined : pings(address)));
    assert.equal(indexOf(link), index, 'it is the same link');
    assert.equal(tried('ip link show other0'), undefined);
    assert.equal((await engine.linkState(pod.request.id))?.lets, 'own packets');
    await engine.gc(new Set([pod.request.id]));
    shell(`ip link set ${link} down`);
    await eventually(() => pings(address));
    assert.deepEqual(await engine.gc(new Set([pod.request.id])), { restored: [], lost: [] });
  });

  test('a link that was renamed while no engine ran gets its name back at the start', async () => {
    const { link, address } = await attached('renamed-before');
    await eventually(() => pings(address));
    const index = indexOf(link);
    await engine.close({ removeAll: true });
    shell(`ip link set ${link} down && ip link set ${link} name other1`);
    engine = await fixture.engine();
    assert.equal(indexOf(link), index);
    await eventually(() => pings(address));
  });

  test('a veth pair that a killed daemon left without addresses gets them at the start', async () => {
    const { pod, link, address } = await attached('half-made');
    await eventually(() => pings(address));
    await engine.close({ removeAll: true });
    // The host's end is set up last.
    shell(`ip link set ${link} down`);
    pod.run('ip link set eth0 down');
    pod.run('ip addr flush dev eth0');
    assert.equal(has(pod, address), undefined);
    engine = await fixture.engine();
    assert.equal(has(pod, address), true);
    await eventually(() => pings(address));
  });

  test('a link that is moved to another namespace is replaced, with its address and lease', async () => {
    const { pod, link, address } = await attached('moved');
    await eventually(() => pings(address));
    const held = leases();
    shell('ip netns add elsewhere');
    try {
      shell(`ip link set ${link} netns elsewhere`);
      await eventually(() => (tried(`ip link show ${link}`) === undefined ? undefined : pings(address)));
      assert.equal(
        tried(`ip -n elsewhere link show ${link}`),
        undefined,
        'the pod is on no link without rules',
      );
      assert.deepEqual(leases(), held);
      assert.equal(has(pod, address), true);
      assert.equal((await engine.linkState(pod.request.id))?.lets, 'own packets');
      assert.deepEqual(statesOf('pods'), ['eth0 ready']);
    } finally {
      shell('ip netns del elsewhere');
    }
  });

  for (const [how, change, put] of [
    [
      'renamed',
      (link: string, to: string) =>
        `ip link set ${link} down && ip link set ${link} name ${to} && ip link set ${to} up`,
      '',
    ],
    [
      'moved to another namespace',
      (link: string, to: string) => `ip link set ${link} netns elsewhere name ${to}`,
      '-n elsewhere',
    ],
  ] as const)
    test(`a link that is ${how} and detached before the change is noticed does not outlive its attachment`, async () => {
      shell('ip netns add elsewhere');
      try {
        const made = [];
        for (const name of ['one', 'two', 'three']) made.push(await attached(`${how.split(' ')[0]}-${name}`));
        made.forEach(({ link }, index) => shell(change(link, `stray${index}`)));
        await Promise.all(made.map(({ pod }) => engine.detach(pod.request.id)));
        await eventually(() => (leases().length === 0 ? true : undefined));
        assert.doesNotMatch(shell(`ip ${put} -o link`), /stray/u);
        for (const { pod } of made)
          assert.equal(pod.run('ip link show eth0'), undefined, 'the pod no longer has an interface');
      } finally {
        shell('ip netns del elsewhere');
      }
    });

  test('a link that cannot be restored is reported as lost, keeps its lease over a restart, and its name is not reused', async () => {
    const { pod, link, address } = await attached('taken');
    const held = leases();
    // An obstacle: another interface of the pod has the name.
    shell(
      `nsenter --net=${pod.request.netns} sh -c 'ip link set eth0 down; ip link set eth0 name gone0; ip link add eth0 type bridge' && ip link del ${link}`,
    );
    await eventually(() => (statesOf('pods').includes('eth0 lost') ? true : undefined));
    assert.deepEqual(await engine.gc(new Set([pod.request.id])), { restored: [], lost: [pod.request.id] });
    assert.equal((await engine.figures()).linksLost, 1);
    shell(`nsenter --net=${pod.request.netns} ip link del eth0`);
    // The name is free in the namespace, but still belongs to the pod.
    const asked = { ips: [], aliases: [], target: 'default/taken' };
    await engine.close({ removeAll: true });
    await assert.rejects(
      connectNetwork(source, 'side', { ...asked, interface: 'eth0' }),
      coded('NETWORK_INTERFACE_TAKEN'),
    );
    await assert.rejects(
      connectNetwork(source, 'side', { ...asked, target: pod.request.netns, interface: 'eth0' }),
      coded('NETWORK_INTERFACE_TAKEN'),
    );
    assert.equal((await connectNetwork(source, 'side', asked)).connection.interface, 'eth1');
    await disconnectNetwork(source, 'side', 'default/taken');
    shell(`nsenter --net=${pod.request.netns} ip link add eth0 type bridge`);
    engine = await fixture.engine();
    assert.deepEqual(
      engine.list().map(({ id }) => id),
      [pod.request.id],
      'the attachment of a running pod remains after a restart',
    );
    assert.deepEqual(leases(), held);
    assert.deepEqual(statesOf('pods'), ['eth0 lost']);
    shell(`nsenter --net=${pod.request.netns} ip link del eth0`);
    assert.deepEqual(await engine.gc(new Set([pod.request.id])), { restored: [pod.request.id], lost: [] });
    assert.equal((await engine.figures()).linksLost, 0);
    assert.equal(has(pod, address), true);
    assert.deepEqual(statesOf('pods'), ['eth0 ready']);
  });

  test('the interface of a pod that deletes it again and again is restored less and less often', async () => {
    const { pod, address } = await attached('restless');
    let returns = 0;
    for (const deadline = performance.now() + 6000; performance.now() < deadline; await pause(50))
      if (has(pod, address) === true) {
        returns += 1;
        pod.run('ip link del eth0');
      }
    // The first interface, and its repetition at once, after 1 and after 3 seconds. Without pauses it would
    // be twelve times.
    assert.ok(returns <= 5, String(returns));
    await eventually(() => has(pod, address));
  });

  test('interfaces that commands added to a pod are restored, too', async () => {
    const { pod } = await attached('connected');
    await connectNetwork(source, 'side', { ips: [], aliases: [], target: 'default/connected' });
    const [link = ''] = fixture.rows("SELECT host_interface FROM attachment WHERE network = 'side'");
    shell(`ip link del ${link}`);
    await eventually(() => (pod.run('ip -o addr show dev eth1') ?? '').includes(' 10.84.0.') || undefined);
    await eventually(() => (statesOf('side').includes('eth1 ready') ? true : undefined));
  });

  test('links of another root are not touched while the engine runs, and keep another engine from starting', async () => {
    const { pod, link } = await attached('mine');
    shell(
      'ip link add pc000000000001 group 1885536257 type veth peer name other1 && ip link set pc000000000001 alias portcullis:0123456789abcdef',
    );
    shell('ip link add pc000000000002 group 1885536257 type veth peer name other2');
    shell(
      `ip link set pc000000000001 master cni0; ip link add pc000000000003 group 1885536257 type veth peer name own3`,
    );
    shell(`ip link set pc000000000003 alias ${aliasOf(link)}`);
    await engine.gc(new Set());
    const exists = (name: string): boolean => tried(`ip link show ${name}`) !== undefined;
    assert.deepEqual(
      [link, 'pc000000000001', 'pc000000000002', 'pc000000000003'].map(exists),
      [false, true, true, false],
      'its own links alone are removed',
    );
    await engine.close({ removeAll: true });
    assert.ok(exists('cni0'), 'a bridge with a link of another root stays');
    const before = fixture.kernelState();
    await assert.rejects(fixture.engine(), (thrown: unknown) => {
      assert.ok(isPortcullisError(thrown) && thrown.code === 'NETWORK_LINKS_OF_ANOTHER_ROOT', String(thrown));
      assert.match(thrown.message, /pc000000000001 \(portcullis:0123456789abcdef\), pc000000000002/u);
      return true;
    });
    assert.equal(fixture.kernelState(), before, 'nothing was changed');
    shell('ip link del pc000000000001; ip link del pc000000000002');
    engine = await fixture.engine();
    assert.equal(engine.get(pod.request.id), undefined);
  });

  test('links that an older version created get the alias of the root at the first start', async () => {
    const { link, address } = await attached('older');
    await engine.close({ removeAll: true });
    shell(`ip link set ${link} alias ''`);
    engine = await fixture.engine();
    assert.match(aliasOf(link), /^portcullis:/u);
    await eventually(() => pings(address));
  });
}
