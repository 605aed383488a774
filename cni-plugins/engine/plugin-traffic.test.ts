import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { eventually, inPrivateNetns, shell, tried } from './engine.fixture.ts';
import { bridgeConf, createPluginFixture, portmapConf } from '../plugin-engine/plugin-engine.fixture.ts';
import type { Of, PluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';

/**
 * Tests plugin attachments with packets: both families, between pods, through host ports, out of the host,
 * and in a host namespace that is not ours.
 */
if (inPrivateNetns(import.meta.filename)) {
  let fixture: PluginFixture;
  const children: ChildProcess[] = [];
  before(() => {
    fixture = createPluginFixture();
  });
  after(async () => {
    for (const child of children) child.kill('SIGKILL');
    await fixture.end();
  });

  const start = (command: string): void => {
    children.push(spawn('sh', ['-c', `exec ${command}`], { stdio: 'ignore' }));
  };
  const serve = async (pod: Of): Promise<void> => {
    const root = join(fixture.folder, `www-${pod.id}`);
    mkdirSync(root);
    writeFileSync(join(root, 'index.html'), pod.id);
    start(`nsenter --net=${pod.netns} busybox httpd -f -p '[::]:80' -h ${root}`);
    await eventually(() => fixture.inside(pod.netns, 'busybox wget -q -O - http://127.0.0.1/'));
  };
  const get = (url: string, from?: Of): string | undefined =>
    tried(`${from === undefined ? '' : `nsenter --net=${from.netns} `}timeout 1 busybox wget -q -O - ${url}`);

  test('with dual stack, pods reach each other, and a host port works at every host address, from its own pod, and for one pod only', async () => {
    const [web, client] = [
      { id: 'web', netns: fixture.pin('web') },
      { id: 'client', netns: fixture.pin('client') },
    ];
    const chain = [
      bridgeConf(),
      portmapConf(
        { hostPort: 8080, containerPort: 80 },
        { hostPort: 8080, containerPort: 80, hostIP: '0.0.0.0' },
        { hostPort: 8080, containerPort: 80, hostIP: '::ffff:127.0.0.1' },
        { hostPort: 8081, containerPort: 80, hostIP: '10.90.0.1' },
      ),
      { type: 'portcullis-loopback' },
    ];
    const result = await fixture.add(chain, web);
    await fixture.add([bridgeConf(), { type: 'portcullis-loopback' }], client);
    await serve(web);
    const [four = '', six = ''] = result.ips.map(({ address }) => address.split('/')[0] ?? '');
    for (const url of [`http://${four}/`, `http://[${six}]/`]) {
      assert.equal(await eventually(() => get(url)), 'web', url);
      assert.equal(await eventually(() => get(url, client)), 'web', url);
    }
    for (const url of [
      'http://127.0.0.1:8080/',
      'http://10.90.0.1:8080/',
      'http://[fd00:90::1]:8080/',
      'http://10.90.0.1:8081/',
    ])
      assert.equal(await eventually(() => get(url)), 'web', url);
    for (const url of ['http://10.90.0.1:8080/', 'http://[fd00:90::1]:8080/'])
      for (const from of [client, web])
        assert.equal(await eventually(() => get(url, from)), 'web', `${url} from ${from.id}`);
    assert.equal(get('http://127.0.0.1:8081/'), undefined);
    await fixture.del(chain, web);
    await fixture.del([bridgeConf()], client);
    assert.equal(get('http://127.0.0.1:8080/'), undefined);
  });

  test('traffic to another network is masqueraded, in both families', async () => {
    const outside = fixture.pin('outside');
    shell(
      `ip link add out0 type veth peer name eth0 netns ${outside}; ip addr add 198.51.100.1/24 dev out0; ip addr add 2001:db8::1/64 dev out0 nodad; ip link set out0 up
       nsenter --net=${outside} sh -c 'ip link set lo up; ip addr add 198.51.100.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up'`,
    );
    const report =
      "require('net').createServer(s=>s.on('error',()=>0).end(s.remoteAddress)).listen(9000,'::')";
    start(`nsenter --net=${outside} ${process.execPath} -e "${report}"`);
    // The port forward of another pod applies only to the host's own addresses (CVE-2025-67499: it applied to
    // every destination).
    const holder = { id: 'holder', netns: fixture.pin('holder') };
    const ported = [bridgeConf(), portmapConf({ hostPort: 9000, containerPort: 1 })];
    await fixture.add(ported, holder);
    const pod = { id: 'leaving', netns: fixture.pin('leaving') };
    await fixture.add([bridgeConf()], pod);
    const seenAs = (address: string): string | undefined =>
      fixture.inside(pod.netns, `timeout 1 busybox nc ${address} 9000 </dev/null`);
    assert.equal(await eventually(() => seenAs('198.51.100.2'), 20_000), '::ffff:198.51.100.1');
    assert.equal(await eventually(() => seenAs('2001:db8::2'), 20_000), '2001:db8::1');
    await fixture.del([bridgeConf()], pod);
    await fixture.del(ported, holder);
    shell('ip link del out0');
  });

  test('a pod behind a host port sees the address of the client, with masqAll that of the host, and without snat always that of the client', async () => {
    const client = fixture.pin('afar');
    shell(
      `ip link add out0 type veth peer name eth0 netns ${client}; ip addr add 198.51.100.1/24 dev out0; ip addr add 2001:db8::1/64 dev out0 nodad; ip link set out0 up
       nsenter --net=${client} sh -c 'ip link set lo up; ip addr add 198.51.100.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up; ip route add default via 198.51.100.1; ip -6 route add default via 2001:db8::1'`,
    );
    const report =
      "require('net').createServer(s=>s.on('error',()=>0).end(s.remoteAddress)).listen(9000,'::')";
    for (const [index, [fields, four, six]] of [
      [{}, '::ffff:198.51.100.2', '2001:db8::2'],
      [{ masqAll: true }, '::ffff:10.90.0.1', 'fd00:90::1'],
      [{ snat: false }, '::ffff:198.51.100.2', '2001:db8::2'],
      [{ snat: false, masqAll: true }, '::ffff:198.51.100.2', '2001:db8::2'],
    ].entries() as Iterable<[number, [object, string, string]]>) {
      const pod = { id: `seen-${index}`, netns: fixture.pin(`seen-${index}`) };
      const chain = [bridgeConf(), { ...portmapConf({ hostPort: 8090, containerPort: 9000 }), ...fields }];
      await fixture.add(chain, pod);
      start(`nsenter --net=${pod.netns} ${process.execPath} -e "${report}"`);
      const seenAs = (address: string): string | undefined =>
        fixture.inside(client, `timeout 1 busybox nc ${address} 8090 </dev/null`);
      assert.equal(await eventually(() => seenAs('198.51.100.1'), 20_000), four, JSON.stringify(fields));
      assert.equal(await eventually(() => seenAs('2001:db8::1'), 20_000), six, JSON.stringify(fields));
      await fixture.del(chain, pod);
    }
    shell('ip link del out0');
  });

  test('conditions of portmap decide which clients a host port leads to the pod', async () => {
    const client = fixture.pin('conditional');
    shell(
      `ip link add out0 type veth peer name eth0 netns ${client}; ip addr add 198.51.100.1/24 dev out0; ip addr add 2001:db8::1/64 dev out0 nodad; ip link set out0 up
       nsenter --net=${client} sh -c 'ip link set lo up; ip addr add 198.51.100.2/24 dev eth0; ip addr add 198.51.100.3/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up'`,
    );
    const asking =
      "const [localAddress,host]=process.argv.slice(1);require('net').connect({host,localAddress,port:8095}).on('error',()=>0).pipe(process.stdout)";
    const from = (source: string, target: string): boolean =>
      fixture.inside(client, `timeout 1 ${process.execPath} -e "${asking}" ${source} ${target}`) === 'here';
    const other = { id: 'unconditional', netns: fixture.pin('unconditional') };
    await fixture.add([bridgeConf(), portmapConf({ hostPort: 8096, containerPort: 9000 })], other);
    for (const [index, [conditions, two, three, six]] of [
      [{ conditionsV4: ['-s', '198.51.100.2'] }, true, false, true],
      [{ conditionsV4: ['!', '-s', '198.51.100.2/32', '-d', '198.51.100.0/24'] }, false, true, true],
      [{ conditionsV4: ['ip', 'saddr', '{', '198.51.100.2,', '192.0.2.0/24', '}'] }, true, false, true],
      [{ conditionsV4: ['iifname != "out0"'], conditionsV6: ['ip6 saddr 2001:db8::2'] }, false, false, true],
      [{ conditionsV4: ['-i', 'out0'], conditionsV6: ['ip6 daddr != 2001:db8::/64'] }, true, true, false],
    ].entries() as Iterable<[number, [object, boolean, boolean, boolean]]>) {
      const pod = { id: `conditional-${index}`, netns: fixture.pin(`conditional-${index}`) };
      const chain = [
        bridgeConf(),
        { ...portmapConf({ hostPort: 8095, containerPort: 9000 }), ...conditions },
      ];
      const result = await fixture.add(chain, pod);
      const answering = "require('net').createServer(s=>s.on('error',()=>0).end('here')).listen(9000,'::')";
      start(`nsenter --net=${pod.netns} ${process.execPath} -e "${answering}"`);
      const seen = (): readonly boolean[] => [
        from('198.51.100.2', '198.51.100.1'),
        from('198.51.100.3', '198.51.100.1'),
        from('2001:db8::2', '2001:db8::1'),
      ];
      const wanted = [two, three, six];
      const areSeen = (): Promise<true> =>
        eventually(() => (seen().join() === wanted.join() ? true : undefined), 20_000);
      await areSeen();
      await fixture.check(chain, pod, result);
      shell(`nft flush chain ip portcullis_plugins host_ports_of`);
      await assert.rejects(fixture.check(chain, pod, result), /lacks rules of host_ports_of/u);
      await fixture.call('status', chain[0] ?? bridgeConf(), pod);
      await areSeen();
      await fixture.del(chain, pod);
      assert.doesNotMatch(shell('nft list ruleset'), /guard_/u);
    }
    await fixture.del([bridgeConf(), portmapConf({ hostPort: 8096, containerPort: 9000 })], other);
    shell('ip link del out0');
  });

  test('a network with IPv6 only works, and gets the MTU of the default route', async () => {
    shell(
      'ip link add up0 mtu 1380 type bridge; ip addr add 2001:db8:1::1/64 dev up0 nodad; ip link set up0 up; ip -6 route add default via 2001:db8:1::2',
    );
    const conf = bridgeConf({ bridge: 'br6', ipam: { type: 'host-local', subnet: 'fd00:96::/64' } });
    const pods = ['six-a', 'six-b'].map((id) => ({ id, netns: fixture.pin(id) }));
    const results = [];
    for (const pod of pods) results.push(await fixture.add([conf], pod));
    const [a, b] = pods as [Of, Of];
    assert.equal(results[0]?.interfaces[2]?.mtu, 1380);
    assert.match(fixture.inside(a.netns, 'ip link show eth0') ?? '', /mtu 1380/u);
    const other = results[1]?.ips[0]?.address.split('/')[0] ?? '';
    assert.ok(fixture.inside(a.netns, `busybox ping -6 -c1 -W1 ${other}`));
    assert.ok(fixture.inside(a.netns, `busybox ping -6 -c1 -W1 fd00:96::1`));
    for (const [index, pod] of [a, b].entries()) {
      await fixture.check([conf], pod, results[index] ?? { interfaces: [], ips: [], routes: [], dns: {} });
      await fixture.del([conf], pod);
    }
    shell('ip link del up0');
  });

  test('macspoofchk binds a pod to its MAC address, portIsolation isolates ports, hairpin and promiscuous modes are set', async () => {
    const conf = bridgeConf({
      bridge: 'br7',
      macspoofchk: true,
      portIsolation: true,
      hairpinMode: true,
      ipam: { type: 'ipam', subnet: '10.97.0.0/24' },
    });
    const pods = ['apart-a', 'apart-b'].map((id) => ({ id, netns: fixture.pin(id) }));
    const results = [];
    for (const pod of pods) results.push(await fixture.add([conf], pod));
    const [a] = pods as [Of, Of];
    const other = results[1]?.ips[0]?.address.split('/')[0] ?? '';
    const own = results[0]?.interfaces[2]?.mac ?? '';
    const reaches = (address: string): boolean =>
      fixture.inside(a.netns, `busybox ping -c1 -W1 ${address}`) !== undefined;
    assert.equal(reaches('10.97.0.1'), true);
    assert.equal(reaches(other), false);
    fixture.inside(a.netns, 'ip link set eth0 address 02:11:22:33:44:55');
    assert.equal(reaches('10.97.0.1'), false);
    fixture.inside(a.netns, `ip link set eth0 address ${own}`);
    assert.equal(reaches('10.97.0.1'), true);
    assert.match(
      shell(`ip -d link show ${results[0]?.interfaces[1]?.name ?? ''}`),
      /hairpin on[^]*isolated on/u,
    );
    for (const pod of pods) await fixture.del([conf], pod);
    const promiscuous = bridgeConf({
      bridge: 'br7',
      promiscMode: true,
      ipam: { type: 'ipam', subnet: '10.97.0.0/24' },
    });
    await fixture.add([promiscuous], a);
    assert.match(shell('ip link show br7'), /PROMISC/u);
    await fixture.del([promiscuous], a);
  });

  test('a UDP sender that never pauses follows the host port to its next holder', async () => {
    const echo = (name: string): string =>
      `const s=require('dgram').createSocket('udp4');s.on('message',(m,r)=>s.send('${name}',r.port,r.address));s.bind(53)`;
    const { createSocket } = await import('node:dgram');
    const client = createSocket('udp4');
    client.bind(0, '127.0.0.1');
    client.on('error', () => undefined);
    let heard = '';
    client.on('message', (message) => (heard = message.toString()));
    const sending = setInterval(() => client.send('?', 5354, '127.0.0.1', () => undefined), 10);
    for (const id of ['udp-first', 'udp-second']) {
      const pod = { id, netns: fixture.pin(id) };
      const chain = [bridgeConf(), portmapConf({ hostPort: 5354, containerPort: 53, protocol: 'UDP' })];
      await fixture.add(chain, pod);
      start(`nsenter --net=${pod.netns} ${process.execPath} -e "${echo(id)}"`);
      await eventually(() => (heard === id ? true : undefined), 20_000);
      await fixture.del(chain, pod);
    }
    clearInterval(sending);
    client.close();
  });

  test('a caller in another namespace has its own links, rules and addresses', async () => {
    const node = fixture.pin('node');
    const fd = openSync(node, 'r');
    const caller = { netnsFd: fd };
    const own = { id: 'own', netns: fixture.pin('own-pod') };
    const away = { id: 'away', netns: fixture.pin('away-pod') };
    const conf = bridgeConf({ bridge: 'br8', ipam: { type: 'ipam', subnet: '10.98.0.0/24' } });
    const first = await fixture.add([conf], own);
    const second = await fixture.call('add', conf, away, { caller });
    assert.equal(second?.ips[0]?.address, first.ips[0]?.address);
    const ports = portmapConf({ hostPort: 8088, containerPort: 80 });
    const ported = await fixture.call('add', ports, away, { caller, prevResult: second ?? first });
    assert.deepEqual(ported, second);
    assert.match(fixture.inside(node, 'ip -br addr show br8') ?? '', /10\.98\.0\.1/u);
    assert.equal(tried(`ip link show ${second?.interfaces[1]?.name ?? ''}`), undefined);
    assert.match(fixture.inside(node, 'nft list ruleset') ?? '', /8088/u);
    assert.doesNotMatch(shell('nft list ruleset'), /8088/u);
    fixture.inside(node, 'ip link set lo up');
    assert.ok(fixture.inside(away.netns, 'busybox ping -c1 -W1 10.98.0.1'));
    await fixture.call('check', conf, away, { caller, prevResult: ported ?? first });
    await fixture.call('del', ports, away, { caller });
    await fixture.call('del', conf, away, { caller });
    assert.equal(fixture.inside(away.netns, 'ip link show eth0'), undefined);
    await fixture.del([conf], own);
    closeSync(fd);
  });
}
