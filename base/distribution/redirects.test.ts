import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { RequestListener, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { createHttpServer } from '../connections/index.ts';
import { createRegistryClient, digestOf } from './index.ts';
import type { RegistryRepository } from './index.ts';

/**
 * A third-party registry: at a non-loopback address of this test's namespace, reached over plain HTTP by its
 * name.
 */
const far = '203.0.113.10';
const blob = { digest: digestOf('secret'), size: 6 };
const user = { username: 'me', password: 'pass:word' };

const opened: (() => unknown)[] = [];
let folder = '';
before(() => {
  execFileSync('ip', ['address', 'add', `${far}/32`, 'dev', 'lo']);
  folder = mkdtempSync(join(tmpdir(), 'portcullis-redirects-'));
  writeFileSync(join(folder, 'hosts'), '127.0.0.1 localhost near.test\n');
  execFileSync('mount', ['--bind', join(folder, 'hosts'), '/etc/hosts']);
});
after(() => {
  execFileSync('umount', ['/etc/hosts']);
  rmSync(folder, { recursive: true });
});
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

async function serve(
  host: string,
  listener: RequestListener,
): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createHttpServer(listener).listen(0, host);
  await once(server, 'listening');
  opened.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, port: (server.address() as AddressInfo).port };
}

/** Returns where a remote registry redirects to, and how often a service of this machine gets connections. */
async function led(
  answer: (target: string) => RequestListener,
  host: string,
): Promise<{ place: RegistryRepository; connections(): number }> {
  let connections = 0;
  const victim = await serve('::', (_request, response) => void response.end('secret'));
  victim.server.on('connection', () => (connections += 1));
  const registry = await serve(far, answer(`http://${host}:${victim.port}/`));
  const client = createRegistryClient({ insecureHosts: [far, host] });
  opened.push(() => client.close());
  const [place] = client.repositories({ registry: `${far}:${registry.port}`, repository: 'app' }, user);
  assert.ok(place !== undefined);
  return { place, connections: () => connections };
}

const hosts = [
  '0.0.0.0',
  '[::]',
  '[::ffff:7f00:1]',
  '[::ffff:127.0.0.1]',
  '127.1',
  '2130706433',
  '0x7f000001',
  'localhost.',
  'near.test',
];

describe('a registry elsewhere', () => {
  for (const host of hosts) {
    it(`does not redirect a blob to ${host}`, async () => {
      const { place, connections } = await led(
        (target) => (_request, response) => void response.writeHead(307, { location: target }).end(),
        host,
      );
      await assert.rejects(place.blobBytes(blob, 10), { code: 'DISTRIBUTION_BAD_REDIRECT', kind: 'denied' });
      assert.equal(connections(), 0);
    });

    it(`cannot direct token requests to ${host}`, async () => {
      const challenge = (target: string) => `Bearer realm="${target}token",service="x"`;
      const { place, connections } = await led(
        (target) => (_request, response) =>
          void response.writeHead(401, { 'www-authenticate': challenge(target) }).end(),
        host,
      );
      await assert.rejects(place.blobBytes(blob, 10), {
        code: 'DISTRIBUTION_UNAUTHORIZED',
        message: /token service/u,
      });
      assert.equal(connections(), 0);
    });
  }
});

it('a mirror on this machine, configured by name, may redirect to storage on this machine', async () => {
  const storage = await serve('127.0.0.1', (_request, response) => void response.end('secret'));
  const registry = await serve(
    '127.0.0.1',
    (_request, response) =>
      void response.writeHead(307, { location: `http://near.test:${storage.port}/` }).end(),
  );
  const rules = new Map([
    ['docker.io', { mirrors: [{ url: `http://near.test:${registry.port}` }], origin: false }],
  ]);
  const client = createRegistryClient({ rules, insecureHosts: ['near.test'] });
  opened.push(() => client.close());
  const [place] = client.repositories({ registry: 'docker.io', repository: 'library/app' });
  assert.equal(Buffer.from((await place?.blobBytes(blob, 10)) ?? []).toString(), 'secret');
});
