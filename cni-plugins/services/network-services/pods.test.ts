import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, test } from 'node:test';
import { createLogger } from '../../../base/log/index.ts';
import { conflist, createFixture, inPrivateNetns, shell, tried } from '../../engine/engine.fixture.ts';
import type { Fixture, Pod } from '../../engine/engine.fixture.ts';
import type { NetworkEngine } from '../../types.ts';
import { startServices } from '../control/services.ts';
import type { Services } from '../control/services.ts';

/** Pods of our own runtime: the engine creates their links, which deny everything at first. */
if (inPrivateNetns(import.meta.filename, 180_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let services: Services;
  before(async () => {
    fixture = createFixture(conflist({ capabilities: { aliases: true } }));
    engine = await fixture.engine();
    services = await startServices(
      { databasePath: fixture.databasePath, balancer: 'auto' },
      createLogger({ level: 'error' }),
    );
    shell('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1');
  });
  after(async () => {
    await services.close();
    await engine.close({ removeAll: true });
    fixture.end();
  });

  const virtual = (): string[] =>
    fixture
      .rows('SELECT document FROM network_service')
      .flatMap((text) => (JSON.parse(text) as { addresses: string[] }).addresses);
  const names = (): string[] =>
    fixture.rows("SELECT DISTINCT name FROM name WHERE kind = 'service' ORDER BY name");
  const fetch = (pod: Pod, host: string): string | undefined =>
    pod.run(`timeout 2 busybox wget -q -O - http://${host.includes(':') ? `[${host}]` : host}/`);
  async function comesAbout(what: string, is: () => boolean): Promise<void> {
    for (const deadline = Date.now() + 40_000; !is(); await pause(50))
      if (Date.now() > deadline) assert.fail(what);
  }

  test('a pod is a member while it is attached, and a backend once its link lets packets through', async () => {
    const joined = { capabilities: { services: [{ name: 'web', ports: ['80:8080'] }] } };
    const [web, client] = [fixture.pod('web', joined), fixture.pod('client')];
    for (const pod of [web, client]) await engine.attach(pod.request);
    await engine.setClass(client.request.id, 'user');
    await comesAbout('the service has no name', () => names().join() === 'tasks.web,web');
    const addresses = virtual();
    assert.match(addresses.join(' '), /^10\.88\.0\.\d+ fd00:88::[0-9a-f]+$/u);
    assert.equal(fetch(client, addresses[0] ?? ''), undefined, 'no container of the pod runs yet');

    const root = join(fixture.folder, 'web');
    mkdirSync(root);
    writeFileSync(join(root, 'index.html'), 'web');
    fixture.start(
      'nsenter',
      `--net=${web.request.netns}`,
      'busybox',
      'httpd',
      '-f',
      '-p',
      '[::]:8080',
      '-h',
      root,
    );
    await engine.setClass(web.request.id, 'user');
    for (const address of addresses)
      await comesAbout(`${address} does not answer`, () => fetch(client, address) === 'web');

    // Another pod never gets the address, and the address does not disturb the engine.
    const more = fixture.pod('more');
    await engine.attach(more.request);
    assert.equal(
      engine.get(more.request.id)?.ips.some(({ address }) => addresses.includes(address.split('/')[0] ?? '')),
      false,
    );
    assert.equal((await engine.status()).ready, true);

    await engine.detach(web.request.id);
    await comesAbout('the address stays', () => virtual().length === 0);
    assert.deepEqual(names(), []);
    assert.deepEqual(fixture.rows('SELECT service FROM service_member'), []);
    for (const address of addresses)
      assert.equal(shell('ip address').includes(`${address}/`), false, address);
    assert.equal(tried('nft list table ip portcullis_service_networks'), undefined);
    for (const pod of [client, more]) await engine.detach(pod.request.id);
  });
}
