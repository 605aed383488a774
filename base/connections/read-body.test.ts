import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { it } from 'node:test';
import { queryObjects } from 'node:v8';
import { createHttpServer, readBody } from './index.ts';

it('a body in pieces of one byte takes little memory', async (t) => {
  const free = 8 * 1024 * 1024;
  const memory = { free };
  let length = 0;
  const server = createHttpServer((request, response) => {
    void readBody(request, { sent: free, unpacked: free, memory }).then((body) => {
      assert.ok('bytes' in body);
      length = body.bytes.length;
      body.release();
      response.end();
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => server.close());
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.after(() => socket.destroy());
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
  const before = Number(queryObjects(Buffer));
  const pieces = 100_000;
  for (let sent = 0; sent < pieces; sent += 10_000)
    await new Promise((resolve) => socket.write('1\r\nX\r\n'.repeat(10_000), resolve));
  while (memory.free > free - pieces) await new Promise(setImmediate);
  const held = Number(queryObjects(Buffer)) - before;
  assert.ok(held < pieces / 100, `${held} buffers`);
  socket.write('0\r\n\r\n');
  await once(socket, 'data');
  assert.equal(length, pieces);
  assert.equal(memory.free, free);
});
