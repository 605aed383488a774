import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import {
  conflist,
  createFixture,
  eventually,
  inPrivateNetns,
  shell,
  tried,
} from '../engine/engine.fixture.ts';
import type { Fixture, Pod } from '../engine/engine.fixture.ts';
import type { LinkRule, NetworkEngine } from '../types.ts';

const rule = (cidr: string, protocol: LinkRule['protocol'] = 'tcp', low = 80, high = low): LinkRule => ({
  cidr,
  protocol,
  ports: { low, high },
});

if (inPrivateNetns(import.meta.filename)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let pristine: string;
  before(async () => {
    fixture = createFixture();
    pristine = fixture.kernelState();
    engine = await fixture.engine();
  });
  after(async () => {
    await engine.close({ removeAll: true });
    assert.equal(fixture.kernelState(), pristine);
    fixture.end();
  });
  afterEach(async () => {
    await engine.gc(new Set());
    assert.doesNotMatch(shell('nft list tables'), /portcullis_rules/u);
  });

  const addressOf = (pod: Pod, index = 0): string =>
    engine.get(pod.request.id)?.ips[index]?.address.split('/')[0] ?? '';
  const serve = async (pod: Pod, port = 80): Promise<void> => {
    const root = join(fixture.folder, pod.request.pod.name);
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, 'index.html'), pod.request.pod.name);
    fixture.start(
      'nsenter',
      `--net=${pod.request.netns}`,
      'busybox',
      'httpd',
      '-f',
      '-p',
      String(port),
      '-h',
      root,
    );
    await eventually(() => pod.run(`timeout 0.4 busybox wget -q -O - http://127.0.0.1:${port}/`));
  };
  const fetch = (pod: Pod, host: string, port = 80): string | undefined =>
    pod.run(`timeout 0.4 busybox wget -q -O - http://${host.includes(':') ? `[${host}]` : host}:${port}/`);
  const reaches = async (from: Pod, host: string, port = 80): Promise<void> => {
    await eventually(() => fetch(from, host, port), 20_000);
  };
  /** Call it once it is known that the way is open (neighbours are resolved): no packet passes. */
  const denied = (from: Pod, host: string, port = 80): void => {
    assert.equal(fetch(from, host, port), undefined, `${from.request.pod.name} reached ${host}:${port}`);
  };

  const few = [rule('203.0.113.0/24')];
  /** So many that the chains are listed one by one. */
  const many = Array.from({ length: 4200 }, (_, at) => rule(`203.0.${at >> 8}.${at & 255}/32`));
  const areRestored = async (index: number, egress: readonly LinkRule[]): Promise<void> => {
    const [web, client] = [`taken-web${index}`, `taken${index}`].map((name) => fixture.pod(name)) as [
      Pod,
      Pod,
    ];
    for (const pod of [web, client]) await engine.attach(pod.request);
    await serve(web);
    await engine.setClass(web.request.id, 'user');
    await engine.setClass(client.request.id, 'user', { egress });
    const listed = (): string => shell('nft list ruleset').replaceAll(/packets \d+ bytes \d+/gu, '');
    const rules = listed();
    assert.doesNotMatch(rules, /set peers/u, 'a rule for one block needs no set');
    const chains = [
      ...shell('nft list table inet portcullis_rules').matchAll(/chain (\S+_egress_profile) /gu),
    ].map(([, chain]) => chain);
    assert.equal(chains.length, 1);
    for (const chain of [
      'bridge portcullis_rules prerouting',
      'inet portcullis_rules judge',
      `inet portcullis_rules ${chains[0] ?? ''}`,
    ]) {
      const tables = (): string => shell('nft -a list ruleset | grep ^table');
      const before = tables();
      shell(`nft flush chain ${chain}`);
      assert.equal((await engine.status()).ready, true);
      assert.equal(listed(), rules, chain);
      // The engine checks by itself, too, maybe before the test sees the chain empty. The kernel never
      // reuses a table's handle: these are other tables.
      assert.notEqual(tables(), before, chain);
    }
    denied(client, addressOf(web));
    for (const pod of [web, client]) await engine.detach(pod.request.id);
  };
  test('rules that another program removes from existing tables are restored', () => areRestored(0, few));
  test('thousands of rules that another program removes are restored', () => areRestored(1, many));

  for (const bridgeNetfilter of [0, 1])
    test(`egress and ingress rules apply on the bridge, in both families, bridge-netfilter ${bridgeNetfilter}`, async () => {
      tried(
        `sh -c 'for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do echo ${bridgeNetfilter} > $f; done'`,
      );
      const [web, client, other] = ['web', 'client', 'other'].map((name) =>
        fixture.pod(`${name}${bridgeNetfilter}`),
      ) as [Pod, Pod, Pod];
      for (const pod of [web, client, other]) await engine.attach(pod.request);
      await serve(web);
      await serve(web, 81);
      await serve(client);
      const [four, six] = [addressOf(web), addressOf(web, 1)];
      await engine.setClass(web.request.id, 'user');
      await engine.setClass(other.request.id, 'user');
      await engine.setClass(client.request.id, 'user', { egress: [rule(`${four}/32`), rule(`${six}/128`)] });
      for (const host of [four, six]) {
        await reaches(client, host);
        denied(client, host, 81);
      }
      await reaches(other, four, 81);
      // Only connections that it opens are restricted: others reach it, and it answers.
      for (const index of [0, 1]) await reaches(other, addressOf(client, index));
      // Rules of the receiving pod.
      await engine.setClass(web.request.id, 'user', {
        ingress: [rule(`${addressOf(other)}/32`, 'tcp', 0, 65535)],
      });
      await reaches(other, four, 81);
      for (const host of [four, six]) denied(client, host);
      denied(other, six);
      await engine.setClass(web.request.id, 'user');
      for (const host of [four, six]) await reaches(client, host);
      await engine.setClass(client.request.id, 'user', { egress: [], ingress: [] });
      for (const host of [four, six]) denied(client, host);
      for (const index of [0, 1]) denied(other, addressOf(client, index));
      const denials = await engine.denials();
      const ofRules = denials.filter(({ rule: name }) => name !== 'network.none');
      assert.deepEqual([...new Set(ofRules.map(({ pod, rule: name }) => `${pod.name} ${name}`))].sort(), [
        `client${bridgeNetfilter} network.egress`,
        `client${bridgeNetfilter} network.ingress`,
      ]);
      await engine.setClass(client.request.id, 'user');
      for (const host of [four, six]) await reaches(client, host, 81);
    });

  test('an established connection ends when its rule is removed', async () => {
    const [web, client] = [fixture.pod('ending'), fixture.pod('talker')];
    for (const pod of [web, client]) await engine.attach(pod.request);
    await engine.setClass(web.request.id, 'user');
    await engine.setClass(client.request.id, 'user', { egress: [rule('10.88.0.0/16', 'udp', 53)] });
    const echo =
      "const s=require('dgram').createSocket('udp4');s.on('message',(m,r)=>s.send(m,r.port,r.address));s.bind(53)";
    fixture.start('nsenter', `--net=${web.request.netns}`, process.execPath, '-e', echo);
    const log = join(fixture.folder, 'heard');
    const send = `const s=require('dgram').createSocket('udp4');let n=0;s.on('message',m=>require('fs').writeFileSync(${JSON.stringify(log)},String(m)));setInterval(()=>s.send(String(++n),53,'${addressOf(web)}'),20)`;
    fixture.start('nsenter', `--net=${client.request.netns}`, process.execPath, '-e', send);
    const heard = (): string => tried(`cat ${log}`) ?? '';
    await eventually(() => (Number(heard()) > 3 ? true : undefined), 20_000);
    await engine.setClass(client.request.id, 'user', { egress: [rule('10.88.0.0/16', 'udp', 54)] });
    // Answers that were on their way may still arrive, and be written.
    await eventually(async () => {
      const last = heard();
      await new Promise((resolve) => setTimeout(resolve, 500));
      return heard() === last ? true : undefined;
    }, 20_000);
  });

  test('an invalid rule changes nothing, and a network without a gateway does not support rules', async () => {
    const pod = fixture.pod('wrong');
    await engine.attach(pod.request);
    const coded = (code: string) => (thrown: unknown) => isPortcullisError(thrown) && thrown.code === code;
    for (const bad of [
      rule('10.0.0.0/33'),
      rule('10.0.0.0/8', 'tcp', 5, 4),
      rule('10.0.0.0/8', 'tcp', 0, 70000),
    ])
      await assert.rejects(
        engine.setClass(pod.request.id, 'user', { egress: [bad] }),
        coded('NETWORK_BAD_RULE'),
      );
    assert.equal(engine.get(pod.request.id)?.class, 'deny');
    writeFileSync(
      join(fixture.confDir, '05-flat.conflist'),
      JSON.stringify({
        ...conflist({ isDefaultGateway: false, isGateway: false, bridge: 'flat0' }),
        name: 'flat',
      }),
    );
    const flat = fixture.pod('flat');
    await engine.attach(flat.request);
    await assert.rejects(
      engine.setClass(flat.request.id, 'user', { egress: [] }),
      coded('NETWORK_RULES_UNSUPPORTED'),
    );
    await engine.setClass(flat.request.id, 'user');
    shell(`rm ${join(fixture.confDir, '05-flat.conflist')}`);
  });
}
