import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { clientOf, patchOf, podOf, reviewOf, serviceName } from '../admission/webhook.fixture.ts';
import { createHttpServer } from '../base/connections/index.ts';
import { portcullis } from '../test/fixtures/command.ts';
import { eventually, fixtureKeys, startReplica } from '../test/webhook/test-cluster.ts';
import { fixtureContent, serveFixtures } from '../trust/evidence/fixtures/fixture-registry.ts';
import { makeServerCertificate } from '../trust/x509/index.ts';

const rules = (text: string): string =>
  `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["127.0.0.1:*/**"]\n    ${text}\n`;

async function writeCertificate(folder: string): Promise<string> {
  const made = await makeServerCertificate({
    names: [serviceName],
    from: new Date(Date.now() - 60_000),
    until: new Date(Date.now() + 3_600_000),
  });
  writeFileSync(join(folder, 'tls.crt'), made.certificate);
  writeFileSync(join(folder, 'tls.key'), made.key, { mode: 0o600 });
  return made.authority;
}

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'cli-webhook-'));
  t.after(() => rmSync(folder, { recursive: true }));
  copyFileSync(join(fixtureKeys, 'ecdsa-p256.pub'), join(folder, 'k.pub'));
  writeFileSync(join(folder, 'policy.yaml'), rules('require: { cosign: { key: k.pub } }'));
  return folder;
}

test('the webhook decides by files, follows their changes and those of its certificate, and stops cleanly', async (t) => {
  const folder = folderOf(t);
  const registry = await serveFixtures(fixtureContent(), { referrers: true });
  t.after(() => registry.close());
  let authority = await writeCertificate(folder);
  const replica = await startReplica(
    [
      ...['--listen', '127.0.0.1:0', '--policy', join(folder, 'policy.yaml'), '--drain', '0s'],
      ...['--tls-cert', join(folder, 'tls.crt'), '--tls-key', join(folder, 'tls.key')],
    ],
    folder,
  );
  t.after(() => replica.end('SIGKILL'));
  const ask = clientOf(t, replica.url, () => authority);
  const [signed, unsigned] = [`${registry.host}/bundle/ecdsa-p256:1`, `${registry.host}/bundle/ecdsa-p384:1`];
  assert.equal((await ask('/readyz')).status, 200);
  const { response } = await ask('/mutate?timeout=10s', reviewOf(podOf(signed)));
  assert.match(JSON.stringify(patchOf(response)), /:1@sha256:/);
  const refused = await ask('/validate?timeout=10s', reviewOf(podOf(unsigned)));
  assert.match(refused.response.status?.message ?? '', /rule policy\.yaml:4 /);

  writeFileSync(join(folder, 'policy.yaml'), rules('deny: nothing runs'));
  await eventually(10_000, async () => {
    const { response: later } = await ask('/validate', reviewOf(podOf(signed)));
    assert.match(later.status?.message ?? '', /nothing runs/);
  });
  writeFileSync(join(folder, 'policy.yaml'), 'kind: Nonsense\n');
  await eventually(10_000, async () => {
    assert.match((await ask('/metrics')).body, /portcullis_webhook_policy_current 0/);
  });
  assert.match(
    (await ask('/validate', reviewOf(podOf(signed)))).response.status?.message ?? '',
    /nothing runs/,
  );

  const before = authority;
  authority = await writeCertificate(folder);
  const fresh = clientOf(t, replica.url, () => authority);
  await eventually(20_000, () => fresh('/healthz'));
  await assert.rejects(clientOf(t, replica.url, () => before)('/healthz', undefined, { agent: false }));
  assert.ok(!replica.log().includes(readFileSync(join(folder, 'tls.key'), 'utf8').slice(40, 80)));
  assert.equal(await replica.end('SIGTERM'), 0);
});

test('a replica whose clock is ahead of the API server does not renew the shared certificate', async (t) => {
  const folder = folderOf(t);
  const days = (count: number): Date => new Date(Date.now() + count * 86_400_000);
  const names = [serviceName, `${serviceName}.cluster.local`, serviceName.replace(/\.svc$/u, '')] as const;
  const made = await makeServerCertificate({ names, from: days(-71), until: days(20) });
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const answers: Readonly<Record<string, object>> = {
    '/api/v1/namespaces/portcullis-webhook/secrets/portcullis-webhook-tls': {
      metadata: { resourceVersion: '1' },
      data: {
        'tls.crt': base64(made.certificate),
        'tls.key': base64(made.key),
        'ca.crt': base64(made.authority),
      },
    },
  };
  const writes: string[] = [];
  const server = createHttpServer((request, response) => {
    const { method = '', url = '' } = request;
    if (method !== 'GET') writes.push(`${method} ${url}`);
    const answer = answers[url.split('?')[0] ?? ''];
    // By the clock of this server, the certificate was made yesterday.
    response.setHeader('date', days(-70).toUTCString());
    response.writeHead(answer === undefined ? 404 : 200).end(JSON.stringify(answer ?? { status: 'Failure' }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const config = join(folder, 'kubeconfig');
  const cluster = { server: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  writeFileSync(
    config,
    JSON.stringify({
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'c', users: [{ name: 'u', user: {} }] },
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
      clusters: [{ name: 'c', cluster }],
    }),
  );
  const replica = await startReplica(
    ['--listen', '127.0.0.1:0', '--policy', join(folder, 'policy.yaml'), '--kubeconfig', config],
    folder,
  );
  t.after(() => replica.end('SIGKILL'));
  assert.deepEqual(writes, []);
  assert.equal((await clientOf(t, replica.url, () => made.authority)('/healthz')).status, 200);
});

test('wrong use is reported before anything is opened', async (t) => {
  const folder = folderOf(t);
  const policy = ['--policy', join(folder, 'policy.yaml')];
  for (const [words, code, says] of [
    [[], 2, /--policy PATH, or --policy-from-cluster/],
    [[...policy, '--policy-from-cluster'], 2, /one of the two/],
    [[...policy, '--policy-files', folder], 2, /needs --policy-from-cluster/],
    [[...policy, '--tls-cert', 'x'], 2, /belong together/],
    [[...policy, '--service', 'x'], 2, /NAMESPACE\/NAME/],
    [[...policy, '--drain', 'soon'], 2, /not a duration/],
    [[...policy, '--drain', '30d'], 2, /longer than 1h/],
    [[...policy, '--certificate-lifetime', '0s'], 2, /not between 60s and 36500d/],
    [[...policy, '--certificate-lifetime', '99999999d'], 2, /not between 60s and 36500d|not a duration/],
    [[...policy, '--tls-cert', join(folder, 'none'), '--tls-key', join(folder, 'k.pub')], 4, /ADMISSION_TLS/],
    [[...policy, '--kubeconfig', join(folder, 'none')], 4, /KUBERNETES_KUBECONFIG_UNREADABLE/],
  ] as const) {
    const ended = await portcullis(['webhook', 'serve', ...words], {
      PATH: process.env['PATH'],
      HOME: folder,
    });
    assert.equal(ended.code, code, ended.output);
    assert.match(ended.output, says);
  }
});

test('the definitions are printed for kubectl', async () => {
  const { code, stdout } = await portcullis(['webhook', 'definitions']);
  assert.equal(code, 0);
  assert.match(stdout, /^ {2}name: trustpolicies\.portcullis\.dev$/m);
  assert.match(stdout, /^ {2}name: entitlementprofiles\.portcullis\.dev$/m);
});

test('the definitions as JSON are a list, which kubectl reads', async () => {
  const { code, stdout } = await portcullis(['webhook', 'definitions', '--output', 'json']);
  const { apiVersion, kind, items } = JSON.parse(stdout) as {
    readonly apiVersion: string;
    readonly kind: string;
    readonly items: readonly { readonly kind: string }[];
  };
  assert.deepEqual([code, apiVersion, kind], [0, 'v1', 'List']);
  assert.deepEqual(new Set(items.map((item) => item.kind)), new Set(['CustomResourceDefinition']));
});
