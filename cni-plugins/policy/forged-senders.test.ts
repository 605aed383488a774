import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createFixture, eventually, inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import type { Fixture, Pod } from '../engine/engine.fixture.ts';
import type { NetworkEngine } from '../types.ts';

/**
 * Packets with a pod's address are accepted only from the pod's own link, whatever rp_filter is: when an
 * uplink or another port of a bridge sends packets with a pod's address, they are dropped.
 */
const ranges = [[{ subnet: '10.95.0.0/24' }], [{ subnet: 'fd00:95::/64' }]];
const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
const routed = {
  cniVersion: '1.0.0',
  name: 'routed',
  plugins: [{ type: 'portcullis-ptp', ipam: { type: 'host-local', ranges, routes } }],
};

/** Records each datagram: its content, and its sender. */
const receiver = (log: string): string => `
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(('::', 5353))
with open('${log}', 'w', 1) as log:
    print('ready', file=log)
    while True:
        data, sender = s.recvfrom(99)
        print(data.decode(), sender[0].replace('::ffff:', ''), file=log)
`;
/** Sends a datagram from any address. */
const send = (source: string, target: string, word: string): string => {
  const six = target.includes(':');
  const [family, level, transparent] = six ? ['AF_INET6', 'IPPROTO_IPV6', 75] : ['AF_INET', 'IPPROTO_IP', 19];
  return `import socket; s = socket.socket(socket.${family}, socket.SOCK_DGRAM); s.setsockopt(socket.${level}, ${transparent}, 1); s.bind(("${source}", 0)); s.sendto(b"${word}", ("${target}", 5353))`;
};

if (inPrivateNetns(import.meta.filename, 240_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  const pods = new Map<string, Pod>();
  const pod = (name: string): Pod => pods.get(name) ?? assert.fail(name);
  const addressOf = (name: string, family: 4 | 6): string =>
    engine.get(pod(name).request.id)?.ips[family === 4 ? 0 : 1]?.address.split('/')[0] ?? '';
  const heard = (name: string): string[] =>
    readFileSync(join(fixture.folder, `${name}.log`), 'utf8').split('\n');
  const listen = async (name: string, ...inside: string[]): Promise<void> => {
    const log = join(fixture.folder, `${name}.log`);
    writeFileSync(join(fixture.folder, `${name}.py`), receiver(log));
    fixture.start('env', ...inside, 'python3', join(fixture.folder, `${name}.py`));
    await eventually(() => tried(`grep ready ${log}`), 20_000);
  };
  const attach = async (name: string): Promise<void> => {
    const made = fixture.pod(name, { pod: { name, namespace: 'default', uid: name, labels: { app: name } } });
    pods.set(name, made);
    await engine.attach(made.request);
    await engine.setClass(made.request.id, 'user');
  };
  const outside = (): Pod => pod('outside');

  before(async () => {
    fixture = createFixture();
    mkdirSync(join(fixture.folder, 'policies'));
    writeFileSync(
      join(fixture.folder, 'policies', 'web.json'),
      JSON.stringify({
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'web', namespace: 'default' },
        spec: {
          podSelector: { matchLabels: { app: 'web' } },
          ingress: [
            {
              from: [
                { podSelector: { matchLabels: { app: 'client' } } },
                { podSelector: { matchLabels: { app: 'far' } } },
              ],
            },
          ],
        },
      }),
    );
    engine = await fixture.engine();
    for (const name of ['web', 'client']) await attach(name);
    writeFileSync(join(fixture.confDir, '05-routed.conflist'), JSON.stringify(routed));
    await attach('far');
    await listen('web', 'nsenter', `--net=${pod('web').request.netns}`);
    await listen('host');
    // A machine behind the uplink.
    pods.set('outside', fixture.pod('outside'));
    shell(
      `ip link add uplink type veth peer name eth0 netns ${outside().request.netns}; ip addr add 192.0.2.1/24 dev uplink; ip link set uplink up`,
    );
    shell(
      'ip -6 addr add 2001:db8::1/64 dev uplink nodad; sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1',
    );
    outside().run(
      "sh -c 'ip link set lo up; ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0; ip -6 addr add 2001:db8::2/64 dev eth0 nodad; ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8::1'",
    );
    await eventually(() => outside().run('busybox ping -6 -c1 -W1 2001:db8::1'), 20_000);
  });
  after(async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });

  const families = [4, 6] as const;
  const hostOf = { 4: '192.0.2.1', 6: '2001:db8::1' } as const;
  let turn = 0;
  type Word = readonly [source: string, target: string, receiver: string, comes: boolean];
  /** Sends one word each, and checks which of them arrive: exactly those that must. */
  const checkWords = async (
    from: Pod | undefined,
    words: readonly Word[],
    what = 'of the words sent',
  ): Promise<void> => {
    turn += 1;
    const run = (script: string): unknown =>
      from === undefined
        ? tried(`python3 -c '${script}'`)
        : (from.run(`python3 -c '${script}'`) ?? assert.fail(script));
    words.forEach(([source, target], index) => run(send(source, target, `word-${turn}-${index}`)));
    const came = words.map(
      ([source, , at], index) =>
        () =>
          heard(at).includes(`word-${turn}-${index} ${source}`),
    );
    await eventually(
      () => words.every(([, , , comes], index) => !comes || came[index]?.() === true) || undefined,
      20_000,
    );
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.deepEqual(
      came.map((each) => each()),
      words.map(([, , , comes]) => comes),
      what,
    );
  };

  for (const filter of [0, 1, 2])
    test(`packets from an uplink with the source address of a pod reach neither pods nor the host, with rp_filter ${filter}`, async () => {
      shell(`for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo ${filter} > $f; done`);
      for (const family of families) {
        const [web, client, far] = ['web', 'client', 'far'].map((name) => addressOf(name, family));
        const own = family === 4 ? '192.0.2.2' : '2001:db8::2';
        const forged = [client, far, web].flatMap(
          (source = '') =>
            [
              [source, web ?? '', 'web', false],
              [source, hostOf[family], 'host', false],
            ] as const,
        );
        await checkWords(outside(), [
          ...forged,
          [own, hostOf[family], 'host', true],
          [own, web ?? '', 'web', false],
        ]);
        // Traffic of the pods themselves continues, for both types of links.
        for (const name of ['client', 'far']) {
          const source = addressOf(name, family);
          await eventually(() => pod(name).run(`busybox ping -c1 -W2 ${hostOf[family]}`), 20_000);
          await checkWords(
            pod(name),
            [
              [source, web ?? '', 'web', true],
              [source, hostOf[family], 'host', true],
            ],
            name,
          );
        }
        // The node reaches its pods.
        await checkWords(undefined, [[family === 4 ? '10.88.0.1' : 'fd00:88::1', web ?? '', 'web', true]]);
      }
    });

  test('another port of the bridge cannot send with the address of a pod, and does not take over the address', async () => {
    pods.set('port', fixture.pod('port'));
    const port = pod('port');
    shell(
      `ip link add ext0 type veth peer name eth0 netns ${port.request.netns}; ip link set ext0 master cni0 up`,
    );
    port.run(
      "sh -c 'ip link set lo up; ip link set eth0 up; ip addr add 10.88.0.200/24 dev eth0; ip -6 addr add fd00:88::200/64 dev eth0 nodad'",
    );
    await eventually(() => port.run('busybox ping -c1 -W1 10.88.0.1'), 20_000);
    await eventually(() => port.run('busybox ping -6 -c1 -W1 fd00:88::1'), 20_000);
    for (const family of families) {
      const [web = '', client = ''] = ['web', 'client'].map((name) => addressOf(name, family));
      const own = family === 4 ? '10.88.0.200' : 'fd00:88::200';
      const host = family === 4 ? '10.88.0.1' : 'fd00:88::1';
      await checkWords(port, [
        [client, web, 'web', false],
        [client, host, 'host', false],
        [own, host, 'host', true],
      ]);
    }
    // Announced by ARP: the host accepts it for an address that is not a pod's, so that the frames do arrive.
    const [client, free] = [addressOf('client', 4), '10.88.0.201'];
    const known = (address: string): string => shell(`ip neigh show ${address} dev cni0`).split(' ')[2] ?? '';
    const mac = pod('client').run('cat /sys/class/net/eth0/address')?.trim() ?? assert.fail();
    for (const address of [client, free])
      shell(`ip neigh replace ${address} lladdr ${mac} nud stale dev cni0`);
    const say = (address: string): void => {
      port.run(`ip addr add ${address}/32 dev eth0`);
      for (const mode of ['-U', '-A', ''])
        port.run(`busybox arping ${mode} -c 2 -w 2 -I eth0 -s ${address} 10.88.0.1`);
    };
    say(client);
    say(free);
    await eventually(() => known(free) !== mac || undefined, 20_000);
    assert.equal(known(client), mac);
  });

  test('guests on another bridge of the host can use any addresses among themselves', async () => {
    // Tests only the bridge itself: the host does not route between them.
    tried(
      'sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0',
    );
    shell('ip link add virbr9 type bridge; ip link set virbr9 up');
    const guest = (name: string, four: string, six: string): Pod => {
      const made = fixture.pod(name);
      shell(
        `ip link add ${name} type veth peer name eth0 netns ${made.request.netns}; ip link set ${name} master virbr9 up`,
      );
      made.run(
        `sh -c 'ip link set lo up; ip link set eth0 up; ip addr add ${four}/24 dev eth0; ip -6 addr add ${six}/64 dev eth0 nodad'`,
      );
      return made;
    };
    const [four, six] = families.map((family) => addressOf('client', family));
    guest('guest1', '10.88.0.77', 'fd00:88::77');
    const same = guest('guest2', four ?? '', six ?? '');
    await eventually(() => same.run('busybox ping -c1 -W1 10.88.0.77'), 20_000);
    await eventually(() => same.run('busybox ping -6 -c1 -W1 fd00:88::77'), 20_000);
    shell('ip link del virbr9');
    tried(
      'sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1 net.bridge.bridge-nf-call-arptables=1',
    );
  });

  test('a pod that is detached gives its address back', async () => {
    const list = (): string =>
      shell('nft list table ip portcullis; nft list table ip6 portcullis; nft list table bridge portcullis');
    const own = families.map((family) => addressOf('far', family));
    for (const address of own) assert.ok(list().includes(`${address} . "pc`), address);
    await engine.detach(pod('far').request.id);
    for (const address of own) assert.ok(!list().includes(`${address} . "pc`), address);
  });
}
