import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ListedPlugin, PluginList } from '../../spec/plugin-list.ts';
import type { CniResult } from '../../spec/result.ts';
import { addPorts, chainLink, podOf } from './endpoint-chain.ts';
import type { CnmNetwork, EndpointSpec } from '../acts/records.ts';

const plugin = (type: string, ...capabilities: string[]): ListedPlugin => ({
  type,
  capabilities,
  config: { type },
});
const list: PluginList = {
  name: 'pods',
  cniVersion: '1.0.0',
  disableCheck: false,
  disableGC: false,
  plugins: [plugin('bridge', 'ips'), plugin('portmap', 'portMappings')],
};
const network: CnmNetwork = {
  id: 'n1',
  name: 'pods',
  list,
  way: 'exec',
  own: false,
  internal: false,
  ipv4: [],
  ipv6: [],
  bridges: [],
};
const spec: EndpointSpec = {
  wanted: { Address: '10.0.0.2/24', AddressIPv6: '', MacAddress: '' },
  mac: '02:00:00:00:00:01',
  maker: { pid: 1, startTime: '', bootId: '' },
  list,
};

test('the container of a call has the MAC address that the engine chose', () => {
  assert.deepEqual(podOf('e1', '/run/net', spec).args, { IgnoreUnknown: '1', MAC: '02:00:00:00:00:01' });
  assert.deepEqual(podOf('e1', '/run/net', { ...spec, mac: '' }).args, { IgnoreUnknown: '1' });
});

test('a chain gets the addresses and ports that the engine requested, and nothing that it left open', () => {
  const ports = {
    bindings: [],
    mappings: [{ hostPort: 80, containerPort: 8080, protocol: 'tcp' as const, hostIp: '192.0.2.1' }],
  };
  assert.deepEqual(chainLink(network, { ...spec, ports }).capabilityArgs, {
    ips: ['10.0.0.2/24'],
    mac: '02:00:00:00:00:01',
    portMappings: [{ hostPort: 80, containerPort: 8080, protocol: 'tcp', hostIP: '192.0.2.1' }],
  });
  assert.deepEqual(
    chainLink(network, { ...spec, mac: '', wanted: { ...spec.wanted, Address: '' } }).capabilityArgs,
    {},
  );
});

test('ports are added by the port plugins alone, on the result of the link', async () => {
  const made: CniResult = { interfaces: [], ips: [], routes: [], dns: {} };
  const steps: unknown[] = [];
  await addPorts(
    async (step) => {
      steps.push([step.plugin.type, step.prevResult]);
      return undefined;
    },
    network,
    spec,
    podOf('e1', '/run/net', spec),
    made,
  );
  assert.deepEqual(steps, [['portmap', made]]);
});
