import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { PortcullisError } from '../../base/errors/index.ts';
import type { ApiChange } from '../../base/kubernetes/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { tlsCertificates } from '../../base/pem/index.ts';
import { openClusterCertificate } from './cluster-certificate.ts';
import type { ClusterCertificate, ClusterCertificateOptions } from './cluster-certificate.ts';
import type { ServingPair } from './serving-pair.ts';

type Json = Record<string, unknown>;
const secretPath = '/api/v1/namespaces/portcullis/secrets/tls';
const configurationPath = (kind: string): string =>
  `/apis/admissionregistration.k8s.io/v1/${kind}webhookconfigurations/webhook`;

const refused = (status: number): PortcullisError =>
  new PortcullisError({
    ...{
      code: 'KUBERNETES_API_REFUSED',
      kind: 'unavailable',
      attempted: 'ask',
      on: '',
      why: `${status}`,
      fix: 'wait',
    },
    details: { status },
  });

/** Objects with versions, as an API server keeps them: a write of an older version is a conflict. */
function openObjects(withMutating: boolean) {
  const objects = new Map<string, Json>([
    [secretPath, { metadata: { resourceVersion: '1' } }],
    [
      configurationPath('validating'),
      { metadata: { resourceVersion: '1' }, webhooks: [{ clientConfig: {} }] },
    ],
  ]);
  if (withMutating)
    objects.set(configurationPath('mutating'), {
      metadata: { resourceVersion: '1' },
      webhooks: [{ clientConfig: {} }, { clientConfig: {} }],
    });
  const log: string[] = [];
  const versionOf = (object: Json | undefined): string =>
    (object?.['metadata'] as { resourceVersion: string } | undefined)?.resourceVersion ?? '';
  const store = (path: string, object: Json): Json => {
    const next = {
      ...object,
      metadata: { resourceVersion: String(Number(versionOf(objects.get(path))) + 1) },
    };
    objects.set(path, next);
    log.push(`${path.split('/').at(-2) ?? ''} ${versionOf(next)}`);
    return next;
  };
  return {
    log,
    objects,
    /** Changes an object as another replica would. */
    touch: (path: string) => store(path, objects.get(path) ?? {}),
    get: async (path: string): Promise<unknown> => {
      await Promise.resolve();
      const object = objects.get(path);
      if (object === undefined) throw refused(404);
      return structuredClone(object);
    },
    send: async ({ method, path, body }: ApiChange): Promise<unknown> => {
      await Promise.resolve();
      const object = objects.get(path);
      if (object === undefined) throw refused(404);
      if (method === 'PUT') {
        if (versionOf(body as Json) !== versionOf(object)) throw refused(409);
        return store(path, body as Json);
      }
      const [check, ...changes] = body as { path: string; value: string }[];
      if (check?.value !== versionOf(object)) throw refused(422);
      const next = structuredClone(object) as { webhooks: { clientConfig: Json }[] };
      for (const change of changes) {
        const webhook = next.webhooks[Number(change.path.split('/')[2])];
        if (webhook !== undefined) webhook.clientConfig['caBundle'] = change.value;
      }
      return store(path, { ...next });
    },
  };
}

type Objects = ReturnType<typeof openObjects>;

const authoritiesOf = (objects: Objects, kind: string): readonly string[] => {
  const { webhooks } = objects.objects.get(configurationPath(kind)) as {
    webhooks: { clientConfig: { caBundle: string } }[];
  };
  return tlsCertificates(Buffer.from(webhooks[0]?.clientConfig.caBundle ?? '', 'base64').toString());
};
const isTrusted = (pair: ServingPair, authorities: readonly string[]): boolean =>
  authorities.some((one) => new X509Certificate(pair.certificate).verify(new X509Certificate(one).publicKey));

async function open(
  t: TestContext,
  client: Objects,
  more: Partial<ClusterCertificateOptions> = {},
): Promise<ClusterCertificate> {
  const opened = await openClusterCertificate(
    {
      ...{ client, namespace: 'portcullis', secret: 'tls', configuration: 'webhook', lifetimeMs: 3_600_000 },
      names: ['webhook.portcullis.svc', 'webhook.portcullis'],
      log: createLogger({ level: 'silent' }),
      onChange: () => undefined,
      ...more,
    },
    new AbortController().signal,
  );
  t.after(() => opened.close());
  return opened;
}

test('replicas that start at the same time agree on one certificate, and the configurations trust it', async (t) => {
  const objects = openObjects(true);
  const replicas = await Promise.all(Array.from({ length: 5 }, () => open(t, objects)));
  assert.equal(new Set(replicas.map(({ pair }) => pair.certificate)).size, 1);
  for (const { pair } of replicas)
    for (const kind of ['validating', 'mutating']) assert.ok(isTrusted(pair, authoritiesOf(objects, kind)));
  assert.deepEqual(
    objects.log.filter((one) => one.startsWith('secrets')),
    ['secrets 2'],
  );
});

test('a Secret whose certificate has another name, a wrong key or invalid content gets a new certificate', async (t) => {
  const objects = openObjects(false);
  const first = (await open(t, objects)).pair.certificate;
  const secret = objects.objects.get(secretPath) as { data: Json };
  for (const data of [
    { ...secret.data, 'tls.key': Buffer.from('nonsense').toString('base64') },
    { ...secret.data, 'ca.crt': '' },
    { ...secret.data, 'tls.crt': 7 },
  ]) {
    objects.objects.set(secretPath, { ...objects.objects.get(secretPath), data });
    assert.notEqual((await open(t, objects)).pair.certificate, first);
  }
  const other = await open(t, objects, { names: ['other.portcullis.svc'] });
  assert.equal(
    new X509Certificate(other.pair.certificate).checkHost('other.portcullis.svc'),
    'other.portcullis.svc',
  );
});

test('a certificate is renewed in time, and the configurations trust it and its predecessor before it is served', async (t) => {
  const objects = openObjects(true);
  const clock = { now: Date.now() };
  const served = Promise.withResolvers<ServingPair>();
  const timing = { every: 20, afterFailure: 20, settle: 50 };
  const { pair } = await open(t, objects, {
    ...{ now: () => clock.now, timing, onChange: served.resolve },
  });
  clock.now += 0.5 * 3_600_000;
  objects.touch(secretPath);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(authoritiesOf(objects, 'validating').length, 1, 'half of its lifetime is left');
  clock.now += 0.25 * 3_600_000;
  const next = await served.promise;
  assert.notEqual(next.certificate, pair.certificate);
  for (const kind of ['validating', 'mutating'])
    for (const one of [pair, next]) assert.ok(isTrusted(one, authoritiesOf(objects, kind)), kind);
});

test('a replica that is late does not overwrite the authority of a renewed certificate', async (t) => {
  const objects = openObjects(false);
  const clock = { now: Date.now() };
  const more = { now: () => clock.now };
  await open(t, objects, more);
  // The late replica has read the Secret, and then does not go on until another one has renewed it.
  const stored = structuredClone(objects.objects.get(configurationPath('validating'))) as Json;
  objects.objects.set(configurationPath('validating'), { ...stored, webhooks: [{ clientConfig: {} }] });
  const { promise: paused, resolve: reachedConfiguration } = Promise.withResolvers<void>();
  const { promise: goOn, resolve: letGo } = Promise.withResolvers<void>();
  let waits = true;
  const late: Objects = {
    ...objects,
    async get(path) {
      if (waits && path !== secretPath) {
        waits = false;
        reachedConfiguration();
        await goOn;
      }
      return objects.get(path);
    },
  };
  const opening = open(t, late, more);
  await paused;
  clock.now += 0.75 * 3_600_000;
  const { pair } = await open(t, objects, more);
  letGo();
  await opening;
  assert.ok(isTrusted(pair, authoritiesOf(objects, 'validating')));
});

test('a replica whose clock is ahead does not take the webhook away from the others', async (t) => {
  const objects = openObjects(false);
  const month = 30 * 86_400_000;
  const ahead = { now: () => Date.now() + month };
  const early = await open(t, objects, ahead);
  const { pair } = await open(t, objects);
  assert.notEqual(pair.certificate, early.pair.certificate);
  assert.ok(new X509Certificate(pair.certificate).validFromDate.getTime() < Date.now());
  // For this clock, the certificate of the other replica has expired.
  const again = await open(t, objects, ahead);
  assert.notEqual(again.pair.certificate, pair.certificate);
  assert.ok(
    isTrusted(pair, authoritiesOf(objects, 'validating')),
    'the others still serve their certificate',
  );
});

test('after somebody emptied the Secret, the API server still trusts the replicas', async (t) => {
  const objects = openObjects(true);
  const { pair } = await open(t, objects);
  objects.objects.set(secretPath, { metadata: { resourceVersion: '9' } });
  const next = await open(t, objects);
  assert.notEqual(next.pair.certificate, pair.certificate);
  for (const kind of ['validating', 'mutating'])
    for (const one of [pair, next.pair]) assert.ok(isTrusted(one, authoritiesOf(objects, kind)), kind);
});

test('an authority that was removed from the Secret and from the configurations is no longer trusted', async (t) => {
  const objects = openObjects(false);
  const { pair } = await open(t, objects);
  objects.objects.set(secretPath, { metadata: { resourceVersion: '9' } });
  const path = configurationPath('validating');
  objects.objects.set(path, { ...objects.objects.get(path), webhooks: [{ clientConfig: {} }] });
  await open(t, objects);
  assert.ok(!isTrusted(pair, authoritiesOf(objects, 'validating')));
});

test('a failure that lasts is logged once, and its end too', async (t) => {
  const objects = openObjects(false);
  const lines: string[] = [];
  let checks = 0;
  const { promise: isOver, resolve: end } = Promise.withResolvers<void>();
  const counted: Objects = {
    ...objects,
    get(path) {
      checks += 1;
      return objects.get(path);
    },
  };
  await open(t, counted, {
    timing: { every: 1, afterFailure: 1, settle: 1 },
    log: createLogger({
      level: 'info',
      stream: {
        write(line) {
          const { msg } = JSON.parse(line) as { msg: string };
          if (msg.startsWith('the certificate')) lines.push(msg);
          if (msg.includes('checked again')) end();
        },
      },
    }),
  });
  const secret = objects.objects.get(secretPath);
  assert.ok(secret !== undefined);
  objects.objects.delete(secretPath);
  for (const before = checks; checks < before + 20;) await new Promise((resolve) => setTimeout(resolve, 1));
  objects.objects.set(secretPath, secret);
  await isOver;
  assert.deepEqual(lines, [
    'the certificate could not be checked or renewed; the previous certificate stays in use',
    'the certificate was checked again',
  ]);
});
