import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createHttpClient } from './index.ts';

const answers = [
  [
    'plain HTTP',
    Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
    'it does not speak TLS, perhaps only plain HTTP',
  ],
  // A fatal alert, handshake_failure.
  [
    'a TLS alert',
    Buffer.from('15030300020228', 'hex'),
    /^the TLS connection failed \([\w/ ]+handshake failure\)$/u,
  ],
] as const;

for (const [name, answer, why] of answers)
  test(`a server that answers https with ${name} is reported in one line`, async (t) => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined).once('data', () => socket.end(answer));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = createHttpClient({ environment: {} });
    t.after(async () => {
      await client.close();
      server.close();
    });
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const sent = client.send({ url: new URL(`https://${host}/`), totalMs: 10_000 });
    await assert.rejects(sent, (error: Error & { code?: string; failure?: { why: string } }) => {
      assert.equal(error.code, 'HTTP_UNREACHABLE');
      const told = error.failure?.why.replace(`${host}: `, '') ?? '';
      if (typeof why === 'string') assert.equal(told, why);
      else assert.match(told, why);
      return true;
    });
  });
