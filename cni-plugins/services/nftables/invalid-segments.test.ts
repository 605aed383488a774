import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { inPrivateNetns, shell, tried } from '../../attach/engine.fixture.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { openNftablesBalancer } from './balancer.ts';

/**
 * Segments that connection tracking takes for none of their connection (INVALID), such as late retransmissions: their addresses are not translated
 * back. A client that gets one from the backend's own address answers with a reset, which ends the backend's connection (kubernetes#74839).
 */

/** Two segments of a connection with numbers half of all numbers apart: one of them is beyond its window. */
const segments = `
import socket, struct
def sum16(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total >> 16) + (total & 0xffff)
    return ~total & 0xffff
def send_segments(source, port, target):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    for number in (1, 0x80000001):
        header = struct.pack('!HHIIBBHHH', port, target[1], number, 1, 5 << 4, 0x10, 1000, 0, 0)
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
send_segments('10.1.2.2', 8080, client)
# Of no connection, and from a port that is no backend's.
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

if (inPrivateNetns(import.meta.filename)) {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-segments-'));
  const balancer = openNftablesBalancer();
  before(() => {
    writeFileSync(join(folder, 'server.py'), server);
    writeFileSync(join(folder, 'client.py'), client);
    shell('ip link set lo up; sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_tcp_loose=0');
    for (const [name, subnet] of [
      ['c', '10.1.1'],
      ['b', '10.1.2'],
    ] as const) {
      shell(`touch ${folder}/${name} && unshare --net=${folder}/${name} ip link set lo up`);
      shell(
        `ip link add v${name} type veth peer name eth0 netns ${folder}/${name}; ip addr add ${subnet}.1/24 dev v${name}; ip link set v${name} up`,
      );
      shell(
        `nsenter --net=${folder}/${name} sh -c 'ip addr add ${subnet}.2/24 dev eth0; ip link set eth0 up; ip route add default via ${subnet}.1'`,
      );
    }
    balancer.reconcile([{ ...webServer, destinations: [{ address: '10.1.2.2', port: 8080, weight: 1 }] }]);
  });
  after(() => {
    balancer.close();
    tried(`umount ${folder}/c ${folder}/b`);
    rmSync(folder, { recursive: true, force: true });
  });

  /** What the client reads, and from whom segments came to it. */
  const connect = async (): Promise<string[]> => {
    const start = (name: string, script: string) =>
      spawn('nsenter', [`--net=${folder}/${name}`, 'python3', join(folder, script)], { stdio: ['ignore', 'pipe', 'inherit'] });
    const serving = start('b', 'server.py');
    await once(serving.stdout, 'data');
    const asking = start('c', 'client.py');
    let said = '';
    asking.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await Promise.all([once(asking, 'close'), once(serving, 'exit')]);
    return said.trimEnd().split('\n');
  };

  test('a segment that is none of its connection does not come to the client from the backend’s own address', async () => {
    const [hello, more, from] = await connect();
    assert.deepEqual([hello, more], ['hello', 'more']);
    // What is no service's is left alone: it may take another way back.
    assert.equal(from, 'from 10.1.2.2 9999, 10.96.0.1 80');
  });

  test('where connection tracking is told to be liberal, such segments are part of the connection', async () => {
    shell('sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1');
    const [hello, more, from] = await connect();
    assert.deepEqual([hello, more], ['hello', 'more']);
    assert.equal(from, 'from 10.1.2.2 9999, 10.96.0.1 80');
    shell('sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0');
  });
}
