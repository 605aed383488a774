import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import { createNetworkEngine } from '../engine/engine.ts';
import {
  conflist,
  createFixture,
  eventually,
  inPrivateNetns,
  shell,
  tried,
} from '../engine/engine.fixture.ts';
import type { Fixture, Pod } from '../engine/engine.fixture.ts';
import { pluginInterfaceOf } from '../database/record.ts';
import type { AttachRequest, Denial, LinkRule, NetworkEngine } from '../types.ts';

/**
 * Links that the host routes to: rules of peers, NetworkPolicies and denials as on a bridge, through
 * restarts, kills and a lost link.
 */
const ranges = [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]];
const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
const routed = {
  cniVersion: '1.0.0',
  name: 'routed',
  plugins: [
    { type: 'portcullis-ptp', ipMasq: true, ipam: { type: 'host-local', ranges, routes } },
    { type: 'portcullis-portmap', capabilities: { portMappings: true } },
  ],
};
/** In an emulated machine (test/vm) an attach takes longer by this factor. */
const slower = process.env['IN_VM'] === undefined ? 1 : 15;
const rule = (cidr: string, port = 80): LinkRule => ({
  cidr,
  protocol: 'tcp',
  ports: { low: port, high: port },
});

if (inPrivateNetns(import.meta.filename, 240_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let pristine: string;
  const policies = (): string => join(fixture.folder, 'policies');
  const lines: string[] = [];
  const open = (): Promise<NetworkEngine> =>
    createNetworkEngine({
      databasePath: fixture.databasePath,
      confDir: fixture.confDir,
      policyDir: policies(),
      log: createLogger({ level: 'warn', stream: { write: (line: string) => void lines.push(line) } }),
    });
  before(async () => {
    fixture = createFixture(routed);
    mkdirSync(policies());
    pristine = fixture.kernelState();
    engine = await open();
  });
  afterEach(async () => {
    await engine.gc(new Set());
    await eventually(() => (engine.list().length === 0 && links().length === 0) || undefined, 10_000);
  });
  after(async () => {
    await engine.close({ removeAll: true });
    for (const family of ['ip', 'ip6']) tried(`nft delete table ${family} portcullis_plugins`);
    assert.equal(fixture.kernelState(), pristine);
    fixture.end();
  });

  const links = (): string[] =>
    [...shell('ip -o link').matchAll(/^\d+: (pc[0-9a-f]{12})@/gmu)].map((match) => match[1] ?? '');
  const addressOf = (pod: Pod, index = 0): string =>
    engine.get(pod.request.id)?.ips[index]?.address.split('/')[0] ?? '';
  const fetch = (from: Pod, host: string, port = 80): string | undefined =>
    from.run(`timeout 0.5 busybox wget -q -O - http://${host.includes(':') ? `[${host}]` : host}:${port}/`);
  const reaches = async (from: Pod, host: string, port = 80): Promise<void> =>
    void (await eventually(() => fetch(from, host, port), 20_000));
  const fromHost = (host: string): string | undefined =>
    tried(`timeout 0.5 busybox wget -q -O - http://${host.includes(':') ? `[${host}]` : host}/`);
  const attached = async (name: string, more: Partial<AttachRequest> = {}): Promise<Pod> => {
    const pod = fixture.pod(name, more);
    await engine.attach(pod.request);
    const root = join(fixture.folder, name);
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, 'index.html'), name);
    for (const port of ['80', '81'])
      fixture.start(
        'nsenter',
        `--net=${pod.request.netns}`,
        'busybox',
        'httpd',
        '-f',
        '-p',
        port,
        '-h',
        root,
      );
    await eventually(() => fetch(pod, '127.0.0.1', 81), 10_000);
    return pod;
  };
  const denied = async (pod: Pod): Promise<string[]> => {
    const own = (await engine.denials()).filter(({ id }: Denial) => id === pod.request.id);
    return own.map(({ direction, rule: name }) => `${direction} ${name}`).sort();
  };
  const lets = async (pod: Pod): Promise<unknown> => {
    const { lets: found, problems } =
      (await engine.linkState(pod.request.id)) ?? assert.fail('nothing is attached');
    return [found, ...problems];
  };

  test('peer rules apply to other pods, to the host and to its packets, and the denying rule is named', async () => {
    const web = await attached('web', {
      portMappings: [{ protocol: 'tcp', hostPort: 8088, containerPort: 80 }],
    });
    const client = await attached('client');
    for (const host of [addressOf(web), addressOf(web, 1)]) assert.equal(fetch(client, host), undefined);
    assert.deepEqual(await lets(web), ['nothing']);
    await engine.setClass(web.request.id, 'user');
    await engine.setClass(client.request.id, 'user', {
      egress: [0, 1].map((index) => rule(addressOf(web, index))),
    });
    for (const host of [addressOf(web), addressOf(web, 1)]) {
      await reaches(client, host);
      assert.equal(fetch(client, host, 81), undefined);
      assert.equal(fromHost(host), 'web');
    }
    assert.deepEqual(await lets(client), ['own packets']);
    assert.deepEqual((await engine.linkState(client.request.id))?.egress?.length, 2);
    for (const each of ['egress network.egress', 'egress network.none'])
      assert.ok((await denied(client)).includes(each), each);
    // Rules of the receiving pod apply to the host as well.
    await engine.setClass(web.request.id, 'user', {
      ingress: [rule(addressOf(client)), rule(addressOf(client, 1))],
    });
    for (const index of [0, 1]) {
      await reaches(client, addressOf(web, index));
      assert.equal(fromHost(addressOf(web, index)), undefined);
    }
    assert.ok((await denied(web)).includes('ingress network.ingress'));
    // A host port counts as the pod and port behind it.
    await engine.setClass(client.request.id, 'user');
    await reaches(client, '10.88.0.1', 8088);
    await engine.setClass(web.request.id, 'user', { ingress: [] });
    assert.equal(fetch(client, '10.88.0.1', 8088), undefined);
    const asked = { direction: 'egress', peer: addressOf(web), protocol: 'tcp', port: 80 } as const;
    const { outcome, steps } = await engine.explain({ pod: client.request.id, connection: asked });
    assert.deepEqual(
      [outcome, steps.find(({ says }) => says === 'denies')?.rule],
      ['denied', 'network.ingress'],
    );
    await eventually(
      () => lines.find((line) => line.includes('"network.ingress"') && line.includes('web')),
      10_000,
    );
    await engine.setClass(web.request.id, 'none');
    assert.equal(fromHost(addressOf(web)), undefined);
    await eventually(
      () => lines.find((line) => line.includes('"network.none"') && line.includes('web')),
      10_000,
    );
  });

  test('multicast from the host reaches a pod without ingress rules, and no pod with ingress rules', async () => {
    const pod = await attached('group');
    await engine.setClass(pod.request.id, 'user');
    const own = pluginInterfaceOf('routed', pod.request.id, 'eth0');
    const log = join(fixture.folder, 'group.log');
    const receiver = `import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 5353)); f = open("${log}", "w", 1)
while True: f.write(s.recv(99).decode() + "\\n")`;
    fixture.start('nsenter', `--net=${pod.request.netns}`, 'python3', '-c', receiver);
    const send = (word: string): void => {
      const to = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, 25, b"${own}")`;
      for (const target of ['224.0.0.1', addressOf(pod)])
        tried(`python3 -c '${to}; s.sendto(b"${word} to ${target}", ("${target}", 5353))'`);
    };
    const heard = (): string[] => [
      ...new Set((tried(`cat ${log}`) ?? '').split('\n').filter((line) => line !== '')),
    ];
    const both = ['first to 224.0.0.1', `first to ${addressOf(pod)}`];
    await eventually(
      () => (send('first'), both.every((line) => heard().includes(line)) || undefined),
      20_000,
    );
    await engine.setClass(pod.request.id, 'user', {
      ingress: [{ ...rule('10.0.0.0/8', 5353), protocol: 'udp' }],
    });
    send('second');
    await eventually(() => heard().includes(`second to ${addressOf(pod)}`) || undefined, 20_000);
    assert.deepEqual(heard().sort(), [...both, `second to ${addressOf(pod)}`].sort());
  });

  test('NetworkPolicies select pods of both kinds of links as peers of each other', async () => {
    const labelled = (name: string, app: string): Partial<AttachRequest> => ({
      pod: { name, namespace: 'default', uid: name, labels: { app } },
    });
    const [db, api, other] = [
      await attached('db', labelled('db', 'db')),
      await attached('api', labelled('api', 'api')),
      await attached('other', labelled('other', 'other')),
    ];
    const bridged = join(fixture.confDir, '05-bridge.conflist');
    const ipam = { type: 'host-local', ranges: [[{ subnet: '10.89.0.0/24' }], [{ subnet: 'fd00:89::/64' }]] };
    writeFileSync(bridged, JSON.stringify(conflist({ ipam })));
    const far = await attached('far', labelled('far', 'api'));
    rmSync(bridged);
    for (const pod of [db, api, other, far]) await engine.setClass(pod.request.id, 'user');
    await reaches(other, addressOf(db));
    const policy = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'guard', namespace: 'default' },
      spec: {
        podSelector: { matchLabels: { app: 'db' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { app: 'api' } } }], ports: [{ port: 80 }] }],
      },
    };
    writeFileSync(join(policies(), 'guard.json'), JSON.stringify(policy));
    await eventually(() => (fetch(other, addressOf(db)) === undefined ? true : undefined), 20_000);
    for (const from of [api, far])
      for (const index of [0, 1]) {
        await reaches(from, addressOf(db, index));
        assert.equal(fetch(from, addressOf(db, index), 81), undefined);
      }
    assert.equal(fetch(other, addressOf(db, 1)), undefined);
    // The node reaches its pods.
    assert.equal(fromHost(addressOf(db)), 'db');
    assert.ok((await denied(db)).includes('ingress NetworkPolicy default/guard'));
    rmSync(join(policies(), 'guard.json'));
    writeFileSync(
      join(policies(), 'none.json'),
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [] }),
    );
    await reaches(other, addressOf(db));
  });

  test('IPv6 packets that the kernels send by themselves are not reported as denials of a pod without IPv6', async () => {
    // With this link the host forwards IPv6, and announces on every link that it is a router.
    await attached('six');
    const file = join(fixture.confDir, '05-four.conflist');
    const ipam = { type: 'host-local', ranges: [[{ subnet: '10.90.0.0/24' }]] };
    writeFileSync(
      file,
      JSON.stringify({ cniVersion: '1.0.0', name: 'four', plugins: [{ type: 'portcullis-ptp', ipam }] }),
    );
    const pod = fixture.pod('four');
    await engine.attach(pod.request);
    rmSync(file);
    assert.doesNotMatch(pod.run('ip -6 addr show dev eth0') ?? '', /inet6/u);
    // Longer than a kernel waits before it solicits routers, probes its own address, and reports its groups.
    await pause(2500);
    assert.deepEqual(await denied(pod), []);
    await engine.setClass(pod.request.id, 'user');
    await pause(2500);
    assert.ok(pod.run('busybox ping -c1 -W2 10.90.0.1') !== undefined);
    assert.deepEqual(await denied(pod), []);
  });

  test('restrictions survive a restart, flushed rules and a lost link; a link is closed before DEL of its plugins', async () => {
    const [shut, open_, narrow] = [await attached('shut'), await attached('open'), await attached('narrow')];
    await engine.setClass(shut.request.id, 'none');
    await engine.setClass(open_.request.id, 'user');
    await engine.setClass(narrow.request.id, 'user', { egress: [rule(addressOf(open_), 81)] });
    const holds = async (): Promise<void> => {
      await reaches(narrow, addressOf(open_), 81);
      assert.equal(fetch(narrow, addressOf(open_)), undefined);
      for (const index of [0, 1]) assert.equal(fetch(shut, addressOf(open_, index)), undefined);
      for (const index of [0, 1]) assert.equal(fromHost(addressOf(shut, index)), undefined);
    };
    await holds();
    shell('nft flush ruleset');
    await eventually(
      () =>
        tried(
          'nft list table arp portcullis && nft list table inet portcullis && nft list table inet portcullis_rules',
        ),
      10_000,
    );
    await holds();
    await engine.close({ removeAll: false });
    shell(`nft flush ruleset; ip link del ${pluginInterfaceOf('routed', shut.request.id, 'eth0')}`);
    shell(`ip link set ${pluginInterfaceOf('routed', narrow.request.id, 'eth0')} group default`);
    engine = await open();
    await eventually(() => shut.run('ip -o addr show eth0')?.includes(addressOf(shut)) || undefined, 20_000);
    await holds();
    assert.deepEqual(await lets(shut), ['nothing']);
    shell(
      `nft delete element inet portcullis egress '{ "${pluginInterfaceOf('routed', open_.request.id, 'eth0')}" }'`,
    );
    assert.equal(((await lets(open_)) as unknown[])[0], 'unknown');
    await engine.detach(narrow.request.id);
    assert.doesNotMatch(
      shell('nft list table inet portcullis; nft list table arp portcullis'),
      new RegExp(pluginInterfaceOf('routed', narrow.request.id, 'eth0'), 'u'),
    );
  });

  test('a process that is killed at any moment leaves no open link and no unknown resource', async () => {
    await engine.close({ removeAll: false });
    const namespaces = ['kill0', 'kill1'].map((name) => fixture.pod(name).request.netns);
    const program = `
      import { createNetworkEngine } from ${JSON.stringify(new URL('../engine/engine.ts', import.meta.url).href)};
      import { createLogger } from ${JSON.stringify(new URL('../../base/log/index.ts', import.meta.url).href)};
      const engine = await createNetworkEngine({ databasePath: ${JSON.stringify(fixture.databasePath)}, confDir: ${JSON.stringify(fixture.confDir)}, log: createLogger({ level: 'silent' }) });
      await engine.gc(new Set());
      process.stdout.write('started');
      await Promise.all(${JSON.stringify(namespaces)}.map(async (netns, slot) => {
        for (let turn = 0; ; turn += 1) {
          const id = process.pid + '-' + slot + '-' + turn;
          await engine.attach({ id, netns, pod: { name: id, namespace: 'default', uid: id }, portMappings: [{ protocol: 'udp', hostPort: 9000 + slot, containerPort: 53 }] });
          await engine.setClass(id, 'user', { egress: [] });
          await engine.setClass(id, 'none');
          await engine.detach(id);
        }
      }));`;
    let met = 0;
    for (let kill = 0; kill < 6; kill += 1) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      await pause((20 + kill * 23) * slower);
      child.kill('SIGKILL');
      await once(child, 'exit');
      assert.equal(child.signalCode, 'SIGKILL');
      met += links().length;
      // The daemon is dead: every link that is up is classified by its group, and denied or known.
      for (const [, name = '', group = ''] of shell('ip -d -o link').matchAll(
        /^\d+: (pc[0-9a-f]{12})@.* group (\S+)/gmu,
      ))
        assert.equal(group, String(0x70630005), name);
    }
    assert.ok(met > 0, 'no link existed at any kill');
    engine = await open();
    await engine.gc(new Set());
    await eventually(() => links().length === 0 || undefined, 10_000);
    // Its plugins continue after the call has returned.
    await eventually(() => fixture.rows('SELECT 1 FROM attachment').length === 0 || undefined, 10_000).catch(
      () => undefined,
    );
    for (const table of ['attachment', 'part', 'lease', 'host_port'])
      assert.deepEqual(fixture.rows(`SELECT * FROM ${table}`), [], table);
    assert.doesNotMatch(shell('ip route; ip -6 route'), /10\.88|fd00:88/u);
  });
}
