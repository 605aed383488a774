import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createFixture, eventually, inPrivateNetns, shell, tried } from '../../attach/engine.fixture.ts';
import type { Fixture, Pod } from '../../attach/engine.fixture.ts';
import type { LinkRule, NetworkEngine } from '../../types.ts';
import type { Balancer, VirtualServer } from '../model.ts';
import { openNftablesBalancer } from './balancer.ts';

/** What a pod may reach does not change because it goes there by a virtual address: rules are about the backend. */
if (inPrivateNetns(import.meta.filename, 180_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let balancer: Balancer;
  before(async () => {
    fixture = createFixture();
    engine = await fixture.engine();
    balancer = openNftablesBalancer();
  });
  after(async () => {
    balancer.removeAll();
    balancer.close();
    await engine.close({ removeAll: true });
    fixture.end();
  });

  const addressOf = (pod: Pod, family: 4 | 6): string => engine.get(pod.request.id)?.ips[family === 4 ? 0 : 1]?.address.split('/')[0] ?? '';
  const fetch = (pod: Pod, host: string): string | undefined =>
    pod.run(`timeout 2 busybox wget -q -O - http://${host.includes(':') ? `[${host}]` : host}/`);
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
  const all = (cidr: string): LinkRule => ({ cidr, protocol: 'tcp', ports: { low: 0, high: 65535 } });

  test('egress and ingress rules and classes hold for the backend that a virtual address leads to, both families', async () => {
    const [web, other, client] = ['web', 'other', 'client'].map((name) => fixture.pod(name)) as [Pod, Pod, Pod];
    for (const pod of [web, other, client]) await engine.attach(pod.request);
    for (const pod of [web, other, client]) await engine.setClass(pod.request.id, 'user');
    for (const pod of [web, other]) {
      const root = join(fixture.folder, pod.request.pod.name);
      mkdirSync(root, { recursive: true });
      writeFileSync(join(root, 'index.html'), pod.request.pod.name);
      fixture.start('nsenter', `--net=${pod.request.netns}`, 'busybox', 'httpd', '-f', '-p', '80', '-h', root);
    }
    balancer.reconcile(([4, 6] as const).flatMap((family) => [serverFor(family, 1, web), serverFor(family, 2, other)]));
    shell('sysctl -qw net.ipv6.conf.all.forwarding=1');
    for (const [family, one, two] of [
      [4, '10.96.0.1', '10.96.0.2'],
      [6, 'fd96::1', 'fd96::2'],
    ] as const) {
      const reaches = async (pod: Pod, host: string, name: string): Promise<void> =>
        assert.equal((await eventually(() => fetch(pod, host), 40_000)).trim(), name);
      await reaches(client, one, 'web');
      await reaches(client, two, 'other');
      // A backend that calls itself by the virtual address; with bridge netfilter its frame goes back by the port that it came from.
      for (const bridged of [1, 0]) {
        tried(`sh -c 'for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do echo ${bridged} > $f; done'`);
        await reaches(web, one, 'web');
        await reaches(web, two, 'other');
      }
      const bits = family === 4 ? 32 : 128;
      await engine.setClass(client.request.id, 'user', { egress: [all(`${addressOf(web, family)}/${bits}`)] });
      await reaches(client, one, 'web');
      assert.equal(fetch(client, two), undefined, 'no rule lets it reach that backend');
      // A rule for the virtual address alone lets nothing through: it is not what is reached.
      await engine.setClass(client.request.id, 'user', { egress: [all(`${one}/${bits}`)] });
      assert.equal(fetch(client, one), undefined);
      await engine.setClass(client.request.id, 'user');
      await engine.setClass(other.request.id, 'user', { ingress: [all(`${addressOf(web, family)}/${bits}`)] });
      assert.equal(fetch(client, two), undefined, 'that backend takes nothing from it');
      await reaches(web, two, 'other');
      await engine.setClass(other.request.id, 'user');
      await engine.setClass(client.request.id, 'none');
      assert.equal(fetch(client, one), undefined, 'its link is closed');
      await engine.setClass(client.request.id, 'user');
      await reaches(client, two, 'other');
    }
  });
}
