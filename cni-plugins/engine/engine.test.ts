import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { after, afterEach, before, test } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { NetworkEngine } from '../types.ts';
import { conflist, createFixture, eventually, inPrivateNetns, shell, tried } from './engine.fixture.ts';
import type { Fixture, Pod } from './engine.fixture.ts';

const coded = (code: string) => (thrown: unknown) => isPortcullisError(thrown) && thrown.code === code;

if (inPrivateNetns(import.meta.filename)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let pristine: string;
  const get = (url: string): string | undefined => tried(`timeout 0.4 busybox wget -q -O - ${url}`);
  const getFrom = (pod: Pod, url: string): string | undefined =>
    pod.run(`timeout 0.4 busybox wget -q -O - ${url}`);
  /** A neighbour that did not answer while it was denied is asked again after a second. */
  const settles = async (attempt: () => unknown, expected: unknown): Promise<void> => {
    await eventually(() => isDeepStrictEqual(attempt(), expected) || undefined, 20_000);
  };
  const addressOf = (pod: Pod, index = 0): string =>
    engine.get(pod.request.id)?.ips[index]?.address.split('/')[0] ?? '';
  const serve = async (pod: Pod): Promise<void> => {
    const root = join(fixture.folder, pod.request.pod.name);
    mkdirSync(root);
    writeFileSync(join(root, 'index.html'), pod.request.pod.name);
    fixture.start('nsenter', `--net=${pod.request.netns}`, 'busybox', 'httpd', '-f', '-p', '80', '-h', root);
    await eventually(() => getFrom(pod, 'http://127.0.0.1/'));
  };

  before(async () => {
    fixture = createFixture();
    pristine = fixture.kernelState();
    engine = await fixture.engine();
  });
  after(async () => {
    await engine.close({ removeAll: true });
    assert.equal(fixture.kernelState(), pristine);
    fixture.end();
  });

  afterEach(() => engine.gc(new Set()));

  test('nothing is made before the first attachment', () => {
    assert.equal(fixture.kernelState(), pristine);
  });

  test('a pod is denied until its class is raised, and after its class is lowered again', async () => {
    const [web, client] = [fixture.pod('web'), fixture.pod('client')];
    const attachment = await engine.attach(web.request);
    await engine.attach(client.request);
    assert.deepEqual(
      attachment.ips.map(({ gateway }) => gateway),
      ['10.88.0.1', 'fd00:88::1'],
    );
    assert.equal(attachment.class, 'deny');
    await serve(web);
    const four = `http://${addressOf(web)}/`;
    const six = `http://[${addressOf(web, 1)}]/`;
    const all = (): (string | undefined)[] => [
      get(four),
      get(six),
      getFrom(client, four),
      getFrom(client, six),
    ];
    assert.deepEqual(all(), [undefined, undefined, undefined, undefined]);
    await engine.setClass(web.request.id, 'user');
    assert.equal(engine.get(web.request.id)?.class, 'user');
    await settles(all, ['web', 'web', undefined, undefined]);
    await engine.setClass(client.request.id, 'user');
    await settles(all, ['web', 'web', 'web', 'web']);
    await engine.setClass(web.request.id, 'none');
    assert.deepEqual(all(), [undefined, undefined, undefined, undefined]);
    await engine.setClass(web.request.id, 'user');
    await engine.setClass(web.request.id, 'deny');
    assert.deepEqual(all(), [undefined, undefined, undefined, undefined]);
  });

  test('attach is idempotent, and detach of an unknown pod succeeds', async () => {
    const pod = fixture.pod('again');
    const first = await engine.attach(pod.request);
    assert.deepEqual(await engine.attach(pod.request), first);
    assert.deepEqual(engine.list(), [first]);
    await engine.detach(pod.request.id);
    await engine.detach(pod.request.id);
    await engine.detach('never seen');
    assert.equal(engine.get(pod.request.id), undefined);
    // The same namespace again at once: the former link may not be gone yet.
    const second = await engine.attach(pod.request);
    assert.notDeepEqual(second.ips, first.ips);
  });

  test('a host port at 0.0.0.0 or :: answers at the addresses of that family only, as with docker and portmap', async () => {
    const [four, six] = [
      { protocol: 'tcp', containerPort: 80, hostPort: 8082, hostIp: '0.0.0.0' },
      { protocol: 'tcp', containerPort: 80, hostPort: 8082, hostIp: '::' },
    ] as const;
    const both = [fixture.pod('four', { portMappings: [four] }), fixture.pod('six', { portMappings: [six] })];
    for (const pod of both) {
      await engine.attach(pod.request);
      await serve(pod);
      await engine.setClass(pod.request.id, 'user');
    }
    await settles(() => get('http://10.88.0.1:8082/'), 'four');
    await settles(() => get('http://[fd00:88::1]:8082/'), 'six');
    await engine.detach(both[0]?.request.id ?? '');
    assert.equal(get('http://10.88.0.1:8082/'), undefined);
    await engine.detach(both[1]?.request.id ?? '');
  });

  test('a host port answers on 127.0.0.1, on the bridge and from all pods, its own pod included, and belongs to one pod', async () => {
    const port = { protocol: 'tcp', containerPort: 80, hostPort: 8080 } as const;
    // Kubernetes accepts a port at every address and at one of them.
    const portMappings = [port, { ...port, hostIp: '::ffff:127.0.0.1' }];
    const [web, client] = [fixture.pod('ported', { portMappings }), fixture.pod('caller')];
    await engine.attach(web.request);
    await engine.attach(client.request);
    await serve(web);
    assert.equal(get('http://127.0.0.1:8080/'), undefined);
    // Whether the pod may have the port is decided with its containers: until one is started, nothing is
    // taken from the host.
    const leads = (): boolean =>
      ['ip', 'ip6'].some((family) => /\b8080\b/u.test(shell(`nft list table ${family} portcullis`)));
    assert.equal(leads(), false, 'while the link is closed');
    await engine.setClass(web.request.id, 'user');
    assert.equal(leads(), true);
    await engine.setClass(web.request.id, 'none');
    assert.equal(leads(), false, 'nor under network.none');
    for (const pod of [web, client]) await engine.setClass(pod.request.id, 'user');
    for (const url of ['http://127.0.0.1:8080/', 'http://10.88.0.1:8080/', 'http://[fd00:88::1]:8080/'])
      await settles(() => get(url), 'ported');
    for (const pod of [web, client]) await settles(() => getFrom(pod, 'http://10.88.0.1:8080/'), 'ported');
    const before = fixture.kernelState();
    const thief = fixture.pod('thief', {
      portMappings: [{ protocol: 'tcp', containerPort: 1, hostPort: 8080, hostIp: '127.0.0.1' }],
    });
    await assert.rejects(engine.attach(thief.request), (thrown: unknown) => {
      assert.ok(isPortcullisError(thrown) && thrown.code === 'NETWORK_HOST_PORT_TAKEN');
      assert.match(thrown.message, /default\/ported/u);
      return true;
    });
    assert.equal(fixture.kernelState(), before);
    await engine.detach(web.request.id);
    assert.equal(get('http://127.0.0.1:8080/'), undefined);
    assert.equal(leads(), false, 'after the pod');
  });

  test('a bridge of others keeps its MAC address whatever pods come and go, and gets one if it has none', async () => {
    const macOf = (): string => /link\/ether (\S+)/u.exec(shell('ip link show dev cni0'))?.[1] ?? '';
    const leave = 'ip link add p0 type veth peer name p1; ip link set p0 master cni0; ip link del p0';
    await engine.gc(new Set());
    tried('ip link del cni0');
    shell(`ip link add cni0 type bridge; ${leave}; ip link set cni0 up`);
    const pods = ['first', 'second', 'third'].map((name) => fixture.pod(`foreign-${name}`));
    const macs = new Set<string>();
    for (const pod of pods) {
      await engine.attach(pod.request);
      macs.add(macOf());
    }
    for (const pod of pods) {
      await engine.detach(pod.request.id);
      macs.add(macOf());
    }
    await engine.gc(new Set());
    assert.equal(macs.size, 1, [...macs].join());
    assert.ok(!macs.has('00:00:00:00:00:00'));
    shell('ip link del cni0');
  });

  test('a UDP sender that never pauses follows the host port to its next holder', async () => {
    const echo = (name: string): string =>
      `const s=require('dgram').createSocket('udp4');s.on('message',(m,r)=>s.send(${JSON.stringify(name)},r.port,r.address));s.bind(53)`;
    const client = createSocket('udp4');
    client.bind(0, '127.0.0.1');
    let heard = '';
    client.on('message', (message) => (heard = message.toString()));
    const sending = setInterval(() => client.send('?', 5353, '127.0.0.1', () => undefined), 10);
    client.on('error', () => undefined);
    for (const name of ['first', 'second']) {
      const pod = fixture.pod(`udp-${name}`, {
        portMappings: [{ protocol: 'udp', containerPort: 53, hostPort: 5353 }],
      });
      await eventually(() => engine.list().length === 0 || undefined);
      await engine.attach(pod.request);
      await engine.setClass(pod.request.id, 'user');
      fixture.start('nsenter', `--net=${pod.request.netns}`, process.execPath, '-e', echo(name));
      await eventually(() => (heard === name ? true : undefined), 20_000);
      await engine.detach(pod.request.id);
      await engine.gc(new Set());
    }
    clearInterval(sending);
    client.close();
  });

  test('traffic to another network is masqueraded, also if the destination port is a host port here', async () => {
    const outside = join(fixture.folder, 'outside');
    shell(
      `touch ${outside}; unshare --net=${outside} true; ip link add out0 type veth peer name eth0 netns ${outside}`,
    );
    shell(
      `ip addr add 198.51.100.1/24 dev out0; ip link set out0 up; nsenter --net=${outside} sh -c 'ip link set lo up; ip addr add 198.51.100.2/24 dev eth0; ip link set eth0 up'`,
    );
    const report =
      "require('net').createServer(s=>s.on('error',()=>0).end(s.remoteAddress)).listen(9000,'198.51.100.2')";
    fixture.start('nsenter', `--net=${outside}`, process.execPath, '-e', report);
    // The port forward of another pod applies only to the host's own addresses (CVE-2025-67499: it applied to
    // every destination).
    const holder = fixture.pod('holder', {
      portMappings: [{ protocol: 'tcp', containerPort: 1, hostPort: 9000 }],
    });
    await engine.attach(holder.request);
    await engine.setClass(holder.request.id, 'user');
    const pod = fixture.pod('leaving');
    await engine.attach(pod.request);
    assert.equal(pod.run('timeout 1 busybox nc 198.51.100.2 9000 </dev/null'), undefined);
    await engine.setClass(pod.request.id, 'user');
    assert.equal(await eventually(() => pod.run('timeout 1 busybox nc 198.51.100.2 9000')), '198.51.100.1');
    await engine.gc(new Set());
    shell(`ip link del out0; umount ${outside}`);
  });

  test('a pod with all capabilities cannot send as another, reach the host loopback, or speak anything but IP and ARP', async () => {
    const host = createHttpServer((_request, response) => response.end('host loopback')).listen(
      0,
      '127.0.0.1',
    );
    await once(host, 'listening');
    const port = (host.address() as { port: number }).port;
    const web = createHttpServer((_request, response) => response.end('gateway')).listen(8081, '10.88.0.1');
    await once(web, 'listening');
    const pod = fixture.pod('spoofer');
    await engine.attach(pod.request);
    await engine.setClass(pod.request.id, 'user');
    const own = engine.get(pod.request.id)?.interface.mac ?? '';
    const address = addressOf(pod);
    /** An answer may take long on a busy machine; a dropped packet is not waited for. */
    const reaches = async (isExpected: boolean, url = 'http://10.88.0.1:8081/'): Promise<boolean> => {
      const child = fixture.start(
        'nsenter',
        `--net=${pod.request.netns}`,
        'timeout',
        isExpected ? '30' : '0.4',
        'busybox',
        'wget',
        '-q',
        '-O',
        '/dev/null',
        url,
      );
      const [code] = (await once(child, 'exit')) as [number | null];
      return code === 0;
    };
    assert.equal(await reaches(true), true);
    pod.run('ip link set eth0 address 0a:58:0a:58:00:63');
    assert.equal(await reaches(false), false);
    pod.run(`ip link set eth0 address ${own}`);
    assert.equal(await reaches(true), true);
    pod.run(`sh -c 'ip addr flush dev eth0; ip addr add 10.88.0.99/24 dev eth0'`);
    assert.equal(await reaches(false), false);
    pod.run(
      `sh -c 'ip addr flush dev eth0; ip addr add ${address}/24 dev eth0; ip route add default via 10.88.0.1'`,
    );
    assert.equal(await reaches(true), true);
    pod.run(
      `sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1 via 10.88.0.1 src ${address}'`,
    );
    assert.equal(await reaches(false, `http://127.0.0.1:${port}/`), false);
    host.close();
    web.close();
  });

  test('a failed attach leaves nothing', async () => {
    const before = fixture.kernelState();
    const pod = fixture.pod('occupied');
    pod.run('ip link add eth0 type bridge');
    await assert.rejects(engine.attach(pod.request), coded('NETWORK_KERNEL_EEXIST'));
    await assert.rejects(
      engine.attach({ ...pod.request, netns: '/nowhere' }),
      coded('NETWORK_NETNS_MISSING'),
    );
    await assert.rejects(
      engine.attach({ ...pod.request, netns: '/proc/self/ns/net' }),
      coded('NETWORK_NETNS_INVALID'),
    );
    await assert.rejects(
      engine.attach({ ...pod.request, netns: '/etc/passwd' }),
      coded('NETWORK_NETNS_INVALID'),
    );
    await assert.rejects(
      engine.attach({ ...pod.request, netns: '/proc/self/ns/ipc' }),
      coded('NETWORK_NETNS_INVALID'),
    );
    await assert.rejects(
      engine.attach({
        ...pod.request,
        portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort: 70000 }],
      }),
      coded('NETWORK_BAD_PORT_MAPPING'),
    );
    await assert.rejects(engine.setClass('nobody', 'user'), coded('NETWORK_NOT_ATTACHED'));
    assert.equal(fixture.kernelState(), before);
    assert.deepEqual(engine.list(), []);
  });

  test('a pod is attached if index 2 is taken in its namespace, and detached if its namespace is gone', async () => {
    const pod = fixture.pod('second');
    pod.run('ip link add other type bridge');
    await engine.attach(pod.request);
    assert.match(pod.run('ip -4 addr show eth0') ?? '', /inet 10\.88\.0\./u);
    shell(`umount ${pod.request.netns}`);
    await engine.detach(pod.request.id);
  });

  test('rules that another program removed are recreated', async () => {
    const pod = fixture.pod('flushed');
    await engine.attach(pod.request);
    const rules = fixture.kernelState();
    shell('nft flush ruleset');
    assert.equal((await engine.status()).ready, true);
    assert.equal(fixture.kernelState(), rules);
    // The tables exist, but they deny nothing any more.
    for (const chain of [
      'bridge portcullis prerouting',
      'bridge portcullis closed_from',
      'ip portcullis host_ports_of',
    ]) {
      shell(`nft flush chain ${chain}`);
      assert.equal((await engine.status()).ready, true);
      assert.equal(fixture.kernelState(), rules, chain);
    }
    shell('nft flush ruleset');
    await engine.setClass(pod.request.id, 'user');
    assert.match(shell('nft list table bridge portcullis'), /pcflushed|pc[0-9a-f]{12}/u);
    await serve(pod);
    await settles(() => get(`http://${addressOf(pod)}/`), 'flushed');
  });

  test('a broken conflist is reported with its position, and the engine continues', async () => {
    const file = join(fixture.confDir, '10-pods.conflist');
    writeFileSync(file, '{\n  "name": "pods",\n  "plugins": [ { "type": "bridge", } ]\n}');
    const status = await engine.status();
    assert.equal(status.ready, false);
    assert.equal(status.reason, 'NetworkConflistInvalid');
    assert.ok(status.message.includes(`${file}:3:36: `), status.message);
    const pod = fixture.pod('unlucky');
    await assert.rejects(engine.attach(pod.request), coded('NETWORK_CONFLIST_INVALID'));
    writeFileSync(file, JSON.stringify(conflist({ type: 'calico' })));
    assert.equal((await engine.status()).reason, 'NetworkPluginUnsupported');
    // Each ADD would refuse it, also in a version of CNI without STATUS.
    writeFileSync(file, JSON.stringify(conflist({ brige: 'b' })));
    const refused = await engine.status();
    assert.deepEqual([refused.ready, refused.reason], [false, 'NetworkConfigInvalid']);
    assert.match(refused.message, /unknown field "brige": did you mean 'bridge'/u);
    writeFileSync(file, JSON.stringify(conflist({ mtu: 1400 })));
    assert.deepEqual((await engine.status()).networks, ['pods']);
    assert.equal((await engine.attach(pod.request)).interface.mtu, 1400);
  });

  test('plugins after the bridge change the interface, also by the names of their binaries; their changes end with it', async () => {
    const plain = conflist() as { plugins: { type: string; ipam?: object }[] };
    const [first, ...rest] = plain.plugins;
    const chained = [
      { ...first, type: 'portcullis-bridge', ipam: { ...first?.ipam, type: 'portcullis-ipam' } },
      ...rest,
      { type: 'portcullis-tuning', sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1' } },
      { type: 'bandwidth', ingressRate: 8_000_000, ingressBurst: 8_000_000 },
    ];
    writeFileSync(join(fixture.confDir, '10-pods.conflist'), JSON.stringify({ ...plain, plugins: chained }));
    const pod = fixture.pod('chained');
    const attachment = await engine.attach(pod.request);
    assert.equal(pod.run('cat /proc/sys/net/ipv4/conf/eth0/arp_filter'), '1\n');
    assert.match(shell(`tc qdisc show dev ${attachment.hostInterface}`), /tbf.*rate 8Mbit/u);
    await engine.detach(pod.request.id);
    const broken = { ...plain, plugins: [...chained, { type: 'tuning', sysctl: { 'kernel.panic': '1' } }] };
    writeFileSync(join(fixture.confDir, '10-pods.conflist'), JSON.stringify(broken));
    const before = fixture.kernelState();
    await assert.rejects(engine.attach(fixture.pod('unchained').request), coded('NETWORK_CONFIG_INVALID'));
    await eventually(() => engine.list().length === 0 || undefined);
    assert.equal(fixture.kernelState().includes('unchained'), before.includes('unchained'));
    writeFileSync(join(fixture.confDir, '10-pods.conflist'), JSON.stringify(plain));
  });

  test('attachments outlive the engine; a lost link is created again with its address and class', async () => {
    const [kept, lost] = [fixture.pod('kept'), fixture.pod('lost')];
    const { hostInterface } = await engine.attach(kept.request);
    const attachment = await engine.attach(lost.request);
    await engine.setClass(lost.request.id, 'user');
    await engine.close({ removeAll: true });
    shell(
      `ip link del ${attachment.hostInterface}; ip link add pcffffffffffff group 1885536257 type bridge; nft flush ruleset`,
    );
    shell(`ip link set pcffffffffffff alias $(ip link show ${hostInterface} | sed -n 's/.*alias //p')`);
    engine = await fixture.engine();
    assert.deepEqual(
      engine.list().map(({ id }) => id),
      [kept.request.id, lost.request.id],
    );
    assert.deepEqual(engine.get(lost.request.id), { ...attachment, class: 'user' });
    assert.equal(tried('ip link show pcffffffffffff'), undefined);
    await serve(lost);
    await settles(() => get(`http://${addressOf(lost)}/`), 'lost');
    await engine.gc(new Set());
    assert.deepEqual(engine.list(), []);
  });
}
