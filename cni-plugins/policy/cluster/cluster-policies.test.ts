import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createFixture, eventually, inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import type { Fixture, Pod } from '../../engine/engine.fixture.ts';
import type { NetworkEngine } from '../../types.ts';
import { startScriptedApi } from './api.fixture.ts';
import type { ScriptedApi } from './api.fixture.ts';

/** From the API server to the kernel: real pods, real packets. */

const podObject = (
  name: string,
  labels: object,
  addresses: readonly string[],
  more: object = {},
): object => ({
  metadata: { namespace: 'default', name, uid: name, labels },
  spec: { nodeName: 'here', containers: [{ ports: [{ name: 'web', containerPort: 80 }] }] },
  status: { phase: 'Running', podIPs: addresses.map((ip) => ({ ip })) },
  ...more,
});
const namespaceObject = (name: string, labels: object = {}): object => ({ metadata: { name, labels } });
const policyObject = (name: string, spec: object): object => ({
  metadata: { namespace: 'default', name },
  spec,
});
const clusterPolicy = (name: string, tier: string, priority: number, rules: object): object => ({
  metadata: { name },
  spec: { tier, priority, subject: { namespaces: {} }, ...rules },
});
const from = (labels: object): object => ({
  podSelector: { matchLabels: { app: 'web' } },
  policyTypes: ['Ingress'],
  ingress: [{ from: [{ podSelector: { matchLabels: labels } }], ports: [{ port: 'web' }] }],
});

if (inPrivateNetns(import.meta.filename, 300_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let api: ScriptedApi;
  let web: Pod;
  let client: Pod;
  let other: Pod;

  const start = async (): Promise<void> => {
    const place = { kubeconfig: join(fixture.folder, 'kubeconfig') };
    engine = await fixture.engine({ policyCluster: { place, nodeName: 'here' } });
  };
  const addressesOf = (pod: Pod): string[] =>
    (engine.get(pod.request.id)?.ips ?? []).map(({ address }) => address.split('/')[0] ?? '');
  const addressOf = (pod: Pod): string => addressesOf(pod)[0] ?? '';
  const fetch = (pod: Pod, host: string, port = 80): string | undefined =>
    pod.run(`timeout 0.4 busybox wget -q -O - http://${host.includes(':') ? `[${host}]` : host}:${port}/`);
  const serve = async (pod: Pod): Promise<void> => {
    const root = join(fixture.folder, pod.request.pod.name);
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, 'index.html'), 'here');
    fixture.start('nsenter', `--net=${pod.request.netns}`, 'busybox', 'httpd', '-f', '-p', '80', '-h', root);
    await eventually(() => pod.run('timeout 0.4 busybox wget -q -O - http://127.0.0.1:80/'), 20_000);
  };
  const reaches = async (pod: Pod, target = web): Promise<void> => {
    for (const host of addressesOf(target)) await eventually(() => fetch(pod, host), 20_000);
  };
  const isCut = async (pod: Pod, target = web): Promise<void> => {
    for (const host of addressesOf(target))
      await eventually(() => (fetch(pod, host) === undefined ? true : undefined), 20_000);
  };
  const figures = async () => (await engine.figures()).policies.cluster;
  /** Figures come once a second. */
  const eventuallyNone = async (): Promise<void> => {
    for (const end = Date.now() + 60_000; (await figures())?.clusterPolicies !== 0;)
      assert.ok(Date.now() < end, 'the policies are gone');
  };

  before(async () => {
    fixture = createFixture();
    api = await startScriptedApi();
    api.install(true);
    api.kubeconfig(join(fixture.folder, 'kubeconfig'));
    api.put('namespaces', namespaceObject('default'));
    [web, client, other] = ['web', 'client', 'other'].map((name) => fixture.pod(name)) as [Pod, Pod, Pod];
  });
  after(async () => {
    await engine.close({ removeAll: true });
    await api.stop();
    fixture.end();
  });

  test('without an API server and a stored state, every pod is isolated', async () => {
    await api.stop();
    await start();
    for (const pod of [web, client, other]) {
      await engine.attach(pod.request);
      await engine.setClass(pod.request.id, 'user');
    }
    await serve(web);
    await isCut(client);
    assert.equal((await figures())?.synced, false);
    for (const end = Date.now() + 60_000; ((await figures())?.away ?? '') === '';)
      assert.ok(Date.now() < end, 'the reason is reported');
    // The node itself reaches the pod, as a kubelet's probes do.
    for (const host of addressesOf(web))
      shell(`timeout 2 busybox wget -q -O - http://${host.includes(':') ? `[${host}]` : host}/`);
    await api.start();
    await reaches(client);
    for (const end = Date.now() + 60_000; (await figures())?.away !== undefined;)
      assert.ok(Date.now() < end, 'the API server is watched again');
  });

  test('a policy of the API applies in both families until it is removed', async () => {
    for (const pod of [web, client, other])
      api.put('pods', podObject(pod.request.pod.name, { app: pod.request.pod.name }, addressesOf(pod)));
    const policy = policyObject('to-web', from({ app: 'client' }));
    api.put('networkpolicies', policy);
    await eventually(() => (fetch(other, addressOf(web)) === undefined ? true : undefined));
    await isCut(other);
    await reaches(client);
    api.remove('networkpolicies', policy);
    await reaches(other);
    api.put('networkpolicies', policy);
    await isCut(other);
  });

  test('label changes of a running pod take effect at once', async () => {
    api.put('pods', podObject('other', { app: 'client' }, addressesOf(other)));
    await reaches(other);
    api.put('pods', podObject('other', { app: 'other' }, addressesOf(other)));
    await isCut(other);
    // The policy selects the pod by labels that it got in the API alone.
    api.put('pods', podObject('web', { app: 'none' }, addressesOf(web)));
    await reaches(other);
    api.put('pods', podObject('web', { app: 'web' }, addressesOf(web)));
    await isCut(other);
  });

  test('a pod of another node is one element of a shared set; its address stops counting when it ends', async () => {
    const elements = (): string =>
      shell('nft list table inet portcullis_rules')
        .replaceAll(/\s+/gu, ' ')
        .match(/set pods4_a\S+ .*? \}/u)?.[0] ?? '';
    const far = podObject('far', { app: 'client' }, addressesOf(other), {
      spec: { nodeName: 'there' },
    });
    api.put('pods', far);
    await reaches(other);
    assert.match(elements(), new RegExp(addressOf(other).replaceAll('.', '\\.'), 'u'));
    api.put('pods', { ...far, status: { phase: 'Succeeded', podIPs: [{ ip: addressOf(other) }] } });
    await isCut(other);
    assert.doesNotMatch(elements(), new RegExp(addressOf(other).replaceAll('.', '\\.'), 'u'));
    // Another pod gets the address before the end of the former one is reported.
    const [former, next] = ['former', 'next'].map((name) =>
      podObject(name, { app: 'client' }, addressesOf(other), { spec: { nodeName: 'there' } }),
    ) as [object, object];
    api.put('pods', former);
    api.put('pods', next);
    await reaches(other);
    api.remove('pods', former);
    await reaches(other);
    api.remove('pods', next);
    await isCut(other);
  });

  test('a named port in egress rules means the port of each peer; a pod in the network of its node counts as the node', async () => {
    const policy = policyObject('egress', {
      podSelector: { matchLabels: { app: 'client' } },
      policyTypes: ['Egress'],
      egress: [
        {
          to: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: 'web' } } }],
          ports: [{ port: 'web' }],
        },
      ],
    });
    api.put('networkpolicies', policy);
    await serve(other);
    await isCut(client, other);
    await reaches(client);
    // Its container port has another number.
    api.put(
      'pods',
      podObject('web', { app: 'web' }, addressesOf(web), {
        spec: { nodeName: 'here', containers: [{ ports: [{ name: 'web', containerPort: 81 }] }] },
      }),
    );
    await isCut(client);
    api.put('pods', podObject('web', { app: 'web' }, addressesOf(web)));
    await reaches(client);
    const onNode = podObject('on-node', { app: 'web' }, addressesOf(other), {
      spec: {
        nodeName: 'there',
        hostNetwork: true,
        containers: [{ ports: [{ name: 'web', containerPort: 80 }] }],
      },
    });
    api.put('pods', onNode);
    await reaches(client, other);
    api.remove('pods', onNode);
    api.remove('networkpolicies', policy);
    await reaches(client, other);
  });

  test('the labels of a namespace take effect once the API has sent them', async () => {
    const policy = policyObject('by-namespace', {
      podSelector: { matchLabels: { app: 'other' } },
      ingress: [
        { from: [{ namespaceSelector: { matchExpressions: [{ key: 'team', operator: 'DoesNotExist' }] } }] },
      ],
    });
    const stranger = {
      ...podObject('stranger', {}, addressesOf(client)),
      metadata: { namespace: 'new', name: 'stranger', uid: 'stranger' },
      spec: { nodeName: 'there' },
    };
    const own = podObject('client', { app: 'client' }, addressesOf(client));
    api.put('namespaces', namespaceObject('default', { team: 'a' }));
    api.put('networkpolicies', policy);
    await isCut(client, other);
    api.put('pods', stranger);
    // The namespace has not come yet: none of its labels counts as absent.
    await new Promise((resolve) => setTimeout(resolve, 300));
    await isCut(client, other);
    api.put('namespaces', namespaceObject('new'));
    await reaches(client, other);
    api.put('namespaces', namespaceObject('new', { team: 'b' }));
    await isCut(client, other);
    api.remove('pods', stranger);
    api.remove('networkpolicies', policy);
    api.put('pods', own);
    await reaches(client, other);
  });

  test('the Admin tier decides before NetworkPolicies, in order of priority, and Pass leaves the decision to them', async () => {
    api.put('namespaces', namespaceObject('default'));
    const everyone = [{ namespaces: {} }];
    const web80 = [{ tcp: { destinationPort: { number: 80 } } }];
    // The NetworkPolicy accepts the client and denies the other.
    api.put('networkpolicies', policyObject('to-web', from({ app: 'client' })));
    await reaches(client);
    await isCut(other);
    const policy = clusterPolicy('accept', 'Admin', 20, {
      ingress: [{ action: 'Accept', from: everyone, protocols: web80 }],
    });
    api.put('clusternetworkpolicies', policy);
    await reaches(other);
    const deny = clusterPolicy('deny', 'Admin', 10, { ingress: [{ action: 'Deny', from: everyone }] });
    api.put('clusternetworkpolicies', deny);
    await isCut(other);
    await isCut(client);
    // The kubelet's probes are not of a pod.
    for (const host of addressesOf(web))
      shell(`timeout 2 busybox wget -q -O - http://${host.includes(':') ? `[${host}]` : host}/`);
    const pass = clusterPolicy('pass', 'Admin', 5, {
      ingress: [{ action: 'Pass', from: [{ pods: { podSelector: { matchLabels: { app: 'client' } } } }] }],
    });
    api.put('clusternetworkpolicies', pass);
    await reaches(client);
    await isCut(other);
    for (const one of [policy, deny, pass]) api.remove('clusternetworkpolicies', one);
    await isCut(other);
    await eventuallyNone();
  });

  test('the Baseline tier decides about pods that no NetworkPolicy selects', async () => {
    const deny = clusterPolicy('deny', 'Baseline', 10, {
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
    });
    api.put('clusternetworkpolicies', deny);
    await reaches(client);
    api.remove('networkpolicies', policyObject('to-web', {}));
    await isCut(client);
    api.put('networkpolicies', policyObject('to-web', from({ app: 'client' })));
    await reaches(client);
    api.remove('networkpolicies', policyObject('to-web', {}));
    api.remove('clusternetworkpolicies', deny);
    await reaches(other);
  });

  test('an established connection ends when a ClusterNetworkPolicy denies it', async () => {
    const file = join(fixture.folder, 'answers');
    writeFileSync(file, '');
    fixture.start(
      ...['nsenter', `--net=${web.request.netns}`, 'busybox', 'nc', '-l', '-p', '99', '-e', 'cat'],
    );
    fixture.start(
      'nsenter',
      `--net=${client.request.netns}`,
      'sh',
      '-c',
      // Until the server listens, an attempt ends at once.
      `while :; do (while echo x; do sleep 0.1; done) | busybox nc ${addressOf(web)} 99 >> ${file}; sleep 0.2; done`,
    );
    const size = (): number => readFileSync(file).length;
    await eventually(() => (size() > 6 ? true : undefined), 20_000);
    const deny = clusterPolicy('deny', 'Admin', 10, {
      egress: [
        {
          action: 'Deny',
          to: [{ networks: addressesOf(web).map((one) => `${one}/${one.includes(':') ? 128 : 32}`) }],
        },
      ],
    });
    api.put('clusternetworkpolicies', deny);
    await isCut(client);
    const before = size();
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.equal(size(), before);
    api.remove('clusternetworkpolicies', deny);
    // TCP sends again what was lost.
    await eventually(() => (size() > before ? true : undefined), 30_000);
  });

  test('a rule about nodes also applies to the own node, but not to connections that the node opens', async () => {
    const gateway = shell("ip -4 -o addr show scope global | grep -v ' lo ' | awk '{print $4}'")
      .split('\n')
      .map((one) => one.split('/')[0] ?? '')
      .find((one) => one.split('.').slice(0, 3).join() === addressOf(web).split('.').slice(0, 3).join());
    assert.ok(gateway);
    api.put('nodes', {
      metadata: { name: 'here', uid: 'here', labels: { role: 'worker' } },
      status: { addresses: [{ type: 'InternalIP', address: gateway }] },
    });
    fixture.start('busybox', 'httpd', '-f', '-p', '8099', '-h', fixture.folder);
    const asks = (): string | undefined =>
      client.run(`timeout 0.6 busybox wget -q -S -O - http://${gateway}:8099/absent 2>&1 | grep -o 404`);
    await eventually(asks, 20_000);
    const nodes = { matchLabels: { role: 'worker' } };
    const deny = clusterPolicy('deny', 'Admin', 10, { egress: [{ action: 'Deny', to: [{ nodes }] }] });
    api.put('clusternetworkpolicies', deny);
    await eventually(() => (asks() === undefined ? true : undefined), 20_000);
    shell(`timeout 2 busybox wget -q -O - http://${addressOf(web)}/`);
    api.remove('clusternetworkpolicies', deny);
    await eventually(asks, 20_000);
    api.remove('nodes', { metadata: { name: 'here' } });
    api.put('networkpolicies', policyObject('to-web', from({ app: 'client' })));
    await isCut(other);
  });

  test('changes that were missed while the API was not watched arrive with the next list', async () => {
    await api.stop();
    const policy = policyObject('missed', { podSelector: {}, policyTypes: ['Ingress'] });
    api.put('networkpolicies', policy);
    api.forget();
    await reaches(client, other);
    await api.start();
    await isCut(client, other);
    api.remove('networkpolicies', policy);
    await reaches(client, other);
  });

  test('after a start without the API server, the stored policies and peers are in force', async () => {
    // Pods are stored every ten seconds.
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    await engine.close({ removeAll: false });
    await api.stop();
    await start();
    await reaches(client);
    await isCut(other);
    const { policies, cluster } = (await engine.figures()).policies;
    assert.deepEqual([policies, cluster?.synced], [1, false]);
    await api.start();
    api.remove('networkpolicies', policyObject('to-web', {}));
    await reaches(other);
  });

  test('a damaged stored state isolates every pod until the API server answers', async () => {
    await engine.close({ removeAll: false });
    await api.stop();
    const stored = `${fixture.databasePath}.cluster-policies`;
    writeFileSync(stored, readFileSync(stored, 'utf8').replace('policies', 'Policies'));
    await start();
    await isCut(client, other);
    await api.start();
    await reaches(client, other);
  });

  test('a node that may not list ClusterNetworkPolicies isolates its pods and reports the missing right', async () => {
    await engine.close({ removeAll: false });
    rmSync(`${fixture.databasePath}.cluster-policies`);
    api.forbid(true);
    await start();
    await isCut(client, other);
    for (const end = Date.now() + 60_000; (await figures())?.awayFix === undefined;)
      assert.ok(Date.now() < end, 'the reason is reported');
    const { isolated, away, awayFix } = (await figures()) ?? {};
    assert.equal(isolated, true);
    assert.match(away ?? '', /403/u);
    assert.match(awayFix ?? '', /clusternetworkpolicies\.policy\.networking\.k8s\.io/u);
    api.forbid(false);
    await reaches(client, other);
    for (const end = Date.now() + 60_000; (await figures())?.isolated !== false;)
      assert.ok(Date.now() < end, 'the policies are known again');
  });
}
