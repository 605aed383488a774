import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { formatIp } from '../../base/addresses/index.ts';
import { followConfFolder, loadNetworks } from './conf-folder.ts';
import type { LoadedNetworks } from './conf-folder.ts';
import { readConflist } from './conflist.ts';
import { ownFolderOf, readPluginList } from './plugin-list.ts';

const ipam = { type: 'host-local', subnet: '10.1.0.0/16' };
const listOf = (...plugins: object[]): string =>
  JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins });
const bridge = (more: object = {}): object => ({ type: 'bridge', ipam, ...more });

test('bridge, host-local and portmap have the fields and defaults of upstream', () => {
  const text = listOf(
    bridge({
      bridge: 'br9',
      isDefaultGateway: true,
      ipMasq: true,
      hairpinMode: true,
      mtu: 1400,
      ipam: {
        ...ipam,
        rangeStart: '10.1.0.10',
        rangeEnd: '10.1.0.20',
        gateway: '10.1.0.5',
        routes: [{ dst: '10.2.0.0/16', gw: '10.1.0.6' }, { dst: '10.3.0.0/16' }],
      },
    }),
    { type: 'portmap', capabilities: { portMappings: true }, snat: false },
    { type: 'loopback' },
  );
  const read = readConflist(text, 'a.conflist');
  assert.equal(read.outcome, 'ok');
  assert.deepEqual(read.network.bridge, {
    name: 'br9',
    isGateway: true,
    isDefaultGateway: true,
    ipMasq: true,
    promiscuous: false,
    mtu: 1400,
  });
  assert.deepEqual(
    read.network.rangeSets.map((set) =>
      set.map(({ start, end, gateway }) => [start, end, gateway].map(formatIp)),
    ),
    [[['10.1.0.10', '10.1.0.20', '10.1.0.5']]],
  );
  assert.deepEqual(
    read.network.routes.map(({ gateway }) => gateway && formatIp(gateway)),
    ['10.1.0.6', undefined],
  );
  assert.deepEqual(read.network.portMap, { snat: false });

  const plain = readConflist(
    listOf({
      type: 'bridge',
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: '10.1.0.0/24' }, { subnet: '10.2.0.0/24' }], [{ subnet: 'fd00::/64' }]],
      },
    }),
    'a.conflist',
  );
  assert.equal(plain.outcome, 'ok');
  assert.deepEqual(plain.network.bridge, {
    name: 'cni0',
    isGateway: false,
    isDefaultGateway: false,
    ipMasq: false,
    promiscuous: false,
  });
  assert.deepEqual(
    plain.network.rangeSets.map((set) => set.map(({ start, end }) => `${formatIp(start)} ${formatIp(end)}`)),
    [['10.1.0.1 10.1.0.254', '10.2.0.1 10.2.0.254'], ['fd00::1 fd00::ffff:ffff:ffff:ffff']],
  );
  assert.equal(plain.network.portMap, undefined);
});

const broken: [what: string, text: string, outcome: string, problem: RegExp][] = [
  ['empty', '', 'malformed', /^f\.conflist:1:1: the text ends/u],
  ['cut off', '{"name": "n",\n "plugins": [', 'malformed', /:2:14: the text ends where a value is expected/u],
  ['trailing comma', '{"name": "n",}', 'malformed', /:1:14: a string expected, found "\}"/u],
  ['a comment', '{\n  // no\n}', 'malformed', /:2:3: a string expected/u],
  ['text after the end', '{} {}', 'malformed', /:1:4: something follows/u],
  ['nested without end', '['.repeat(100_000), 'malformed', /nested deeper than 64/u],
  ['a list', '[]', 'malformed', /:1:1: the document must be an object/u],
  ['no name', '{"plugins": [{"type": "bridge"}]}', 'malformed', /'name' is missing/u],
  [
    'a bad name',
    '{"name": "a/b", "plugins": [{"type": "bridge"}]}',
    'malformed',
    /:1:10: "a\/b" is not a network name/u,
  ],
  ['no plugins', '{"name": "n"}', 'malformed', /'plugins' is missing/u],
  ['a plugin without type', '{"name": "n", "plugins": [{}]}', 'malformed', /:1:27: 'type' is missing/u],
  ['an unknown plugin', listOf(bridge(), { type: 'macvlan' }), 'unsupported', /"macvlan" is not supported/u],
  [
    'an unknown address plugin',
    listOf(bridge({ ipam: { type: 'dhcp' } })),
    'unsupported',
    /"dhcp" is not supported/u,
  ],
  ['no bridge', listOf({ type: 'loopback' }), 'unsupported', /exactly one bridge/u],
  [
    'a condition of portmap',
    listOf(bridge(), { type: 'portmap', conditionsV4: ['-s', '10.0.0.0/8'] }),
    'unsupported',
    /conditionsV4 is not supported/u,
  ],
  ['a VLAN', listOf(bridge({ vlan: 5 })), 'unsupported', /VLANs are not supported/u],
  [
    'a newer version',
    JSON.stringify({ cniVersion: '2.0.0', name: 'n', plugins: [bridge()] }),
    'unsupported',
    /CNI version "2.0.0"/u,
  ],
  [
    'a bad subnet',
    '{"name": "n", "plugins": [\n{"type": "bridge", "ipam": {"type": "host-local",\n "subnet": "10.0.0.0/33"}}]}',
    'invalid',
    /f\.conflist:3:12: "10.0.0.0\/33" is not a subnet/u,
  ],
  [
    'host bits',
    listOf(bridge({ ipam: { ...ipam, subnet: '10.0.0.1/24' } })),
    'invalid',
    /the subnet is 10\.0\.0\.0\/24/u,
  ],
  ...['224.0.0.0/24', '239.1.0.0/16', 'ff02::/64'].map((subnet): (typeof broken)[number] => [
    `the multicast subnet ${subnet}`,
    listOf(bridge({ ipam: { ...ipam, subnet } })),
    'invalid',
    /is multicast/u,
  ]),
  ...['::ffff:a00:0/112', '::fffe:0:0/95'].map((subnet): (typeof broken)[number] => [
    `the subnet ${subnet} of IPv4 addresses in IPv6 form`,
    listOf(bridge({ ipam: { ...ipam, subnet } })),
    'invalid',
    /IPv4 addresses in IPv6 form/u,
  ]),
  ...['0.0.0.0/8', '127.0.0.0/8', '127.5.0.0/24', '126.0.0.0/7', '::/64'].map(
    (subnet): (typeof broken)[number] => [
      `the subnet ${subnet}, which contains addresses of every host itself`,
      listOf(bridge({ ipam: { ...ipam, subnet } })),
      'invalid',
      /with which every host means itself/u,
    ],
  ),
  ['too small', listOf(bridge({ ipam: { ...ipam, subnet: '10.0.0.0/31' } })), 'invalid', /too small/u],
  [
    'a range outside',
    listOf(bridge({ ipam: { ...ipam, rangeStart: '10.9.0.1' } })),
    'invalid',
    /10\.9\.0\.1 is not in/u,
  ],
  [
    'a range backwards',
    listOf(bridge({ ipam: { ...ipam, rangeStart: '10.1.0.9', rangeEnd: '10.1.0.8' } })),
    'invalid',
    /is after rangeEnd/u,
  ],
  [
    'overlap',
    listOf(bridge({ ipam: { ...ipam, ranges: [[{ subnet: '10.1.2.0/24' }]] } })),
    'invalid',
    /overlap/u,
  ],
  [
    'mixed families',
    listOf(
      bridge({
        ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }, { subnet: 'fd00::/64' }]] },
      }),
    ),
    'invalid',
    /mixes IPv4 and IPv6/u,
  ],
  ['no addresses', listOf(bridge({ ipam: { type: 'host-local' } })), 'invalid', /no addresses/u],
  [
    'a bad route',
    listOf(bridge({ ipam: { ...ipam, routes: [{ dst: 'default' }] } })),
    'invalid',
    /"default" is not a prefix/u,
  ],
  [
    'a bad type of field',
    listOf(bridge({ ipMasq: 'yes' })),
    'invalid',
    /plugins\[0\]\.ipMasq must be true or false/u,
  ],
  [
    'a bad bridge name',
    listOf(bridge({ bridge: 'much-too-long-a-name' })),
    'invalid',
    /is not an interface name/u,
  ],
];
for (const [what, text, outcome, problem] of broken) {
  test(`${what} is ${outcome}`, () => {
    const read = readConflist(text, 'f.conflist');
    assert.equal(read.outcome, outcome);
    if (read.outcome !== 'ok') assert.match(read.problems.join('\n'), problem);
  });
}

test('flags of a list can also be strings, as in libcni', () => {
  const read = (more: object): string => {
    const answer = readPluginList(
      JSON.stringify({ name: 'net', plugins: [{ type: 'any' }], ...more }),
      'f.conflist',
    );
    return answer.outcome === 'ok'
      ? `${answer.list.disableCheck} ${answer.list.disableGC}`
      : answer.problems.join();
  };
  assert.equal(read({}), 'false false');
  assert.equal(read({ disableCheck: true, disableGC: 'True' }), 'true true');
  assert.equal(read({ disableCheck: 'FALSE', disableGC: false }), 'false false');
  assert.match(read({ disableGC: 'yes' }), /^f\.conflist:1:\d+: 'disableGC' must be true or false$/u);
  assert.match(read({ disableCheck: 1 }), /'disableCheck' must be true or false/u);
  const list = (flag: unknown): string =>
    JSON.stringify({ name: 'net', loadOnlyInlinedPlugins: flag, plugins: [] });
  assert.deepEqual(
    [ownFolderOf(list('false'), 'f.conflist'), ownFolderOf(list('true'), 'f.conflist')],
    ['net', undefined],
  );
});

test('the first loadable file in lexicographic order counts; files that libcni could not load are skipped', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-conf-'));
  const ours = new Set(['bridge', 'host-local', 'loopback', 'macvlan']);
  const load = (more: { exec?: boolean; most?: number } = {}): LoadedNetworks =>
    loadNetworks(folder, { exec: false, most: 1, isOurs: (type) => ours.has(type), ...more });
  const code = (): string => {
    try {
      return load()
        .networks.map(({ name, way }) => (way === 'core' ? name : `${name} ${way}`))
        .join();
    } catch (thrown) {
      return isPortcullisError(thrown) ? thrown.code : String(thrown);
    }
  };
  const put = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  assert.equal(code(), 'NETWORK_NO_CONFLIST');
  put('00-readme.txt', 'not a configuration');
  assert.equal(code(), 'NETWORK_NO_CONFLIST');
  put('10-broken.conflist', '{');
  assert.equal(code(), 'NETWORK_CONFLIST_INVALID');
  put('30-single.conf', JSON.stringify({ name: 'single', type: 'bridge', ipam }));
  assert.equal(code(), 'single');
  put('20-list.conflist', listOf(bridge()));
  assert.equal(code(), 'net');
  assert.match(load().skipped.join(), /10-broken\.conflist:1:2: /u);
  put('15-other.conflist', listOf({ type: 'calico' }));
  assert.equal(code(), 'net exec');
  put('14-ours.conflist', listOf({ type: 'macvlan', ipam }).replace('"net"', '"ours"'));
  assert.equal(code(), 'ours in-process');
  put(
    '13-other-addresses.conflist',
    listOf({ type: 'macvlan', ipam: { type: 'dhcp' } }).replace('"net"', '"leased"'),
  );
  assert.equal(code(), 'leased exec');
  assert.deepEqual(
    load({ most: 4 }).networks.map(({ name, way }) => `${name} ${way}`),
    ['leased exec', 'ours in-process', 'net exec', 'single core'],
  );
  assert.match(load({ most: 9 }).skipped.join(), /20-list\.conflist: the network net is loaded already/u);
  assert.deepEqual(
    load({ most: 9, exec: true }).networks.map(({ way }) => way),
    ['exec', 'exec', 'exec', 'exec'],
  );
  const skipped = (): string => load().skipped.join('\n');
  symlinkSync('nowhere', join(folder, '01-link.conflist'));
  writeFileSync(join(folder, '02-large.conflist'), 'x'.repeat(2_000_000));
  execFileSync('mkfifo', [join(folder, '03-pipe.conflist')]);
  symlinkSync('/dev/zero', join(folder, '04-device.conflist'));
  assert.equal(code(), 'leased exec', 'a file that cannot be read is skipped as well');
  assert.match(skipped(), /01-link\.conflist: it cannot be read: it does not exist/u);
  assert.match(skipped(), /02-large\.conflist: .*larger than 1048576 bytes/u);
  assert.match(skipped(), /03-pipe\.conflist: .*it is not a file/u);
  assert.match(skipped(), /04-device\.conflist: .*it is not a file/u);
  const stamp = followConfFolder(folder);
  assert.equal(stamp(), stamp(), 'a link that leads nowhere is not a change');
  mkdirSync(join(folder, 'leased'));
  execFileSync('mkfifo', [join(folder, 'leased', 'more.conf')]);
  assert.equal(code(), 'ours in-process', 'a network whose own folder cannot be read is not used either');
  rmSync(join(folder, 'leased'), { recursive: true });
  put('12-newer.conflist', listOf({ type: 'calico' }).replace('1.0.0', '2.0.0'));
  assert.equal(code(), 'NETWORK_PLUGIN_UNSUPPORTED');
  rmSync(folder, { recursive: true });
});
