import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import type { TestOptions } from 'node:test';
import { shell, tried } from '../engine/engine.fixture.ts';
import type { Balancer } from './model/model.ts';
import { webServer } from './virtual-server.fixture.ts';

/**
 * Sends two segments of a connection whose numbers are half of the number space apart: one of them is beyond
 * its window.
 */
export const segments = `
import socket, struct
def sum16(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total >> 16) + (total & 0xffff)
    return ~total & 0xffff
def send_segments(source, port, target, acknowledged=1):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    for number in (1, 0x80000001):
        header = struct.pack('!HHIIBBHHH', port, target[1], number, acknowledged, 5 << 4, 0x10, 1000, 0, 0)
        pseudo = socket.inet_aton(source) + socket.inet_aton(target[0]) + struct.pack('!BBH', 0, 6, len(header))
        header = header[:16] + struct.pack('!H', sum16(pseudo + header)) + header[18:]
        raw.sendto(header, (target[0], 0))
`;
const server = `${segments}
import sys
listening = socket.socket()
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind(('10.1.2.2', 8080))
listening.listen(1)
print('listening', flush=True)
connection, client = listening.accept()
connection.sendall(b'hello')
connection.recv(9)
# What is acknowledged is what the server has received: it takes a reset that answers such a segment for one of its connection.
REPAIR, REPAIR_QUEUE, QUEUE_SEQ = 19, 20, 21
connection.setsockopt(socket.IPPROTO_TCP, REPAIR, 1)
connection.setsockopt(socket.IPPROTO_TCP, REPAIR_QUEUE, 1)
received = connection.getsockopt(socket.IPPROTO_TCP, QUEUE_SEQ) & 0xffffffff
connection.setsockopt(socket.IPPROTO_TCP, REPAIR, -1)
connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
send_segments('10.1.2.2', 8080, client, received)
# Of a connection that nobody knows any more.
send_segments('10.1.2.2', 8080, (client[0], 1))
# Of no connection, and from a port that is not a backend's.
send_segments('10.1.2.2', 9999, client)
connection.sendall(b'more')
connection.recv(9)
`;
const client = `
import socket
seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
seen.settimeout(0.2)
connection = socket.create_connection(('10.96.0.1', 80), 20)
print(connection.recv(99).decode(), flush=True)
connection.sendall(b'go')
print(connection.recv(99).decode(), flush=True)
from_whom = set()
while True:
    try: packet, kind = seen.recvfrom(200)
    except TimeoutError: break
    if packet[9] == 6 and kind[2] != 4:
        from_whom.add(socket.inet_ntoa(packet[12:16]) + ' ' + str(int.from_bytes(packet[20:22], 'big')))
print('from', ', '.join(sorted(from_whom)), flush=True)
connection.sendall(b'end')
`;

/**
 * The host of the tests routes between a client, 10.1.1.2, and a backend, 10.1.2.2. Connection tracking does
 * not pick up established connections.
 */
interface SegmentHosts {
  /** Runs a Python script in one of them. */
  run(where: 'client' | 'backend', script: string): ChildProcessByStdio<null, Readable, null>;
  end(): void;
}

export function openSegmentHosts(): SegmentHosts {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-segments-'));
  shell('ip link set lo up; sysctl -qw net.ipv4.ip_forward=1');
  for (const [name, subnet] of [
    ['client', '10.1.1'],
    ['backend', '10.1.2'],
  ] as const) {
    const netns = join(folder, name);
    shell(`touch ${netns} && unshare --net=${netns} ip link set lo up`);
    shell(
      `ip link add v${name} type veth peer name eth0 netns ${netns}; ip addr add ${subnet}.1/24 dev v${name}; ip link set v${name} up`,
    );
    shell(
      `nsenter --net=${netns} sh -c 'ip addr add ${subnet}.2/24 dev eth0; ip link set eth0 up; ip route add default via ${subnet}.1'`,
    );
  }
  return {
    run: (where, script) =>
      spawn('nsenter', [`--net=${join(folder, where)}`, 'python3', '-c', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    end() {
      tried(`umount ${folder}/client ${folder}/backend`);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The setting exists once some rule uses connection tracking. */
export const adoptNoConnection = (): void => void shell('sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0');

/**
 * Tests of a balancer in a network namespace of its own, with segments that connection tracking finds
 * INVALID, such as late retransmissions. No rule translates their addresses back. A client that gets one from
 * the backend's own address answers with a reset, and so does a host that masquerades. The reset ends the
 * backend's connection (kubernetes#74839).
 */
export function testInvalidSegments(open: () => Balancer, options: TestOptions = {}): void {
  let hosts: SegmentHosts;
  let balancer: Balancer | undefined;
  before(() => {
    hosts = openSegmentHosts();
    if (options.skip !== undefined) return;
    balancer = open();
    adoptNoConnection();
  });
  after(() => {
    balancer?.removeAll();
    balancer?.close();
    hosts.end();
  });

  const serve = (sourceAddress: 'keep' | 'masquerade'): void =>
    void balancer?.reconcile([
      { ...webServer, sourceAddress, destinations: [{ address: '10.1.2.2', port: 8080, weight: 1 }] },
    ]);
  /** Returns the data that the client reads, and the sources of the segments that it gets. */
  const connect = async (): Promise<string[]> => {
    const serving = hosts.run('backend', server);
    const ended = once(serving, 'exit');
    await Promise.race([once(serving.stdout, 'data'), ended.then(() => assert.fail('the server ended'))]);
    const asking = hosts.run('client', client);
    let said = '';
    asking.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await Promise.all([once(asking, 'close'), ended]);
    return said.trimEnd().split('\n');
  };

  test(
    'no segment outside a known connection reaches the client from the backend’s own address',
    options,
    async () => {
      serve('keep');
      // A segment that does not belong to a service is left alone: it may take another way back.
      assert.deepEqual(await connect(), ['hello', 'more', 'from 10.1.2.2 9999, 10.96.0.1 80']);
    },
  );

  test('no such segment reaches a masquerading host, which would reset the connection', options, async () => {
    serve('masquerade');
    assert.deepEqual(await connect(), ['hello', 'more', 'from 10.96.0.1 80']);
  });

  test('if connection tracking is liberal, such segments are part of the connection', options, async () => {
    shell('sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1');
    serve('keep');
    assert.deepEqual(await connect(), ['hello', 'more', 'from 10.1.2.2 9999, 10.96.0.1 80']);
    shell('sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0');
  });
}
