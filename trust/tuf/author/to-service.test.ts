import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { serviceDestination } from './to-service.ts';

/** A service that demands tokens and names where they are had; what was asked there, and with which login. */
async function asked(logged: boolean, realmOf: (port: number) => string): Promise<readonly string[]> {
  const logins: string[] = [];
  const server = createServer((request, response) => {
    const { authorization = '' } = request.headers;
    if (request.url?.startsWith('/token') === true) {
      logins.push(`${request.headers.host?.split(':')[0] ?? ''} ${authorization}`);
      response.end(JSON.stringify({ token: 'good' }));
      return;
    }
    const challenge = `Bearer realm="${realmOf((server.address() as AddressInfo).port)}",service="s",scope="repository:app:push,pull"`;
    if (authorization === 'Bearer good') response.end();
    else response.writeHead(401, { 'www-authenticate': challenge }).end();
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const find = () => Promise.resolve({ username: 'owner', password: 'secret' });
    const service = serviceDestination(`http://127.0.0.1:${port}`, 'app', find);
    const published = service.publish([{ dialect: 'tuf', lacking: [], all: [] }]);
    if (logged) await published;
    else await assert.rejects(published, { code: 'TRUST_AUTHOR_REFUSED' });
    return logins;
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const login = `Basic ${Buffer.from('owner:secret').toString('base64')}`;

test('a login goes to the token service that is named, on this machine', async () => {
  assert.deepEqual(await asked(true, (port) => `http://127.0.0.1:${port}/token`), [`127.0.0.1 ${login}`]);
});

test('a login goes to no other host in the clear, and by no other scheme', async () => {
  // 0.0.0.0 is reached on this machine too, and is not its loopback address.
  assert.deepEqual(await asked(false, (port) => `http://0.0.0.0:${port}/token`), []);
  assert.deepEqual(await asked(false, (port) => `ftp://127.0.0.1:${port}/token`), []);
});
