import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  conflist,
  createFixture,
  eventually,
  inPrivateNetns,
  shell,
  tried,
} from '../engine/engine.fixture.ts';
import type { Fixture, Pod } from '../engine/engine.fixture.ts';
import type { NetworkEngine } from '../types.ts';

/**
 * A pod gets the address of a former pod, which had sent packets to a host outside: the answers of that host
 * belong to no connection of the new pod, so its policies decide about them.
 */
const only = (subnet: string, address: string): object[] => [
  { subnet, rangeStart: address, rangeEnd: address },
];
const ranges = [only('10.88.0.0/24', '10.88.0.5'), only('fd00:88::/64', 'fd00:88::5')];
const isolation = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: victim }
spec: { podSelector: { matchLabels: { app: victim } }, policyTypes: [Ingress] }
`;

/** Sends a datagram from port 5353. */
const client = (target: string): string =>
  `import socket; s = socket.socket(socket.${target.includes(':') ? 'AF_INET6' : 'AF_INET'}, socket.SOCK_DGRAM); s.bind(("", 5353)); s.sendto(b"hello", ("${target}", 9999))`;

/** Answers each sender for ever, ten times a second. */
const outside = (log: string): string => `
import socket, time
sockets = []
for family, address in ((socket.AF_INET, '192.0.2.2'), (socket.AF_INET6, 'fd00:2::2')):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((address, 9999))
    s.setblocking(False)
    sockets.append(s)
log = open('${log}', 'w', 1)
print('ready', file=log)
seen = {}
while True:
    for s in sockets:
        try:
            while True:
                _, sender = s.recvfrom(99)
                seen[sender] = s
                print('seen', sender[0], file=log)
        except BlockingIOError:
            pass
    for sender, s in seen.items():
        try:
            s.sendto(b'answer', sender)
        except OSError:
            pass
    time.sleep(0.1)
`;
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

if (inPrivateNetns(import.meta.filename)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  const run = async (name: string, text: string, ...inside: string[]): Promise<() => string[]> => {
    const [log, script] = ['log', 'py'].map((end) => join(fixture.folder, `${name}.${end}`));
    writeFileSync(script ?? '', text);
    fixture.start('env', ...inside, 'python3', script ?? '');
    await eventually(() => tried(`grep ready ${log}`), 20_000);
    return () => readFileSync(log ?? '', 'utf8').split('\n');
  };
  const attach = async (name: string): Promise<Pod> => {
    const pod = fixture.pod(name, { pod: { name, namespace: 'default', uid: name, labels: { app: name } } });
    await engine.attach(pod.request);
    await engine.setClass(pod.request.id, 'user');
    return pod;
  };

  before(async () => {
    fixture = createFixture(conflist({ ipam: { type: 'host-local', ranges } }));
    mkdirSync(join(fixture.folder, 'policies'));
    writeFileSync(join(fixture.folder, 'policies', 'victim.yaml'), isolation);
    mkdirSync('/run/netns', { recursive: true });
    shell(`mount -t tmpfs tmpfs /run/netns && ip netns add outside
      ip link add up0 type veth peer name eth0 netns outside
      ip address add 192.0.2.1/24 dev up0 && ip address add fd00:2::1/64 dev up0 nodad && ip link set up0 up
      ip -n outside address add 192.0.2.2/24 dev eth0 && ip -n outside address add fd00:2::2/64 dev eth0 nodad
      ip -n outside link set eth0 up && ip -n outside route add default via 192.0.2.1
      ip -n outside -6 route add default via fd00:2::1`);
    engine = await fixture.engine();
  });
  after(async () => {
    await engine?.close({ removeAll: true });
    fixture?.end();
  });

  test('answers to a former pod with the address do not reach an isolated pod', async () => {
    const seen = await run(
      'outside',
      outside(join(fixture.folder, 'outside.log')),
      'ip',
      'netns',
      'exec',
      'outside',
    );
    const former = await attach('former');
    for (const target of ['192.0.2.2', 'fd00:2::2'])
      await eventually(() => former.run(`python3 -c '${client(target)}'`));
    await eventually(() => (seen().filter((line) => line.startsWith('seen')).length >= 2 ? true : undefined));
    await engine.detach(former.request.id);
    const victim = await attach('victim');
    assert.deepEqual(
      engine.get(victim.request.id)?.ips.map(({ address }) => address),
      ['10.88.0.5/24', 'fd00:88::5/64'],
    );
    const heard = await run(
      'victim',
      receiver(join(fixture.folder, 'victim.log')),
      'nsenter',
      `--net=${victim.request.netns}`,
    );
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.deepEqual(heard().slice(1), ['']);
  });
}
