import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { startNodeNetwork } from './agent.ts';
import type { NodeNetworkAgent } from './agent.ts';
import type { NodeNetworkSettings } from './settings.ts';
import { bridgeName } from './settings.ts';

/** The network of a node whose subnet its kubelet sends. test/cluster has a real API server. */

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
const silent = { info: () => undefined, warn: () => undefined };

interface Host {
  readonly settings: NodeNetworkSettings;
  start(more?: Partial<NodeNetworkSettings>): Promise<NodeNetworkAgent>;
  conflist(): { readonly plugins: readonly { readonly ipam?: { readonly ranges: unknown } }[] } | undefined;
}

function openHost(t: TestContext): Host {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-node-network-'));
  const settings: NodeNetworkSettings = {
    from: 'runtimeConfig',
    ranges: ['10.244.0.0/16', 'fd00:10:244::/48'],
    nodeName: 'n1',
    routes: true,
    name: 'pods',
    folder: join(folder, 'node-network'),
    confDir: join(folder, 'cni'),
    order: '10',
    settleMs: 0,
  };
  const agents: NodeNetworkAgent[] = [];
  t.after(async () => {
    for (const agent of agents) await agent.close();
    for (const name of [bridgeName, 'pod0', 'lan0'])
      if (ip('-brief', 'link').includes(name)) ip('link', 'del', name);
    rmSync(folder, { recursive: true });
  });
  return {
    settings,
    async start(more = {}) {
      const agent = await startNodeNetwork({ ...settings, ...more }, () => undefined, silent);
      agents.push(agent);
      return agent;
    },
    conflist() {
      try {
        const text = readFileSync(join(settings.confDir, '10-pods.conflist'), 'utf8');
        return JSON.parse(text) as ReturnType<Host['conflist']>;
      } catch {
        return undefined;
      }
    },
  };
}

const rangesIn = (host: Host): unknown => host.conflist()?.plugins[0]?.ipam?.ranges;
const addPod = (): void => {
  ip('link', 'add', bridgeName, 'type', 'bridge');
  ip('link', 'add', 'pod0', 'type', 'veth', 'peer', 'name', 'pod1');
  ip('link', 'set', 'pod0', 'master', bridgeName);
};

test('there is no network until the kubelet has sent a subnet, and the status gives this reason', async (t) => {
  const host = openHost(t);
  const agent = await host.start();
  assert.equal(agent.status().reason, 'NodeNetworkSubnetUnknown');
  assert.match(agent.status().message, /UpdateRuntimeConfig/u);
  assert.equal(host.conflist(), undefined);
  await agent.runtimeConfig(['fd00:10:244:3::/64', '10.244.3.0/24']);
  assert.equal(agent.status().ready, true);
  assert.deepEqual(rangesIn(host), [[{ subnet: '10.244.3.0/24' }], [{ subnet: 'fd00:10:244:3::/64' }]]);
});

test('a restarted node has its network at once', async (t) => {
  const host = openHost(t);
  const first = await host.start();
  await first.runtimeConfig(['10.244.3.0/24']);
  await first.close();
  rmSync(host.settings.confDir, { recursive: true });
  const second = await host.start();
  assert.deepEqual(second.status().subnets, ['10.244.3.0/24']);
  assert.equal(second.status().ready, true);
  assert.deepEqual(rangesIn(host), [[{ subnet: '10.244.3.0/24' }]]);
});

test('a damaged file does no harm on a node that has no pods according to the kernel', async (t) => {
  const host = openHost(t);
  await (await host.start()).close();
  for (const text of ['', '{', '[]', '{"subnets":7}', '{"subnets":[7,"x","10.0.0.0"]}', 'null']) {
    writeFileSync(join(host.settings.folder, 'subnets.json'), text);
    const agent = await host.start();
    assert.equal(agent.status().reason, 'NodeNetworkSubnetUnknown', text);
    await agent.close();
  }
  assert.deepEqual(readdirSync(host.settings.folder), ['subnets.json']);
});

test('with a damaged file on a node with pods, the subnets are read from the bridge, or the start fails', async (t) => {
  const host = openHost(t);
  await (await host.start()).close();
  addPod();
  writeFileSync(join(host.settings.folder, 'subnets.json'), '{');
  await assert.rejects(host.start(), /NODE_NETWORK_STATE_DAMAGED/u);
  ip('addr', 'add', '10.244.3.1/24', 'dev', bridgeName);
  const agent = await host.start();
  await agent.runtimeConfig(['10.244.4.0/24']);
  assert.equal(agent.status().reason, 'NodeNetworkSubnetChanged');
  assert.deepEqual(rangesIn(host), [[{ subnet: '10.244.3.0/24' }]]);
});

test('a configuration with a former name or order is removed', async (t) => {
  const host = openHost(t);
  const first = await host.start();
  await first.runtimeConfig(['10.244.3.0/24']);
  await first.close();
  writeFileSync(join(host.settings.confDir, '05-other.conflist'), '{}');
  const second = await host.start({ name: 'renamed', order: '20' });
  assert.deepEqual(readdirSync(host.settings.confDir).toSorted(), [
    '05-other.conflist',
    '20-renamed.conflist',
  ]);
  await second.close();
});

test('a pod that is attached while the subnet changes keeps the former subnet', async (t) => {
  const host = openHost(t);
  const agent = await host.start({ settleMs: 300 });
  await agent.runtimeConfig(['10.244.3.0/24']);
  await agent.runtimeConfig(['10.244.4.0/24']);
  assert.equal(agent.status().reason, 'NodeNetworkSubnetChanged');
  assert.equal(host.conflist(), undefined, 'no further pod can be attached');
  // A plugin that read the configuration before makes its link now.
  addPod();
  await new Promise((resolve) => setTimeout(resolve, 400));
  await agent.runtimeConfig(['10.244.4.0/24']);
  assert.match(agent.status().message, /1 pod has addresses of 10\.244\.3\.0\/24/u);
  assert.deepEqual(rangesIn(host), [[{ subnet: '10.244.3.0/24' }]]);
  ip('link', 'del', 'pod0');
  await agent.runtimeConfig(['10.244.4.0/24']);
  await new Promise((resolve) => setTimeout(resolve, 400));
  await agent.runtimeConfig(['10.244.4.0/24']);
  assert.equal(agent.status().ready, true);
  assert.deepEqual(rangesIn(host), [[{ subnet: '10.244.4.0/24' }]]);
});

test('a subnet outside the ranges is refused, and the message names the setting to correct', async (t) => {
  const agent = await openHost(t).start();
  for (const subnet of ['192.168.0.0/24', '10.244.0.0/8', '10.244.1.1/24']) {
    await agent.runtimeConfig([subnet]);
    assert.equal(agent.status().reason, 'NodeNetworkSubnetRefused', subnet);
    assert.match(agent.status().message, /network\.pods\.ranges/u);
  }
});

test('another subnet waits until the node has no pod', async (t) => {
  const host = openHost(t);
  const agent = await host.start();
  await agent.runtimeConfig(['10.244.3.0/24']);
  addPod();
  await agent.runtimeConfig(['10.244.4.0/24']);
  assert.equal(agent.status().reason, 'NodeNetworkSubnetChanged');
  assert.match(agent.status().message, /1 pod has addresses of 10\.244\.3\.0\/24.*drain the node/su);
  assert.deepEqual(rangesIn(host), [[{ subnet: '10.244.3.0/24' }]]);
  assert.match(ip('link'), new RegExp(bridgeName, 'u'), 'the pod keeps its bridge');
  ip('link', 'del', 'pod0');
  await agent.runtimeConfig(['10.244.4.0/24']);
  assert.equal(agent.status().ready, true);
  assert.deepEqual(rangesIn(host), [[{ subnet: '10.244.4.0/24' }]]);
  assert.doesNotMatch(ip('link'), new RegExp(bridgeName, 'u'), 'with the old gateway address');
});

test('a range that contains an address of the host is refused', async (t) => {
  const host = openHost(t);
  ip('link', 'add', 'lan0', 'type', 'bridge');
  ip('addr', 'add', '10.244.200.1/24', 'dev', 'lan0');
  const agent = await host.start();
  await agent.runtimeConfig(['10.244.3.0/24']);
  assert.equal(agent.status().reason, 'NodeNetworkRangeTaken');
  assert.match(agent.status().message, /10\.244\.200\.1\/24/u);
  assert.equal(host.conflist(), undefined);
  ip('link', 'del', 'lan0');
  await agent.runtimeConfig(['10.244.3.0/24']);
  assert.equal(agent.status().ready, true);
});

test('pods get the MTU of the link of the default route', async (t) => {
  const host = openHost(t);
  ip('link', 'add', 'lan0', 'mtu', '1400', 'type', 'bridge');
  ip('addr', 'add', '192.0.2.9/24', 'dev', 'lan0');
  ip('link', 'set', 'lan0', 'up');
  ip('route', 'add', 'default', 'via', '192.0.2.1');
  const agent = await host.start();
  await agent.runtimeConfig(['10.244.3.0/24']);
  assert.match(JSON.stringify(host.conflist()), /"mtu":1400/u);
});

test('a node whose link is too small for IPv6 says so, and is ready when the link fits', async (t) => {
  const host = openHost(t);
  ip('link', 'add', 'lan0', 'mtu', '1279', 'type', 'bridge');
  ip('addr', 'add', '192.0.2.9/24', 'dev', 'lan0');
  ip('link', 'set', 'lan0', 'up');
  ip('route', 'add', 'default', 'via', '192.0.2.1');
  const agent = await host.start();
  await agent.runtimeConfig(['10.244.3.0/24', 'fd00:10:244:3::/64']);
  assert.equal(agent.status().reason, 'NetworkMtuTooSmall');
  assert.match(agent.status().message, /its MTU is 1279, and IPv6 needs 1280; set the MTU of the link/u);
  ip('link', 'set', 'lan0', 'mtu', '1280');
  await agent.runtimeConfig(['10.244.3.0/24', 'fd00:10:244:3::/64']);
  assert.equal(agent.status().ready, true);
});
