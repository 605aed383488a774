import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestOptions } from 'node:test';
import { createFixture, eventually, shell, tried } from '../engine/engine.fixture.ts';
import type { Fixture, Pod } from '../engine/engine.fixture.ts';
import type { AttachRequest, LinkRule, NetworkEngine } from '../types.ts';
import type { Balancer, VirtualServer } from './model/model.ts';

/**
 * Tests of a balancer in a network namespace of its own: a virtual address does not change what a pod may
 * reach, because rules apply to the backend.
 */
export function testPodRules(open: () => Balancer, options: TestOptions = {}): void {
  const stage = openStage(open, options);
  testClasses(stage, options);
  testSources(stage, options);
  testPolicies(stage, options);
  testEarlierFlows(stage, options);
}

/** A balancer and an engine that are open while the tests run. */
interface Stage {
  readonly fixture: Fixture;
  readonly engine: NetworkEngine;
  /** Absent while the tests are skipped. */
  readonly balancer: Balancer | undefined;
  addressOf(pod: Pod, family: 4 | 6): string;
  /** Returns a virtual server at port 80 in front of one pod. */
  serverFor(family: 4 | 6, number: number, backend: Pod): VirtualServer;
}

function openStage(open: () => Balancer, options: TestOptions): Stage {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let balancer: Balancer | undefined;
  before(async () => {
    fixture = createFixture();
    engine = await fixture.engine();
    if (options.skip === undefined) balancer = open();
  });
  after(async () => {
    balancer?.removeAll();
    balancer?.close();
    await engine.close({ removeAll: true });
    fixture.end();
  });

  const addressOf = (pod: Pod, family: 4 | 6): string =>
    engine.get(pod.request.id)?.ips[family === 4 ? 0 : 1]?.address.split('/')[0] ?? '';
  const serverFor = (family: 4 | 6, number: number, backend: Pod): VirtualServer => ({
    service: `service-${number}`,
    portName: 'main',
    kind: 'virtual',
    family,
    address: family === 4 ? `10.96.0.${number}` : `fd96::${number}`,
    protocol: 'tcp',
    port: 80,
    scheduler: 'rr',
    clientAffinity: false,
    forwarding: 'nat',
    sourceAddress: 'keep',
    destinations: [{ address: addressOf(backend, family), port: 80, weight: 1 }],
  });
  return {
    get fixture() {
      return fixture;
    },
    get engine() {
      return engine;
    },
    get balancer() {
      return balancer;
    },
    addressOf,
    serverFor,
  };
}

const all = (cidr: string): LinkRule => ({ cidr, protocol: 'tcp', ports: { low: 0, high: 65535 } });
const fetch = (pod: Pod, host: string): string | undefined =>
  pod.run(`timeout 2 busybox wget -q -O - http://${host.includes(':') ? `[${host}]` : host}/`);

function testClasses(stage: Stage, options: TestOptions): void {
  const { addressOf, serverFor } = stage;
  test(
    'egress rules, ingress rules and classes apply to the backend behind a virtual address, in both families',
    options,
    async () => {
      const [web, other, client] = ['web', 'other', 'client'].map((name) => stage.fixture.pod(name)) as [
        Pod,
        Pod,
        Pod,
      ];
      for (const pod of [web, other, client]) await stage.engine.attach(pod.request);
      for (const pod of [web, other, client]) await stage.engine.setClass(pod.request.id, 'user');
      for (const pod of [web, other]) {
        const root = join(stage.fixture.folder, pod.request.pod.name);
        mkdirSync(root, { recursive: true });
        writeFileSync(join(root, 'index.html'), pod.request.pod.name);
        stage.fixture.start(
          'nsenter',
          `--net=${pod.request.netns}`,
          'busybox',
          'httpd',
          '-f',
          '-p',
          '80',
          '-h',
          root,
        );
      }
      stage.balancer?.reconcile(
        ([4, 6] as const).flatMap((family) => [serverFor(family, 1, web), serverFor(family, 2, other)]),
      );
      shell('sysctl -qw net.ipv6.conf.all.forwarding=1');
      for (const [family, one, two] of [
        [4, '10.96.0.1', '10.96.0.2'],
        [6, 'fd96::1', 'fd96::2'],
      ] as const) {
        const reaches = async (pod: Pod, host: string, name: string): Promise<void> =>
          assert.equal((await eventually(() => fetch(pod, host), 40_000)).trim(), name);
        await reaches(client, one, 'web');
        await reaches(client, two, 'other');
        // A backend connects to itself by the virtual address. With bridge netfilter its frame goes back by
        // the port that it came from.
        for (const bridged of [true, false]) {
          passBridgedFrames(bridged);
          await reaches(web, one, 'web');
          await reaches(web, two, 'other');
        }
        const bits = family === 4 ? 32 : 128;
        await stage.engine.setClass(client.request.id, 'user', {
          egress: [all(`${addressOf(web, family)}/${bits}`)],
        });
        await reaches(client, one, 'web');
        assert.equal(fetch(client, two), undefined, 'no egress rule allows this backend');
        // A rule for the virtual address alone allows nothing, because the packet's destination is the
        // backend.
        await stage.engine.setClass(client.request.id, 'user', { egress: [all(`${one}/${bits}`)] });
        assert.equal(fetch(client, one), undefined);
        await stage.engine.setClass(client.request.id, 'user');
        await stage.engine.setClass(other.request.id, 'user', {
          ingress: [all(`${addressOf(web, family)}/${bits}`)],
        });
        assert.equal(fetch(client, two), undefined, 'the ingress rules of this backend deny it');
        await reaches(web, two, 'other');
        await stage.engine.setClass(other.request.id, 'user');
        await stage.engine.setClass(client.request.id, 'none');
        assert.equal(fetch(client, one), undefined, 'its link is closed');
        await stage.engine.setClass(client.request.id, 'user');
        await reaches(client, two, 'other');
      }
    },
  );
}

/** Answers each connection with the address of its client. */
const answerWithClient = `import socket
server = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
  connection, client = server.accept()
  connection.recv(999)
  connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + client[0].removeprefix("::ffff:").encode())
  connection.close()`;

/** Switches whether frames on a bridge pass the rules of the IP layer. */
const passBridgedFrames = (pass: boolean): string | undefined =>
  tried(`sh -c 'for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do echo ${Number(pass)} > $f; done'`);

function testSources(stage: Stage, options: TestOptions): void {
  const { addressOf, serverFor } = stage;
  test(
    'a backend sees the address of a client on its bridge if bridged frames pass the rules of the IP layer',
    options,
    async () => {
      const [backend, near] = ['backend', 'near'].map((name) => stage.fixture.pod(name)) as [Pod, Pod];
      for (const pod of [backend, near]) {
        await stage.engine.attach(pod.request);
        await stage.engine.setClass(pod.request.id, 'user');
      }
      const entered = ['nsenter', `--net=${backend.request.netns}`] as const;
      stage.fixture.start(...entered, 'python3', '-c', answerWithClient);
      stage.balancer?.reconcile(([4, 6] as const).map((family) => serverFor(family, 9, backend)));
      shell('sysctl -qw net.ipv6.conf.all.forwarding=1');
      for (const family of [4, 6] as const) {
        const host = family === 4 ? '10.96.0.9' : 'fd96::9';
        const bridge = family === 4 ? '10.88.0.1' : 'fd00:88::1';
        const seen = (pod: Pod): Promise<string> => eventually(() => fetch(pod, host), 40_000);
        const ingress = { ingress: [all(`${addressOf(near, family)}/${family === 4 ? 32 : 128}`)] };
        for (const rules of [undefined, ingress]) {
          await stage.engine.setClass(backend.request.id, 'user', rules);
          passBridgedFrames(true);
          assert.equal(await seen(near), addressOf(near, family));
          if (rules === undefined) assert.equal(await seen(backend), bridge, 'its own answer');
          // The answer crosses the bridge untranslated.
          passBridgedFrames(false);
          assert.equal(await seen(near), bridge);
          if (rules === undefined) assert.equal(await seen(backend), bridge);
        }
        await stage.engine.setClass(backend.request.id, 'user');
      }
      passBridgedFrames(true);
    },
  );
}

function testPolicies(stage: Stage, options: TestOptions): void {
  const { addressOf, serverFor } = stage;
  test(
    'NetworkPolicies apply to traffic through a virtual address and a node port, from the first datagram on',
    options,
    async () => {
      const labelled = (app: string): Partial<AttachRequest> => ({
        pod: { name: app, namespace: 'default', uid: app, labels: { app } },
      });
      const [db, api, foreign] = ['db', 'api', 'stranger'].map((name) =>
        stage.fixture.pod(name, labelled(name)),
      ) as [Pod, Pod, Pod];
      for (const pod of [db, api, foreign]) {
        await stage.engine.attach(pod.request);
        await stage.engine.setClass(pod.request.id, 'user');
      }
      const log = join(stage.fixture.folder, 'heard');
      const program = `import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(("::", 53)); f = open("${log}", "w", 1)
while True: f.write(s.recv(99).decode() + "\\n")`;
      stage.fixture.start('nsenter', `--net=${db.request.netns}`, 'python3', '-c', program);
      const heard = (): string[] => (tried(`cat ${log}`) ?? '').split('\n').filter((line) => line !== '');
      const nodePort = 30_053;
      const place = {
        protocol: 'udp',
        destinations: [{ address: addressOf(db, 4), port: 53, weight: 1 }],
      } as const;
      const { address: _, ...node } = {
        ...serverFor(4, 3, db),
        ...place,
        kind: 'node' as const,
        port: nodePort,
      };
      const six = {
        ...serverFor(6, 3, db),
        protocol: 'udp',
        port: 53,
        destinations: [{ address: addressOf(db, 6), port: 53, weight: 1 }],
      } as const;
      stage.balancer?.reconcile([{ ...serverFor(4, 3, db), ...place, port: 53 }, six, node]);
      type Way = readonly [host: string, port: number];
      const ways: readonly Way[] = [
        ['10.96.0.3', 53],
        ['fd96::3', 53],
        ['10.88.0.1', nodePort],
      ];
      const send = (pod: Pod, word: string, [host, port]: Way): void => {
        const family = host.includes(':') ? 'AF_INET6' : 'AF_INET';
        pod.run(
          `python3 -c 'import socket; socket.socket(socket.${family}, socket.SOCK_DGRAM).sendto(b"${word} ${host}", ("${host}", ${port}))'`,
        );
      };
      const comes = (pod: Pod, word: string, way: Way): Promise<true> =>
        eventually(() => (send(pod, word, way), heard().includes(`${word} ${way[0]}`) || undefined), 20_000);
      for (const way of ways)
        for (const pod of [api, foreign]) await comes(pod, `${pod.request.pod.name} first`, way);
      mkdirSync(join(stage.fixture.folder, 'policies'), { recursive: true });
      const guard = {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'guard', namespace: 'default' },
        spec: {
          podSelector: { matchLabels: { app: 'db' } },
          ingress: [{ from: [{ podSelector: { matchLabels: { app: 'api' } } }] }],
        },
      };
      writeFileSync(join(stage.fixture.folder, 'policies', 'guard.json'), JSON.stringify(guard));
      const direct = [addressOf(db, 4), 53] as const;
      const passes = async (look: number): Promise<boolean> => {
        send(foreign, `stranger ${look}`, direct);
        await comes(api, `api ${look}`, direct);
        return heard().includes(`stranger ${look} ${direct[0]}`);
      };
      for (let look = 0; await passes(look); look += 1) assert.ok(look < 100, 'the policy is not in force');
      for (const way of ways) {
        send(foreign, 'stranger second', way);
        await comes(api, 'api second', way);
        assert.equal(heard().includes(`stranger second ${way[0]}`), false, way[0]);
      }
    },
  );
}

function testEarlierFlows(stage: Stage, options: TestOptions): void {
  test(
    'NetworkPolicies apply to a UDP flow that began before its node port was served',
    options,
    async () => {
      const [db, sender] = ['late-db', 'early'].map((app) =>
        stage.fixture.pod(app, { pod: { name: app, namespace: 'default', uid: app, labels: { app } } }),
      ) as [Pod, Pod];
      for (const pod of [db, sender]) {
        await stage.engine.attach(pod.request);
        await stage.engine.setClass(pod.request.id, 'user');
      }
      stage.balancer?.reconcile([]);
      const log = join(stage.fixture.folder, 'heard-late');
      const sent = join(stage.fixture.folder, 'sent-early');
      const start = (pod: Pod, program: string): void =>
        void stage.fixture.start('nsenter', `--net=${pod.request.netns}`, 'python3', '-c', program);
      start(
        db,
        `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 53)); f = open("${log}", "w", 1)
while True: f.write(s.recv(99).decode() + "\\n")`,
      );
      const count = (file: string, word: string): number =>
        (tried(`cat ${file}`) ?? '').split('\n').filter((line) => line === word).length;
      const send = (from: Pod, word: string, to: string): void =>
        void from.run(
          `python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"${word}", ("${to}", 53))'`,
        );
      const direct = (): void => send(sender, 'direct', stage.addressOf(db, 4));
      await eventually(() => (direct(), count(log, 'direct') > 0 || undefined), 40_000);
      const folder = join(stage.fixture.folder, 'policies');
      mkdirSync(folder, { recursive: true });
      const closed = {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'closed', namespace: 'default' },
        spec: { podSelector: { matchLabels: { app: 'late-db' } }, ingress: [] },
      };
      writeFileSync(join(folder, 'closed.json'), JSON.stringify(closed));
      const passes = async (): Promise<boolean> => {
        const [before, marks] = [count(log, 'direct'), count(log, 'mark')];
        direct();
        // The backend reads its own datagram after all that arrived before.
        send(db, 'mark', '127.0.0.1');
        await eventually(() => count(log, 'mark') > marks || undefined, 40_000);
        return count(log, 'direct') > before;
      };
      for (let look = 0; await passes(); look += 1) assert.ok(look < 100, 'the policy is not in force');
      start(
        sender,
        `import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 4444)); f = open("${sent}", "w", 1)
while True: s.sendto(b"early", ("10.88.0.1", 30054)); f.write("early\\n"); time.sleep(0.1)`,
      );
      await eventually(() => count(sent, 'early') > 3 || undefined, 40_000);
      const { address: _, ...server } = stage.serverFor(4, 4, db);
      const destinations = [{ address: stage.addressOf(db, 4), port: 53, weight: 1 }];
      stage.balancer?.change([{ ...server, kind: 'node', protocol: 'udp', port: 30_054, destinations }], []);
      const after = count(sent, 'early');
      await eventually(() => count(sent, 'early') > after + 5 || undefined, 40_000);
      assert.equal(count(log, 'early'), 0);
      rmSync(join(folder, 'closed.json'));
      await eventually(() => count(log, 'early') > 0 || undefined, 40_000);
    },
  );
}
