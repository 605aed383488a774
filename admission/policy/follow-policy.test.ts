import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PortcullisError } from '../../base/errors/index.ts';
import type { ApiChange, ApiClient } from '../../base/kubernetes/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { checkProfiles, checkedSet } from '../../entitlements/index.ts';
import { policyInvalid, readPolicy } from '../../trust/policy/index.ts';
import { eventually, fixtureKeys } from '../../test/webhook/test-cluster.ts';
import type { DocumentStatus } from './status.ts';
import { documentOf, writeDocuments } from './documents.ts';
import { followPolicy } from './follow-policy.ts';
import type { FollowedPolicy } from './follow-policy.ts';
import type { LoadPolicySet } from './policy-in-force.ts';

/** Loads as the daemon does, without its check of ceilings. */
const load: LoadPolicySet = async (options) => {
  const { policy, problems, texts, files, tufRoots } = await readPolicy(options);
  const checked = checkProfiles(texts);
  const all = [...problems, ...checked.problems];
  if (policy === undefined || all.length > 0) throw policyInvalid(options.paths, all, files);
  return { policy, profiles: checkedSet(checked), files, tufRoots };
};

interface StoredObject extends Record<string, unknown> {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly generation: number;
    readonly resourceVersion: string;
  };
  readonly status?: DocumentStatus;
}

/** The objects of a cluster, with watches as an API server has them. */
function openCluster() {
  const objects = new Map<string, StoredObject>();
  const watchers = new Set<(path: string, event: unknown) => void>();
  const writes: string[] = [];
  let version = 1;
  const collectionOf = (path: string): string => path.split('/')[4] ?? '';
  const put = (path: string, object: StoredObject): void => {
    objects.set(path, object);
    for (const notify of watchers)
      notify(collectionOf(path), { type: 'MODIFIED', object: structuredClone(object) });
  };
  const client: { -readonly [K in keyof ApiClient]: ApiClient[K] } = {
    async get(path) {
      await Promise.resolve();
      const items = [...objects]
        .filter(([name]) => collectionOf(name) === collectionOf(path))
        .map(([, one]) => one);
      return structuredClone({ items, metadata: { resourceVersion: String(version) } });
    },
    async list(path, query, onItem, signal) {
      const { items, metadata } = (await this.get(path, query, signal)) as {
        readonly items: readonly StoredObject[];
        readonly metadata: object;
      };
      for (const item of items) onItem(item);
      return { metadata };
    },
    watch: (path, _query, _limits, onOpen, onEvent, signal) =>
      new Promise((resolve) => {
        const notify = (collection: string, event: unknown): void => {
          if (collection === collectionOf(path)) onEvent(event);
        };
        watchers.add(notify);
        signal.addEventListener('abort', () => resolve());
        onOpen();
      }),
    async send({ path, body }: ApiChange) {
      await Promise.resolve();
      const name = path.replace(/\/status$/u, '');
      const known = objects.get(name);
      const { status, metadata } = body as StoredObject;
      if (known?.metadata.resourceVersion !== metadata.resourceVersion)
        throw new PortcullisError({
          ...{
            code: 'KUBERNETES_API_REFUSED',
            kind: 'unavailable',
            attempted: 'write',
            on: path,
            why: '409',
            fix: 'wait',
          },
          details: { status: 409 },
        });
      writes.push(name);
      put(name, {
        ...known,
        metadata: { ...known.metadata, resourceVersion: String((version += 1)) },
        ...(status !== undefined && { status }),
      });
      return {};
    },
    close: () => undefined,
  };
  const pathOf = (plural: string, name: string): string => `/apis/portcullis.dev/v1alpha1/${plural}/${name}`;
  return {
    client,
    writes,
    apply(plural: string, name: string, fields: object) {
      const known = objects.get(pathOf(plural, name));
      const generation = (known?.metadata.generation ?? 0) + 1;
      put(pathOf(plural, name), {
        ...fields,
        metadata: {
          name,
          uid: known?.metadata.uid ?? `uid-${name}`,
          generation,
          resourceVersion: String((version += 1)),
        },
        ...(known?.status !== undefined && { status: known.status }),
      });
    },
    remove(plural: string, name: string) {
      const object = objects.get(pathOf(plural, name));
      objects.delete(pathOf(plural, name));
      for (const notify of watchers)
        notify(plural, {
          type: 'DELETED',
          object: { ...object, metadata: { ...object?.metadata, resourceVersion: String((version += 1)) } },
        });
    },
    status: (name: string): DocumentStatus | undefined => objects.get(pathOf('trustpolicies', name))?.status,
  };
}

function start(
  t: TestContext,
  cluster: ReturnType<typeof openCluster>,
  referred?: string,
  loader = load,
): { policy: FollowedPolicy; folder: string } {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-follow-policy-'));
  const policy = followPolicy({
    ...{ client: cluster.client, load: loader, folder: join(folder, 'policy'), statusJitterMs: 50 },
    log: createLogger({ level: 'silent' }),
    ...(referred !== undefined && { referred }),
  });
  t.after(async () => {
    await policy.close();
    rmSync(folder, { recursive: true });
  });
  return { policy, folder };
}

const rules = (deny: string): object => ({ rules: [{ images: ['**'], deny }] });
const holds = (status: DocumentStatus | undefined): string =>
  status?.conditions.map((one) => `${one.type}=${one.status}`).join() ?? '';

test('several replicas put the same policy in force, and write each status once', async (t) => {
  const cluster = openCluster();
  cluster.apply('trustpolicies', 'base', rules('no'));
  const replicas = [1, 2, 3].map(() => start(t, cluster).policy);
  await eventually(60_000, async () => {
    await Promise.resolve();
    assert.equal(holds(cluster.status('base')), 'Valid=True,InForce=True');
    for (const one of replicas) assert.equal(one.current()?.revision, cluster.status('base')?.revision);
  });
  await sleep(500);
  assert.equal(cluster.writes.length, 1);
  const { current } = replicas[0] ?? assert.fail();
  const revision = current()?.revision;
  cluster.apply('trustpolicies', 'base', rules('never'));
  await eventually(60_000, async () => {
    await Promise.resolve();
    assert.notEqual(current()?.revision, revision);
    assert.equal(cluster.status('base')?.observedGeneration, 2);
  });
});

test('a status write that gets no answer does not delay the next policy', async (t) => {
  const cluster = openCluster();
  let asked = 0;
  cluster.client.send = (_change, signal) =>
    new Promise((_resolve, reject) => {
      asked += 1;
      signal.addEventListener('abort', () => reject(signal.reason as Error));
    });
  cluster.apply('trustpolicies', 'base', rules('no'));
  const { policy } = start(t, cluster);
  await eventually(60_000, async () => {
    await Promise.resolve();
    assert.equal(asked, 1);
  });
  const before = policy.current()?.revision;
  cluster.apply('trustpolicies', 'base', rules('never'));
  await eventually(60_000, async () => {
    await Promise.resolve();
    assert.notEqual(policy.current()?.revision, before);
  });
});

test('a policy that may not be the latest is reported while the collections cannot be watched', async (t) => {
  const cluster = openCluster();
  const { list, watch } = cluster.client;
  const forbidden = (): Promise<never> => Promise.reject(new Error('forbidden'));
  cluster.client.list = forbidden;
  cluster.apply('trustpolicies', 'base', rules('no'));
  const { policy } = start(t, cluster);
  const says = (expected: RegExp): Promise<void> =>
    eventually(60_000, async () => assert.match(await Promise.resolve(policy.problem() ?? 'none'), expected));
  await says(/^the policies of the cluster have not been read yet: trustpolicies: forbidden$/);
  Object.assign(cluster.client, { list, watch: forbidden });
  await says(/^the policies of the cluster cannot be watched: trustpolicies: forbidden$/);
  assert.notEqual(policy.current(), undefined);
  cluster.client.watch = watch;
  await says(/^none$/);
});

test('a version that the API server no longer has is no trouble, because the objects are listed again', async (t) => {
  const cluster = openCluster();
  const gone = { code: 'KUBERNETES_API_REFUSED', kind: 'unavailable', attempted: 'watch', on: '' } as const;
  cluster.client.watch = (_path, _query, _limits, onOpen) => {
    onOpen();
    return Promise.reject(
      new PortcullisError({ ...gone, why: '410', fix: 'wait', details: { status: 410 } }),
    );
  };
  cluster.apply('trustpolicies', 'base', rules('no'));
  const { policy } = start(t, cluster);
  await eventually(60_000, async () => assert.notEqual(await Promise.resolve(policy.current()), undefined));
  assert.equal(policy.problem(), undefined);
});

test('a problem is reported with its place, the last valid policy stays, and a correction takes effect', async (t) => {
  const cluster = openCluster();
  const { policy } = start(t, cluster);
  assert.equal(policy.current(), undefined);
  assert.match(policy.problem() ?? '', /not been read yet/);
  await eventually(60_000, async () => {
    await Promise.resolve();
    assert.match(policy.problem() ?? '', /no TrustPolicy/);
  });
  cluster.apply('trustpolicies', 'base', rules('no'));
  const valid = 'Valid=True,InForce=True';
  await eventually(60_000, async () =>
    assert.equal(holds(await Promise.resolve(cluster.status('base'))), valid),
  );
  const revision = policy.current()?.revision;
  cluster.apply('trustpolicies', 'other', { rules: [{ images: ['a b'], excpt: ['x'], deny: 'x' }] });
  await eventually(60_000, async () => {
    await Promise.resolve();
    assert.equal(holds(cluster.status('other')), 'Valid=False,InForce=False');
    assert.equal(holds(cluster.status('base')), 'Valid=True,InForce=False');
    const said = cluster.status('base')?.conditions.find(({ type }) => type === 'InForce')?.message;
    assert.match(
      said ?? '',
      /^the last valid policy stays in force, .* problems: trustpolicy\.other\.yaml$/u,
    );
  });
  assert.deepEqual(
    cluster
      .status('other')
      ?.problems.map(({ path, line }) => [path, line])
      .sort(),
    [
      ['rules[0].excpt', 8],
      ['rules[0].images[0]', 7],
    ].sort(),
    JSON.stringify(cluster.status('other')?.problems),
  );
  // Names the document, and not the folder of this process into which it is written for the loader.
  assert.match(
    policy.problem() ?? '',
    /^load trust policy trustpolicy\.base\.yaml, trustpolicy\.other\.yaml: 2 /,
  );
  assert.doesNotMatch(policy.problem() ?? '', /portcullis-follow-policy/);
  assert.equal(policy.current()?.revision, revision);
  cluster.remove('trustpolicies', 'other');
  await eventually(60_000, async () =>
    assert.equal(holds(await Promise.resolve(cluster.status('base'))), valid),
  );
  assert.equal(policy.current()?.revision, revision);
  cluster.remove('trustpolicies', 'base');
  await eventually(60_000, async () => assert.equal(await Promise.resolve(policy.current()), undefined));
});

test('the status of an invalid document does not claim that another policy is in force', async (t) => {
  const cluster = openCluster();
  cluster.apply('trustpolicies', 'base', { rules: [{ images: ['a b'], deny: 'x' }] });
  const { policy } = start(t, cluster);
  await eventually(60_000, async () => {
    await Promise.resolve();
    const said = cluster.status('base')?.conditions.find(({ type }) => type === 'InForce')?.message;
    assert.match(said ?? '', /the last valid policy stays in force, if there was one/);
  });
  assert.equal(policy.current(), undefined);
});

test('policies refer to keys in the folder of referenced files, and to profiles of the cluster', async (t) => {
  const keys = mkdtempSync(join(tmpdir(), 'portcullis-follow-keys-'));
  t.after(() => rmSync(keys, { recursive: true }));
  writeFileSync(join(keys, 'root.pem'), 'x');
  const cluster = openCluster();
  cluster.apply('trustpolicies', 'base', rules('no'));
  cluster.apply('entitlementprofiles', 'web', {});
  const { policy, folder } = start(t, cluster, keys);
  await eventually(60_000, async () =>
    assert.notEqual(await Promise.resolve(policy.profiles().resolve('web')), undefined),
  );
  assert.deepEqual(readdirSync(join(folder, 'policy')).sort(), [
    'entitlementprofile.web.yaml',
    'root.pem',
    'trustpolicy.base.yaml',
  ]);
});

test('a policy that names a file elsewhere is refused, as every node refuses it', async (t) => {
  const keys = mkdtempSync(join(tmpdir(), 'portcullis-follow-keys-'));
  t.after(() => rmSync(keys, { recursive: true }));
  copyFileSync(join(fixtureKeys, 'ecdsa-p256.pub'), join(keys, 'team.pub'));
  const signedBy = (key: string): object => ({ rules: [{ images: ['**'], require: { cosign: { key } } }] });
  const cluster = openCluster();
  cluster.apply('trustpolicies', 'base', signedBy('team.pub'));
  const { policy } = start(t, cluster, keys);
  await eventually(60_000, async () => assert.equal(await Promise.resolve(policy.problem()), undefined));
  const before = policy.current()?.revision;
  assert.notEqual(before, undefined);
  cluster.apply('trustpolicies', 'base', signedBy(join(keys, 'team.pub')));
  await eventually(60_000, async () =>
    assert.match(await Promise.resolve(policy.problem() ?? ''), /not in --policy-files/u),
  );
  assert.equal(policy.current()?.revision, before);
});

test('more objects than every node takes are refused, and their status says so', async (t) => {
  const cluster = openCluster();
  cluster.apply('trustpolicies', 'base', rules('no'));
  const { policy } = start(t, cluster);
  await eventually(60_000, async () => assert.equal(await Promise.resolve(policy.problem()), undefined));
  const before = policy.current()?.revision;
  for (let at = 0; at < 1000; at += 1) cluster.apply('entitlementprofiles', `p${at}`, {});
  await eventually(60_000, async () => {
    await Promise.resolve();
    const { status, reason, message } = cluster.status('base')?.conditions[1] ?? assert.fail('no status');
    assert.deepEqual([status, reason], ['False', 'NotLoaded']);
    assert.match(message, /they have 1001 objects .* at most 1000 /);
  });
  assert.equal(policy.current()?.revision, before);
});

test('the longest name of an object becomes a name that a file may have', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-documents-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const names = ['a'.repeat(253), `${'a'.repeat(252)}b`, 'a'.repeat(200), 'a'];
  const documents = names.map(
    (name) => documentOf('TrustPolicy', { metadata: { name } }) ?? assert.fail('no document'),
  );
  assert.deepEqual(
    documents.map(({ name }) => name),
    names,
  );
  assert.equal(new Set(await writeDocuments(folder, documents, undefined)).size, names.length);
});

test('a document has the fields of its author, and no fields of the server', () => {
  const document = documentOf('TrustPolicy', {
    metadata: { name: 'a', uid: 'u', generation: 3, annotations: { x: 'y' }, managedFields: [] },
    status: { rules: 4 },
    rules: [{ images: ['**'], deny: 'x' }],
    mode: 'report',
  });
  assert.equal(
    document?.text,
    'apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nmetadata:\n  name: a\nmode: report\nrules:\n  - images:\n      - "**"\n    deny: x\n',
  );
  for (const name of ['../x', 'a/b', '', '.hidden', 'A', 7])
    assert.equal(documentOf('TrustPolicy', { metadata: { name } }), undefined);
});

test('a policy is loaded again when a file that it names has changed, and not otherwise', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const keys = mkdtempSync(join(tmpdir(), 'portcullis-follow-keys-'));
  t.after(() => rmSync(keys, { recursive: true }));
  copyFileSync(join(fixtureKeys, 'ecdsa-p256.pub'), join(keys, 'team.pub'));
  const cluster = openCluster();
  cluster.apply('trustpolicies', 'base', {
    rules: [{ images: ['**'], require: { cosign: { key: 'team.pub' } } }],
  });
  let loads = 0;
  const { policy } = start(t, cluster, keys, (options) => {
    loads += 1;
    return load(options);
  });
  const loaded = (count: number): Promise<void> =>
    eventually(60_000, async () => assert.equal(await Promise.resolve(loads), count));
  await loaded(1);
  // Only the first load says which files the policy names.
  t.mock.timers.tick(30_000);
  await loaded(2);
  const before = policy.current()?.revision;
  assert.notEqual(before, undefined);
  t.mock.timers.tick(30_000);
  await sleep(500);
  assert.equal(loads, 2);
  copyFileSync(join(fixtureKeys, 'ecdsa-p384.pub'), join(keys, 'team.pub'));
  t.mock.timers.tick(30_000);
  await eventually(60_000, async () => {
    await Promise.resolve();
    assert.notEqual(policy.current()?.revision, before);
  });
  assert.equal(loads, 3);
});
