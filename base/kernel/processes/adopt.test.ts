import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import {
  AF_UNIX,
  SOCK_SEQPACKET,
  adopt,
  connectLoopback,
  connectUnix,
  loopbackConnected,
  onProcessEnd,
  openLoopbackSocket,
  pidfdOpen,
  receiveDescriptor,
  setWindowSize,
  socket,
} from '../index.ts';

/** Runs a Python program, which has SEQPACKET servers, terminals and SCM_RIGHTS. */
function python(program: string, ...args: string[]) {
  return spawn('python3', ['-uc', program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
}
const withPython = { skip: spawnSync('python3', ['--version']).error === undefined ? false : 'no python3' };

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'adopt-'));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('packets arrive one by one, and shutdown reaches the other end', withPython, () =>
  inFolder(async (folder) => {
    const path = join(folder, 's');
    const server = python(
      `import socket,sys,time
s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET); s.bind(sys.argv[1]); s.listen(1); print('up')
c,_=s.accept()
for n in (1,8193,5): c.send(b'x'*n)
got=[]
while True:
  b=c.recv(65536)
  if not b: break
  got.append(len(b))
c.send(repr(got).encode())`,
      path,
    );
    await new Promise((resolve) => server.stdout.once('data', resolve));
    const fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    connectUnix(fd, path);
    const packets: Buffer[] = [];
    const { socket: mine } = adopt(fd, {
      buffer: Buffer.alloc(16_384),
      callback: (count, buffer) => packets.push(Buffer.from(buffer.subarray(0, count))) > 0,
    });
    const ended = new Promise((resolve) => mine.once('end', resolve));
    while (packets.length < 3) await pause(5);
    assert.deepEqual(
      packets.map((packet) => packet.length),
      [1, 8193, 5],
    );
    for (const text of ['ab', 'cde']) await new Promise((resolve) => mine.write(text, resolve));
    mine.end();
    await ended;
    assert.equal(packets[3]?.toString(), '[2, 3]');
    mine.destroy();
  }),
);

test('a terminal that was passed is read to its last byte, written and resized', withPython, () =>
  inFolder(async (folder) => {
    const path = join(folder, 's');
    const accepted = new Promise<Socket>((resolve) =>
      createServer({ pauseOnConnect: true }, resolve).listen(path).unref(),
    );
    python(
      `import os,pty,socket,sys,time,array,subprocess
m,s=pty.openpty()
c=socket.socket(socket.AF_UNIX); c.connect(sys.argv[1])
socket.send_fds(c,[b'name'],[m]); os.close(m)
subprocess.Popen(['sh','-c','stty -echo; read line; echo "got $line"; stty size; head -c 300000 /dev/zero | tr "\\\\0" x'],stdin=s,stdout=s,stderr=s)
os.close(s)`,
      path,
    );
    const connection = await accepted;
    const fd = (connection as unknown as { _handle: { fd: number } })._handle.fd;
    let master: number | 'end' | undefined;
    while (master === undefined) [master] = [receiveDescriptor(fd), await pause(5)];
    assert.equal(typeof master, 'number');
    connection.destroy();
    const terminal = adopt(master as number);
    setWindowSize(terminal.fd, { rows: 33, columns: 99 });
    await pause(100);
    terminal.socket.write('hello\n');
    let text = '';
    const over = new Promise((resolve) => terminal.socket.once('close', resolve));
    terminal.socket.on('data', (chunk: Buffer) => (text += chunk.toString())).on('error', () => undefined);
    await over;
    assert.match(text, /got hello\r\n33 99\r\n/);
    assert.equal(text.replace(/[^x]/g, '').length, 300_000);
  }),
);

test('the end of a process is reported once', async () => {
  const child = spawn('sleep', ['0.1'], { stdio: 'ignore' });
  let times = 0;
  await new Promise<void>((resolve) => {
    onProcessEnd(pidfdOpen(child.pid ?? 0), () => {
      times += 1;
      resolve();
    });
  });
  await pause(50);
  assert.equal(times, 1);
  assert.doesNotMatch(readFileSync('/proc/self/status', 'utf8'), /Zombie/);
});

test('loopback is reached over IPv4 and IPv6, and a closed port is reported', async () => {
  for (const version of [4, 6] as const) {
    const server = createServer((one) => one.on('error', () => one.destroy()).end('hi')).listen(
      0,
      version === 4 ? '127.0.0.1' : '::1',
    );
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const fd = openLoopbackSocket(version);
    if (!connectLoopback(fd, version, port)) while (!loopbackConnected(fd, version, port)) await pause(2);
    const { socket: mine } = adopt(fd);
    const [chunk] = await new Promise<[Buffer]>((resolve) =>
      mine.once('data', (...values: [Buffer]) => resolve(values)),
    );
    assert.equal(chunk.toString(), 'hi');
    mine.destroy();
    await new Promise((resolve) => server.close(resolve));
    const before = readdirSync('/proc/self/fd').length;
    const another = openLoopbackSocket(version);
    await assert.rejects(async () => {
      if (!connectLoopback(another, version, port))
        while (!loopbackConnected(another, version, port)) await pause(2);
    }, /KERNEL_ECONNREFUSED|ECONNREFUSED/);
    assert.equal(readdirSync('/proc/self/fd').length, before);
  }
});
