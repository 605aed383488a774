import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createHttpServer } from '../connections/index.ts';
import { createApiClient } from './api-client.ts';
import { isServiceAddress, readApiAccess } from './in-cluster.ts';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-in-cluster-'));
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'ca.key'];
  execFileSync('openssl', ['req', '-x509', ...key, '-out', 'ca.crt', '-days', '2', '-subj', '/CN=ca'], {
    cwd: folder,
    stdio: 'ignore',
  });
  writeFileSync(join(folder, 'token'), 'first\n');
});
after(() => rmSync(folder, { recursive: true, force: true }));

const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };

test('a pod uses its service account, which is read again each time', async () => {
  const access = await readApiAccess({}, env, folder);
  assert.equal(access.server.href, 'https://[fd00::1]/');
  assert.equal(access.authorization, 'Bearer first');
  assert.match(access.tls.ca ?? '', /BEGIN CERTIFICATE/u);
  writeFileSync(join(folder, 'token'), 'second');
  const renewed = await readApiAccess({}, env, folder);
  assert.equal(renewed.authorization, 'Bearer second');
  assert.notEqual(renewed.id, access.id);
});

test('the address of the service is recognised, and configured servers replace it', async () => {
  assert.equal(isServiceAddress(await readApiAccess({}, env, folder), env), true);
  const servers = ['https://192.0.2.1:6443', 'https://192.0.2.2:6443'];
  const access = await readApiAccess({ servers }, env, folder);
  assert.deepEqual(
    [access.server, ...(access.others ?? [])].map(String),
    servers.map((one) => `${one}/`),
  );
  assert.equal(isServiceAddress(access, env), false);
  assert.equal(isServiceAddress({ server: new URL('https://kubernetes.default.svc') }, {}), true);
});

test('missing and invalid values are reported without the token', async () => {
  for (const [place, environment, at, code, why] of [
    [{}, {}, folder, 'UNREADABLE', /KUBERNETES_SERVICE_HOST.*not set; run as a pod .*kubeconfig/u],
    [{}, env, '/nonexistent', 'UNREADABLE', /service account/u],
    [{ servers: ['http://192.0.2.1:6443'] }, env, folder, 'INVALID', /https:/u],
    [{ servers: ['https://u:p@192.0.2.1'] }, env, folder, 'INVALID', /not an address/u],
  ] as const)
    await assert.rejects(readApiAccess(place, environment, at), (thrown: Error & { code?: string }) => {
      assert.equal(thrown.code, `KUBERNETES_KUBECONFIG_${code}`);
      assert.match(thrown.message, why);
      return true;
    });
  writeFileSync(join(folder, 'token'), 'a secret with\u0001');
  await assert.rejects(readApiAccess({}, env, folder), (thrown: Error) => !/a secret/u.test(thrown.message));
});

test('several servers are tried in turn: after a failure the next server, which is then kept', async (t) => {
  const asked: string[] = [];
  const start = async (name: string, status: number): Promise<{ url: string; stop(): void }> => {
    const server = createHttpServer((request, response) => {
      asked.push(name);
      response.writeHead(status).end('{}');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const stop = (): void => {
      server.closeAllConnections();
      server.close();
    };
    t.after(stop);
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, stop };
  };
  const [broken, gone, well] = [
    await start('broken', 503),
    await start('gone', 200),
    await start('well', 200),
  ];
  gone.stop();
  const [server, ...others] = [broken, gone, well].map(({ url }) => new URL(url));
  assert.ok(server !== undefined);
  const client = createApiClient(() => Promise.resolve({ server, others, tls: {}, id: 'one' }), {
    userAgent: 'test',
    rights: 'list',
    meanwhile: 'nothing changes',
  });
  const { signal } = new AbortController();
  const ask = async (): Promise<string> =>
    client.get('/x', {}, signal).then(
      () => 'answered',
      (thrown: unknown) => (thrown as { code: string }).code,
    );
  assert.deepEqual(
    [await ask(), await ask(), await ask(), await ask()],
    ['KUBERNETES_API_REFUSED', 'KUBERNETES_API_UNREACHABLE', 'answered', 'answered'],
  );
  assert.deepEqual(asked, ['broken', 'well', 'well']);
  client.close();
});
