import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually, inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import {
  createDhcpNetwork,
  dnsmasqProgram,
  startUpstreamDaemon,
  upstreamProgram,
  withoutPrograms,
} from './dhcp.fixture.ts';
import { createPluginFixture } from './plugin-engine.fixture.ts';
import type { Conf } from './plugin-engine.fixture.ts';

/** The upstream address plugin dhcp, with its daemon and dnsmasq as the server. */

const path = ['/usr/lib/cni'];

if (inPrivateNetns(import.meta.filename, 180_000)) {
  const fixture = createPluginFixture();
  const network = createDhcpNetwork(fixture.folder);
  const daemonSocketPath = join(fixture.folder, 'dhcp.sock');
  const ipam = { type: 'dhcp', daemonSocketPath };
  const skip = withoutPrograms(dnsmasqProgram, upstreamProgram);

  const confs: readonly Conf[] = [
    { type: 'portcullis-macvlan', cniVersion: '1.0.0', master: 'up0', ipam },
    { type: 'portcullis-bridge', cniVersion: '1.0.0', bridge: 'dhcp0', ipam },
  ];

  for (const conf of confs)
    test(`the upstream program dhcp gets an address for ${conf.type}`, { skip }, async () => {
      network.startServer();
      const daemon = await startUpstreamDaemon(daemonSocketPath);
      if (conf.type === 'portcullis-bridge') {
        // The server is behind a port of the bridge.
        shell('ip link add dhcp0 type bridge; ip link set dhcp0 up; ip link set up0 master dhcp0');
      }
      const of = { id: `upstream-${conf.type}`, netns: fixture.pin(conf.type) };
      const result = await fixture.call('add', conf, of, { path });
      assert.match(result?.ips[0]?.address ?? '', /^10\.77\.0\.\d+\/24$/u);
      assert.equal(result?.ips[0]?.gateway, '10.77.0.1');
      assert.deepEqual(
        result.routes.map(({ dst, gw }) => ({ dst, gw })),
        [{ dst: '0.0.0.0/0', gw: '10.77.0.1' }],
      );
      assert.match(fixture.inside(of.netns, 'ip -4 -o address show dev eth0') ?? '', /10\.77\.0\.\d+\/24/u);
      assert.equal(network.leases().length, 1);
      await fixture.call('check', conf, of, { path, prevResult: result });
      await fixture.call('del', conf, of, { path });
      await eventually(() => network.leases().length === 0 || undefined);
      assert.doesNotMatch(fixture.inside(of.netns, 'ip -o link') ?? '', /eth0/u);
      daemon.kill('SIGKILL');
      rmSync(daemonSocketPath, { force: true });
      shell('ip link set up0 nomaster');
      await network.stopServer();
    });

  test('an ADD without the daemon of the upstream program leaves nothing', { skip }, async () => {
    const [conf] = confs;
    if (conf === undefined) return;
    const of = { id: 'no-daemon', netns: fixture.pin('no-daemon') };
    await assert.rejects(fixture.call('add', conf, of, { path }), { code: 'NETWORK_IPAM_FAILED' });
    assert.doesNotMatch(fixture.inside(of.netns, 'ip -o link') ?? '', /eth0/u);
    await assert.rejects(
      fixture.call('check', conf, of, { path, prevResult: { interfaces: [], ips: [], routes: [], dns: {} } }),
    );
  });

  test('a plugin whose interface needs its addresses at its creation refuses dhcp', { skip }, async () => {
    const of = { id: 'refused', netns: fixture.pin('refused') };
    for (const conf of [
      { type: 'portcullis-ptp', ipam },
      { type: 'portcullis-bridge', isGateway: true, ipam },
      { type: 'portcullis-ipvlan', master: 'up0', mode: 'l3', ipam },
    ])
      await assert.rejects(fixture.call('add', conf, of, { path }), { code: 'NETWORK_CONFIG_INVALID' });
  });

  test('end', async () => {
    await network.end();
    await fixture.end();
  });
}
