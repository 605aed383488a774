import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import { limitHttpConnections } from './http-connections.ts';
import { createHttpServer } from './node-http.ts';

/** Starts a server whose answers have this many bytes, and returns how it is reached from an address. */
async function start(
  t: TestContext,
  { bytes, most = 100 }: { readonly bytes: number; readonly most?: number },
): Promise<{
  readonly come: (from: string, text: string) => Promise<Socket>;
  readonly served: () => number;
}> {
  let served = 0;
  const answer = Buffer.alloc(bytes, 'a');
  const server = createHttpServer((request, response) =>
    connections.serve(request, response, () => {
      served += 1;
      response.end(answer);
      return Promise.resolve();
    }),
  );
  const connections = limitHttpConnections(server, { most, mostOfPeer: most }, false);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return {
    served: () => served,
    async come(from, text) {
      const socket = connect({ port, host: '127.0.0.1', localAddress: from });
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      socket.pause();
      socket.write(text);
      t.after(() => socket.destroy());
      return socket;
    },
  };
}

const get = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

it(
  'a client that sends very many requests before it reads is disconnected',
  { timeout: 10_000 },
  async (t) => {
    const { come, served } = await start(t, { bytes: 1000 });
    const greedy = await come('127.0.0.2', get.repeat(5000));
    const closed = new Promise((resolve) => greedy.once('close', resolve));
    greedy.resume();
    await closed;
    assert.ok(served() <= 32, `${served()} requests were answered`);
  },
);

it('a client may send requests without a limit if it reads the answers', { timeout: 10_000 }, async (t) => {
  const { come, served } = await start(t, { bytes: 10 });
  const client = await come('127.0.0.2', '');
  client.resume();
  for (let count = 1; count <= 200; count += 1) {
    client.write(get);
    while (served() < count) await once(client, 'data');
  }
});

it('connections whose answers are not read give way to another client', { timeout: 10_000 }, async (t) => {
  const { come, served } = await start(t, { bytes: 32 * 1024 * 1024, most: 4 });
  for (let count = 0; count < 4; count += 1) await come('127.0.0.2', get);
  while (served() < 4) await new Promise((resolve) => setTimeout(resolve, 5));
  const other = await come('127.0.0.3', get);
  const [bytes] = (await once(other.resume(), 'data')) as [Buffer];
  assert.match(bytes.toString('latin1', 0, 20), /^HTTP\/1\.1 200 /u);
});

it('an answer that is not read within ten minutes ends', { timeout: 10_000 }, async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { come, served } = await start(t, { bytes: 32 * 1024 * 1024 });
  const slow = await come('127.0.0.2', get);
  while (served() < 1) await new Promise(setImmediate);
  t.mock.timers.tick(599_999);
  await new Promise(setImmediate);
  const closed = new Promise((resolve) => slow.once('close', resolve));
  t.mock.timers.tick(1);
  slow.resume();
  await closed;
  assert.ok(slow.bytesRead < 32 * 1024 * 1024, 'the answer was not complete');
});
