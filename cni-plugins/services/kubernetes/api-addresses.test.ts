import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createHttpServer } from '../../../base/connections/index.ts';
import type { Service } from '../model/model.ts';
import { createApiAddresses } from './api-addresses.ts';
import { watchKubernetesServices } from './watch.ts';

test('names of servers count with every address that they had, and a name that fails delays no request for long', async () => {
  let [found, changes]: [readonly string[], number] = [['192.0.2.1', 'fd00::1'], 0];
  const addresses = createApiAddresses(
    () => void (changes += 1),
    (host) => (host === 'never' ? new Promise(() => undefined) : Promise.resolve(found)),
  );
  const servers = ['198.51.100.1', '[fd00::9]', 'api.example'].map((hostname) => ({ hostname }));
  await addresses.note(servers);
  await addresses.note(servers);
  assert.deepEqual([addresses.all(), changes], [['198.51.100.1', 'fd00::9', '192.0.2.1', 'fd00::1'], 1]);
  const begun = performance.now();
  await addresses.note([{ hostname: 'never' }, { hostname: 'api.example' }]);
  assert.ok(performance.now() - begun < 10_000);
  assert.deepEqual(addresses.all(), ['192.0.2.1', 'fd00::1']);
  found = [];
  const failing = createApiAddresses(
    () => assert.fail('nothing changed'),
    () => Promise.reject(new Error('no such name')),
  );
  await failing.note([{ hostname: 'api.example' }]);
  assert.deepEqual(failing.all(), []);
});

test(
  'no Service is served at the address of an API server that the kubeconfig names by name',
  { timeout: 60_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-watch-'));
    const thief = {
      metadata: { namespace: 'shop', name: 'thief' },
      spec: { clusterIP: '10.96.0.1', ports: [{ port: 6443 }], externalIPs: ['192.0.2.1', '192.0.2.2'] },
    };
    const server = createHttpServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '', 'http://server');
      const items = pathname === '/api/v1/services' ? [thief] : [];
      if (searchParams.get('watch') === 'true') response.writeHead(200).flushHeaders();
      else response.end(JSON.stringify({ metadata: { resourceVersion: '1' }, items }));
    });
    server.listen(0, 'localhost');
    await once(server, 'listening');
    const kubeconfig = join(folder, 'kubeconfig');
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        'current-context': 'c',
        contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
        clusters: [
          { name: 'c', cluster: { server: `http://localhost:${(server.address() as AddressInfo).port}` } },
        ],
        users: [{ name: 'u', user: { token: 't' } }],
      }),
    );
    const served: Service[] = [];
    const logged: string[] = [];
    const write = (fields: object): void => void logged.push(JSON.stringify(fields));
    const watch = watchKubernetesServices({
      place: { kubeconfig },
      nodeName: 'here',
      control: {
        retain: async () => undefined,
        put: async (_source, some) => (served.push(...some), []),
        remove: async () => undefined,
      },
      log: { info: write, warn: write },
      lookUp: async (host) => (host === 'localhost' ? ['192.0.2.1'] : []),
    });
    t.after(async () => {
      await watch.close();
      server.closeAllConnections();
      server.close();
      rmSync(folder, { recursive: true });
    });
    await watch.synced;
    assert.deepEqual(served.at(-1)?.externalAddresses, ['192.0.2.2']);
    assert.match(logged.join(), /192\.0\.2\.1 is not served: it is the address of the API server/u);
  },
);
