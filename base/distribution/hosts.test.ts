import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { isLoopback } from '../http/index.ts';
import { createHostRules } from './hosts.ts';
import { createRegistryClient, parseReference } from './index.ts';

describe('plain HTTP', () => {
  const rules = createHostRules(['lan.example', 'other.example:5000']);
  const table: readonly (readonly [registry: string, origin: string])[] = [
    ['docker.io', 'https://registry-1.docker.io'],
    ['quay.io', 'https://quay.io'],
    ['quay.io:5000', 'https://quay.io:5000'],
    ['localhost:5000', 'http://localhost:5000'],
    ['127.0.0.1:5000', 'http://127.0.0.1:5000'],
    ['127.8.9.1', 'http://127.8.9.1'],
    ['[::1]:5000', 'http://[::1]:5000'],
    ['localhost:443', 'https://localhost:443'],
    ['lan.example', 'http://lan.example'],
    ['lan.example:8080', 'http://lan.example:8080'],
    ['other.example:5000', 'http://other.example:5000'],
    ['other.example:5001', 'https://other.example:5001'],
    ['127.0.0.1.example.com', 'https://127.0.0.1.example.com'],
    ['localhost.example.com', 'https://localhost.example.com'],
    ['10.0.0.1:5000', 'https://10.0.0.1:5000'],
  ];
  for (const [registry, origin] of table)
    it(`${registry} is contacted at ${origin}`, () => assert.equal(rules.origin(registry).origin, origin));

  it('is used for the loopback names that a URL can have, and for no other', () => {
    for (const text of ['localhost', 'a.localhost', '127.0.0.1', '127.1', '2130706433', '[::1]', '[0:0::1]'])
      assert.ok(isLoopback(new URL(`http://${text}`).hostname), text);
    for (const text of ['127.0.0.1.nip.io', '0.0.0.0', '128.0.0.1', '[::]', 'local-host'])
      assert.ok(!isLoopback(new URL(`http://${text}`).hostname), text);
  });
});

describe('a registry on loopback that expects TLS', () => {
  for (const [title, answer] of [
    [
      'answers as servers in Go',
      'HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n',
    ],
    ['closes the connection', ''],
  ] as const)
    it(`and ${title} is reported with what to configure`, async (t) => {
      const tcp = createServer((socket) => {
        socket.on('error', () => undefined);
        socket.once('data', () => socket.end(answer));
      });
      tcp.listen(0, '127.0.0.1');
      await once(tcp, 'listening');
      const client = createRegistryClient();
      t.after(async () => {
        await client.close();
        tcp.close();
      });
      const { port } = tcp.address() as AddressInfo;
      const [repository] = client.repositories(parseReference(`127.0.0.1:${port}/app`));
      assert.ok(repository);
      await assert.rejects(repository.manifest('1'), {
        message: /if the registry requires TLS, .*certs\.d/u,
      });
    });
});
