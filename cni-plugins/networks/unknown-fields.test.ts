import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { networksIn } from './networks.ts';
import { refusedFieldsOf } from './refused-fields.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-networks-test-'));
after(() => rmSync(folder, { recursive: true }));

const ipam = { type: 'host-local', ranges: [[{ subnet: '10.9.0.0/24' }]] };
const bridge = { type: 'bridge', bridge: 'b', isDefaultGateway: true, ipam };

function wayOf(...plugins: readonly object[]): string | undefined {
  writeFileSync(
    join(folder, '10-pods.conflist'),
    JSON.stringify({ cniVersion: '1.0.0', name: 'pods', plugins }),
  );
  const [network] = networksIn(folder, { plugins: 'auto', maxConfigs: 1 }).networks;
  assert.equal(network?.network !== undefined, network?.way === 'core');
  return network?.way;
}

test('a network is the own one of the engine if its plugins know all of its fields', () => {
  assert.equal(wayOf(bridge), 'core');
  const portmap = { type: 'portmap', capabilities: { portMappings: true }, snat: true };
  assert.equal(wayOf(bridge, portmap), 'core');
  assert.equal(wayOf(bridge, { ...portmap, heldPorts: true, privilegedPorts: true }), 'core');
  assert.equal(wayOf({ ...bridge, capabilities: { aliases: true }, virtualAddresses: [] }), 'core');
  assert.equal(wayOf({ ...bridge, macspoofchk: true, hairpinMode: true, dns: {} }), 'core');
});

for (const [what, plugins] of [
  ['a field of the plugin', [{ ...bridge, brige: 'b' }]],
  ['a field of the address plugin', [{ ...bridge, ipam: { ...ipam, rnges: [] } }]],
  [
    'a field of a range',
    [{ ...bridge, ipam: { ...ipam, ranges: [[{ subnet: '10.9.0.0/24', gatway: '' }]] } }],
  ],
  ['a field of a chained plugin', [bridge, { type: 'tuning', sysctls: {} }]],
  ['a field of portmap', [bridge, { type: 'portmap', capabilities: { portMappings: true }, snatt: true }]],
] as const)
  test(`the plugins run one after another if ${what} is unknown, so that an ADD refuses it`, () => {
    assert.equal(wayOf(...plugins), 'in-process');
  });

test('a field that only a pod completes is not refused', () => {
  const plugins = [{ type: 'host-device', capabilities: { deviceID: true } }];
  writeFileSync(
    join(folder, '10-pods.conflist'),
    JSON.stringify({ cniVersion: '1.0.0', name: 'pods', plugins }),
  );
  const [network = assert.fail()] = networksIn(folder, { plugins: 'auto', maxConfigs: 1 }).networks;
  assert.equal(network.way, 'in-process');
  assert.deepEqual(refusedFieldsOf(network), []);
});
