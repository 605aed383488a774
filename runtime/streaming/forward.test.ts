import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { forward } from './forward.ts';

/** A server that accepts nothing while it is stopped, with room for one waiting connection. */
const server = `
  const server = require('node:net').createServer((socket) => socket.resume().on('error', () => undefined));
  server.listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => console.log(server.address().port));`;

const plan = { kind: 'portforward', sandbox: 'pod', ports: [] } as const;
const descriptors = (): number => readdirSync('/proc/self/fd').length;
const clientSide = (): Duplex =>
  new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });

test('a stream that the client has reset before leaves no connection', { timeout: 60_000 }, async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const data = clientSide();
  data.destroy();
  await once(data, 'close');
  await forward(plan, (server.address() as AddressInfo).port, data);
  const [socket] = await accepted;
  await once(socket.resume(), 'close');
});

test(
  'a client that leaves while the pod does not accept yet leaves no connection',
  { timeout: 60_000 },
  async (t) => {
    const child = spawn(process.execPath, ['-e', server], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill('SIGKILL'));
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const port = Number(line.toString());
    child.kill('SIGSTOP');
    const fillers = Array.from({ length: 8 }, () => connect(port, '127.0.0.1').on('error', () => undefined));
    t.after(() => fillers.forEach((socket) => socket.destroy()));
    await pause(200);
    const before = descriptors();
    const data = clientSide();
    const forwarded = forward(plan, port, data);
    await pause(50);
    data.destroy();
    child.kill('SIGCONT');
    await assert.rejects(forwarded, /the client has left/);
    assert.equal(descriptors(), before);
  },
);

for (const hasEnded of [false, true])
  test(`a connection that the pod resets is reported${hasEnded ? ' to a client that has ended its input' : ''}`, async (t) => {
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const data = clientSide();
    const forwarded = forward(plan, port, data);
    const [socket] = await accepted;
    if (hasEnded) {
      data.push(null);
      await once(socket.resume(), 'end');
    }
    socket.write('a part', () => socket.resetAndDestroy());
    await assert.rejects(forwarded, new RegExp(`^Error: error forwarding port ${port} to pod pod, uid : `));
  });
