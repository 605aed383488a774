import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIp } from '../../base/addresses/index.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { readConfiguration } from './plugin-reading.ts';

const key = { network: 'net', containerId: 'a', interface: 'eth0' };
const ipam = { type: 'host-local', ranges: [[{ subnet: '10.1.0.0/16' }]] };
const callOf = (
  args: PluginCall['args'],
  config: object = { name: 'net', bridge: 'br0', ipam },
  type = 'bridge',
): PluginCall => ({
  verb: 'add',
  type,
  caller: {},
  key,
  netns: '',
  args,
  path: [],
  config: JSON.stringify(config),
});
const wanted = (args: PluginCall['args']): string[] => {
  const { source } = readConfiguration(callOf(args));
  return source.from === 'ranges' ? source.wanted.map(formatIp) : [];
};

test('the same text is read once for all pods', () => {
  const first = readConfiguration(callOf({ K8S_POD_NAME: 'one' }));
  assert.equal(readConfiguration(callOf({ K8S_POD_NAME: 'two' })), first);
});

test('requests in CNI_ARGS apply to one call only', () => {
  assert.deepEqual(
    [wanted({}), wanted({ IP: '10.1.0.7' }), wanted({ IP: '10.1.0.8' }), wanted({})],
    [[], ['10.1.0.7'], ['10.1.0.8'], []],
  );
  const macOf = (args: PluginCall['args']): unknown =>
    (readConfiguration(callOf(args)).config as { mac?: string }).mac;
  assert.deepEqual(
    [macOf({}), macOf({ MAC: '0a:00:00:00:00:01' }), macOf({})],
    [undefined, '0a:00:00:00:00:01', undefined],
  );
});

test('the same text is read separately for another plugin, and its errors are reported each time', () => {
  const config = { name: 'net', bridge: 'a name too long for a link', ipam };
  const [bridge, again, addresses] = [
    callOf({}, config),
    callOf({}, config),
    callOf({}, config, 'host-local'),
  ].map(readConfiguration);
  assert.match(bridge?.problems.join() ?? '', /^stdin:1:\d+: /u);
  assert.deepEqual(again?.problems, bridge?.problems);
  assert.deepEqual([addresses?.problems, addresses?.plugin], [[], undefined]);
});
