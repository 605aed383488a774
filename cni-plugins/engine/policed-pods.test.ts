import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { startScriptedApi } from '../policy/cluster/api.fixture.ts';
import type { ScriptedApi } from '../policy/cluster/api.fixture.ts';
import type { NetworkEngine } from '../types.ts';
import { openPluginEngine } from './engine.ts';
import { createFixture, eventually, inPrivateNetns, shell } from './engine.fixture.ts';
import type { Fixture, Pod } from './engine.fixture.ts';

/** Pods of other runtimes: their plugins' calls, the policies of an API server, and real packets. */

interface Foreign extends Pod {
  readonly app: string;
  readonly name: string;
  readonly addresses: readonly string[];
}

const ipam = {
  type: 'portcullis-ipam',
  ranges: [[{ subnet: '10.90.0.0/24' }], [{ subnet: 'fd00:90::/64' }]],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
};
const networks = {
  bridge: { type: 'portcullis-bridge', name: 'others', bridge: 'br0', isDefaultGateway: true, ipam },
  ptp: { type: 'portcullis-ptp', name: 'others', ipam },
} as const;

if (inPrivateNetns(import.meta.filename, 300_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let api: ScriptedApi;

  const start = async (more: Parameters<Fixture['engine']>[0] = {}): Promise<void> => {
    const place = { kubeconfig: join(fixture.folder, 'kubeconfig') };
    engine = await fixture.engine({ policyCluster: { place, nodeName: 'here' }, ...more });
  };
  const callOf = (
    verb: PluginCall['verb'],
    pod: Pod,
    way: keyof typeof networks,
    more: Partial<PluginCall> = {},
  ): PluginCall => {
    const { id, netns, pod: named } = pod.request;
    return {
      verb,
      type: networks[way].type,
      caller: {},
      key: { network: 'others', containerId: id, interface: 'eth0' },
      netns,
      args: {
        IgnoreUnknown: '1',
        K8S_POD_NAMESPACE: named.namespace,
        K8S_POD_NAME: named.name,
        K8S_POD_INFRA_CONTAINER_ID: id,
        K8S_POD_UID: named.uid,
      },
      path: [],
      config: JSON.stringify({ cniVersion: '1.1.0', ...networks[way] }),
      ...more,
    };
  };
  let pods = 0;
  const make = (app: string): Pod => {
    pods += 1;
    return fixture.pod(`${app}-${pods}`);
  };
  const add = async (
    app: string,
    way: keyof typeof networks = 'bridge',
    made: Pod = make(app),
  ): Promise<Foreign> => {
    const result = await engine.callPlugin(callOf('add', made, way));
    const addresses = result?.ips.map(({ address }) => address.split('/')[0] ?? '') ?? [];
    return { ...made, app, name: made.request.pod.name, addresses };
  };
  const announce = ({ app, name, addresses }: Foreign): void =>
    api.put('pods', {
      metadata: { namespace: 'default', name, uid: name, labels: { app } },
      spec: { nodeName: 'here', containers: [{ ports: [{ name: 'web', containerPort: 80 }] }] },
      status: { phase: 'Running', podIPs: addresses.map((ip) => ({ ip })) },
    });
  const policy = (spec: object): object => ({ metadata: { namespace: 'default', name: 'to-web' }, spec });
  const toWeb = policy({
    podSelector: { matchLabels: { app: 'web' } },
    policyTypes: ['Ingress'],
    ingress: [{ from: [{ podSelector: { matchLabels: { app: 'client' } } }], ports: [{ port: 'web' }] }],
  });
  const nothing = policy({ podSelector: {}, policyTypes: ['Egress', 'Ingress'] });

  const fetch = (pod: Pod, host: string): string | undefined =>
    pod.run(`timeout 0.4 busybox wget -q -O - http://${host.includes(':') ? `[${host}]` : host}:80/`);
  const serve = async (pod: Foreign): Promise<void> => {
    const root = join(fixture.folder, pod.name);
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, 'index.html'), 'here');
    fixture.start('nsenter', `--net=${pod.request.netns}`, 'busybox', 'httpd', '-f', '-p', '80', '-h', root);
    pod.run('ip link set lo up');
    await eventually(() => fetch(pod, '127.0.0.1'), 20_000);
  };
  const reaches = async (pod: Foreign, target: Foreign): Promise<void> => {
    for (const host of target.addresses) await eventually(() => fetch(pod, host), 20_000);
  };
  const isCut = async (pod: Foreign, target: Foreign): Promise<void> => {
    for (const host of target.addresses)
      await eventually(() => (fetch(pod, host) === undefined ? true : undefined), 20_000);
  };

  before(async () => {
    fixture = createFixture();
    api = await startScriptedApi();
    api.kubeconfig(join(fixture.folder, 'kubeconfig'));
    api.put('namespaces', { metadata: { name: 'default', labels: {} } });
    await start();
    for (const end = Date.now() + 60_000; (await engine.figures()).policies.cluster?.synced !== true;)
      assert.ok(Date.now() < end, 'the API server is watched');
  });
  after(async () => {
    await engine.close({ removeAll: true });
    await api.stop();
    fixture.end();
  });

  for (const way of ['bridge', 'ptp'] as const)
    test(`policies of the cluster apply to pods of other runtimes: ${way}`, async () => {
      const [web, client, other] = [await add('web', way), await add('client', way), await add('other', way)];
      for (const pod of [web, client, other]) announce(pod);
      await serve(web);
      await reaches(other, web);
      api.put('networkpolicies', toWeb);
      await isCut(other, web);
      await reaches(client, web);
      // The node itself reaches the pod, as a kubelet's probes do.
      shell(`timeout 2 busybox wget -q -O - http://${web.addresses[0] ?? ''}/`);
      const { outcome } = await engine.explain({
        pod: `default/${other.name}`,
        connection: { direction: 'egress', peer: web.addresses[0] ?? '', protocol: 'tcp', port: 80 },
      });
      assert.equal(outcome, 'denied');
      await eventually(() => (fetch(other, web.addresses[0] ?? '') === undefined ? true : undefined));
      assert.ok(
        (await engine.denials()).some(({ pod, rule }) => pod.name === web.name && /to-web/u.test(rule)),
      );
      const names = shell('ip -o link').match(/pc[0-9a-f]{12}/gu) ?? [];
      assert.equal(names.length, 3);
      for (const pod of [web, client, other]) {
        await engine.callPlugin(callOf('del', pod, way));
        await engine.callPlugin(callOf('del', pod, way));
      }
      api.remove('networkpolicies', toWeb);
      const rules = shell('nft list ruleset');
      for (const name of names) assert.doesNotMatch(rules, new RegExp(name, 'u'));
    });

  test('a pod is isolated from its first packet', async () => {
    const target = await add('target');
    const seen = join(fixture.folder, 'seen');
    const receiver =
      "const s=require('dgram').createSocket('udp4');s.on('message',m=>require('fs').writeFileSync(process.argv[1],String(m)));s.bind(9000)";
    fixture.start('nsenter', `--net=${target.request.netns}`, process.execPath, '-e', receiver, seen);
    announce(target);
    const allowed = { podSelector: { matchLabels: { app: 'sender' } }, policyTypes: ['Egress'] };
    api.put('networkpolicies', policy(allowed));
    await sleep(1000);
    // It sends before the interface exists, and has no labels in the API yet.
    const made = make('sender');
    const sender = `const s=require('dgram').createSocket('udp4');s.on('error',()=>0);setInterval(()=>s.send('x',9000,'${target.addresses[0] ?? ''}',()=>0),1)`;
    fixture.start('nsenter', `--net=${made.request.netns}`, process.execPath, '-e', sender);
    await sleep(500);
    const pod = await add('sender', 'bridge', made);
    await sleep(1000);
    assert.equal(existsSync(seen), false);
    announce(pod);
    await sleep(1000);
    assert.equal(existsSync(seen), false);
    api.remove('networkpolicies', policy(allowed));
    await eventually(() => (existsSync(seen) ? true : undefined), 20_000);
    for (const each of [pod, target]) await engine.callPlugin(callOf('del', each, 'bridge'));
  });

  test('while the labels of a pod are not known, it is isolated if a policy may select it', async () => {
    const [web, client] = [await add('web'), await add('client')];
    announce(web);
    await serve(web);
    await reaches(client, web);
    api.put('networkpolicies', toWeb);
    await isCut(client, web);
    announce(client);
    await reaches(client, web);
    api.remove('networkpolicies', toWeb);
    for (const each of [web, client]) await engine.callPlugin(callOf('del', each, 'bridge'));
  });

  test('rules stay while the daemon does not run, and no pod is attached without it', async () => {
    const [web, client] = [await add('web'), await add('client')];
    for (const each of [web, client]) announce(each);
    await serve(web);
    api.put('networkpolicies', nothing);
    await isCut(client, web);
    // Nothing is removed or written at this end: it leaves what a killed daemon leaves.
    await engine.close({ removeAll: false });
    assert.equal(fetch(client, web.addresses[0] ?? ''), undefined);
    const log = createLogger({ level: 'error' });
    const alone = openPluginEngine({ databasePath: fixture.databasePath, log });
    const late = make('late');
    await assert.rejects(alone.callPlugin(callOf('add', late, 'bridge')), {
      code: 'NETWORK_POLICIES_NOT_ENFORCED',
    });
    // Callers that are not Kubernetes are attached, and pods are removed.
    const plain = make('plain');
    await alone.callPlugin(callOf('add', plain, 'bridge', { args: {} }));
    await alone.callPlugin(callOf('del', plain, 'bridge', { args: {} }));
    await alone.callPlugin(callOf('del', client, 'bridge'));
    await alone.close();
    await start();
    const again = await add('again');
    announce(again);
    await isCut(again, web);
    api.remove('networkpolicies', nothing);
    await reaches(again, web);
    for (const each of [again, web]) await engine.callPlugin(callOf('del', each, 'bridge'));
  });

  test('a link that another program deleted comes back with its rules', async () => {
    const [web, client] = [await add('web'), await add('client')];
    for (const each of [web, client]) announce(each);
    await serve(web);
    api.put('networkpolicies', toWeb);
    await reaches(client, web);
    shell('nft flush ruleset');
    await reaches(client, web);
    const other = await add('other');
    announce(other);
    await isCut(other, web);
    const [name = ''] = /pc[0-9a-f]{12}/u.exec(shell('ip -o link show master br0')) ?? [];
    shell(`ip link del ${name}`);
    await reaches(client, web);
    await isCut(other, web);
    api.remove('networkpolicies', toWeb);
    for (const each of [web, client, other]) await engine.callPlugin(callOf('del', each, 'bridge'));
  });

  test('a call without a pod, and one of a pod of our own runtime, are not affected', async () => {
    const plain = make('plain');
    await engine.callPlugin(callOf('add', plain, 'bridge', { args: {} }));
    assert.doesNotMatch(shell('ip -d link show group 0x70630001'), /pc/u);
    await engine.callPlugin(callOf('del', plain, 'bridge', { args: {} }));
    const own = make('own');
    await engine.attach(own.request);
    await engine.callPlugin(
      callOf('add', own, 'bridge', {
        key: { network: 'others', containerId: own.request.id, interface: 'net1' },
      }),
    );
    assert.deepEqual(fixture.rows("SELECT spec FROM attachment WHERE origin = 'plugin'"), ['{}']);
    await engine.callPlugin(
      callOf('del', own, 'bridge', {
        key: { network: 'others', containerId: own.request.id, interface: 'net1' },
      }),
    );
    await engine.detach(own.request.id);
  });

  test('a pod whose record is damaged loses its link, and neither the daemon nor another pod stops', async () => {
    const [web, client, hurt] = [await add('web'), await add('client'), await add('hurt')];
    for (const each of [web, client, hurt]) announce(each);
    await serve(web);
    await reaches(hurt, web);
    await engine.close({ removeAll: false });
    const db = new DatabaseSync(fixture.databasePath);
    const cut = db.prepare('UPDATE attachment SET spec = substr(spec, 1, 20) WHERE container_id = ?');
    assert.equal(cut.run(hurt.request.id).changes, 1);
    db.close();
    const said: string[] = [];
    await start({
      log: createLogger({ level: 'warn', stream: { write: (line) => void said.push(line) } }),
    });
    const lost = said.filter((line) => line.includes('the pod has lost its link'));
    assert.ok(lost.length > 0 && lost.every((line) => line.includes(hurt.request.id)), said.join(''));
    await reaches(client, web);
    // Which NetworkPolicies apply to it is not known any more.
    assert.equal(hurt.run('ip link show eth0'), undefined);
    const later = await add('later');
    await reaches(later, web);
    for (const each of [web, client, hurt, later]) await engine.callPlugin(callOf('del', each, 'bridge'));
    assert.deepEqual(fixture.rows('SELECT type FROM part'), []);
  });
}
