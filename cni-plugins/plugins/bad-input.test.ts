import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isPortcullisError } from '../../base/errors/index.ts';
import { readConfig } from '../networks/addresses.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { readConfiguration, sound } from '../plugin-engine/plugin-reading.ts';
import { cniErrorOf } from '../spec/cni-error.ts';
import type { Problems } from '../spec/fields.ts';
import type { CniResult } from '../spec/result.ts';
import type { AddressPlugin, PlanInput, Plugin } from './contract/contract.ts';
import { addressPlugins, kindOf, plugins } from './registry.ts';

/**
 * Whatever a configuration contains: `read` throws nothing and reports file, line and column; `plan` throws
 * one of our failures or returns plain values.
 */

const runs = Number(process.env['PORTCULLIS_FUZZ_RUNS'] ?? 400);

/** Returns the names of every field that a plugin reads: random documents would never hit them. */
function fieldNames(read: (config: NonNullable<ReturnType<typeof readConfig>>) => unknown): string[] {
  const asked = new Set<string>();
  const spy = (
    fields: NonNullable<ReturnType<typeof readConfig>>,
  ): NonNullable<ReturnType<typeof readConfig>> => ({
    ...fields,
    has: (name) => (asked.add(name), fields.has(name)),
    text: (name) => (asked.add(name), fields.text(name)),
    flag: (name, fallback) => (asked.add(name), fields.flag(name, fallback)),
    whole: (name) => (asked.add(name), fields.whole(name)),
    object: (name) => (asked.add(name), spy(readConfig('{}', []) ?? fields)),
    objects: (name) => (asked.add(name), [spy(readConfig('{}', []) ?? fields)]),
    texts: (name) => (asked.add(name), fields.texts(name)),
  });
  const empty = readConfig('{}', []);
  if (empty !== undefined) read(spy(empty));
  return [...asked].filter((name) => name !== '');
}

const words = fc.constantFrom(
  '',
  'eth0',
  '10.0.0.2/24',
  '10.0.0.300',
  'fd00::2/64',
  '::',
  '..',
  '../../x',
  'net.ipv4.conf.IFNAME.x',
  'net/../kernel/x',
  '02:00:00:00:00:01',
  'ff:ff:ff:ff:ff:ff',
  'bridge',
  'l2',
  'isolated',
  'static',
  'a'.repeat(300),
  '\0',
  '\u2028',
  '__proto__',
);
const scalar = fc.oneof(
  words,
  fc.string(),
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.constantFrom(-1, 0, 1, 4094, 4095, 65535, 65536, 2 ** 31, 2 ** 32, 2 ** 53, 1e308),
);
const valueOf = (names: string[]): fc.Arbitrary<unknown> =>
  fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      scalar,
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.oneof(fc.constantFrom(...names), words), tie('value'), { maxKeys: 5 }),
    ),
  })).value;
const documentOf = (names: string[]): fc.Arbitrary<string> =>
  fc
    .dictionary(fc.constantFrom(...names, 'unknown'), valueOf(names), { maxKeys: 8 })
    .map((document) => JSON.stringify(document));
const argsOf = fc.dictionary(
  fc.constantFrom('MAC', 'IP', 'GATEWAY', 'IgnoreUnknown', 'K8S_POD_NAME'),
  fc.oneof(words, fc.string()),
  {
    maxKeys: 3,
  },
);
const previous: CniResult = {
  interfaces: [{ name: 'cni0' }, { name: 'veth0' }, { name: 'eth0', sandbox: '/run/netns/x' }],
  ips: [{ address: '10.0.0.2/24', gateway: '10.0.0.1', interface: 2 }],
  routes: [],
  dns: {},
};
const observations: Readonly<Record<string, unknown>> = {
  macvlan: { name: 'm0', mac: '02:00:00:00:00:01', mtu: 1500 },
  ipvlan: { name: 'm0', mac: '02:00:00:00:00:01', mtu: 1500 },
  vlan: { name: 'm0', mac: '02:00:00:00:00:01', mtu: 1500 },
  'host-device': { name: 'd0', mac: '02:00:00:00:00:01', mtu: 1500, kind: 'dummy', alternativeNames: [] },
  tuning: {
    before: {
      mac: '02:00:00:00:00:01',
      mtu: 1500,
      queueLength: 1000,
      promiscuous: false,
      allMulticast: false,
    },
  },
  vrf: { table: 1, addresses: ['fd00::2/64'], routes: [] },
  sbr: { used: [254], routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }] },
  firewall: [],
  vxlan: { mtu: 1500, bridge: 'cni0' },
};

const inputOf = (
  type: string,
  args: Readonly<Record<string, string>>,
  more: Partial<PlanInput>,
): PlanInput => ({
  key: { network: 'net', containerId: 'c1', interface: 'eth0' },
  netns: '/run/netns/x',
  hostInterface: 'pc012345',
  args,
  addresses: [],
  ipamRoutes: [],
  dns: {},
  host: { defaultMtu: 1500, defaultLink: 'eth0', mtuOf: () => 1500, hasIpv6: true },
  observed: observations[type],
  ...more,
});

function holds(
  plugin: Plugin,
  text: string,
  args: Readonly<Record<string, string>>,
  withPrevious: boolean,
): void {
  const problems: Problems = [];
  const fields = readConfig(text, problems);
  if (fields === undefined) return assert.ok(problems.length > 0);
  const config = plugin.read(fields, args);
  for (const problem of problems) assert.match(problem, /^stdin:\d+:\d+: ./u);
  if (problems.length > 0) return;
  try {
    const { resources, result } = plugin.plan(
      config,
      inputOf(plugin.type, args, withPrevious ? { prevResult: previous } : {}),
    );
    assert.deepEqual(JSON.parse(JSON.stringify(resources)), resources, 'resources are plain values');
    assert.deepEqual(JSON.parse(JSON.stringify(result)), result, 'the result is a plain value');
    for (const resource of resources) assert.ok(kindOf(resource));
  } catch (thrown) {
    if (!isPortcullisError(thrown)) throw thrown;
    assert.match(thrown.code, /^NETWORK_/u);
    assert.ok(thrown.failure.fix.length > 0);
  }
}

const mine = [
  'bandwidth',
  'cnm',
  'dummy',
  'firewall',
  'host-device',
  'ipvlan',
  'macvlan',
  'portmap',
  'ptp',
  'sbr',
  'tap',
  'tuning',
  'vlan',
  'vrf',
  'vxlan',
];
for (const plugin of plugins.filter(({ type }) => mine.includes(type)))
  test(`any configuration of ${plugin.type} is planned or refused with a reason`, () => {
    const names = [
      ...new Set([
        ...fieldNames((fields) => plugin.read(fields, {})),
        'sysctl',
        'cni',
        'args',
        'runtimeConfig',
        'mac',
        'mtu',
        'dns',
        'ipam',
        'type',
      ]),
    ];
    fc.assert(
      fc.property(documentOf(names), argsOf, fc.boolean(), (text, args, withPrevious) =>
        holds(plugin, text, args, withPrevious),
      ),
      { seed: 7, numRuns: runs },
    );
  });

/**
 * The fields of the upstream plugins (containernetworking/plugins 1.9), which existing configurations have.
 */
const upstream: Readonly<Record<string, readonly string[]>> = {
  bandwidth: ['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst'],
  bridge: [
    ...[
      'bridge',
      'isGateway',
      'isDefaultGateway',
      'forceAddress',
      'ipMasq',
      'ipMasqBackend',
      'mtu',
      'hairpinMode',
      'promiscMode',
      'vlan',
    ],
    ...[
      'vlanTrunk',
      'preserveDefaultVlan',
      'macspoofchk',
      'enabledad',
      'disableContainerInterface',
      'portIsolation',
      'mac',
    ],
  ],
  firewall: ['backend', 'iptablesAdminChainName', 'firewalldZone', 'ingressPolicy'],
  'host-device': ['device', 'hwaddr', 'kernelpath', 'pciBusID'],
  ipvlan: ['master', 'mode', 'mtu', 'linkInContainer'],
  macvlan: ['master', 'mode', 'mtu', 'mac', 'linkInContainer', 'bcqueuelen'],
  portmap: [
    'backend',
    'snat',
    'conditionsV4',
    'conditionsV6',
    'masqAll',
    'markMasqBit',
    'externalSetMarkChain',
  ],
  ptp: ['ipMasq', 'ipMasqBackend', 'mtu'],
  sbr: ['table', 'addSourceHints'],
  tap: ['multiQueue', 'mtu', 'mac', 'owner', 'group', 'selinuxContext', 'bridge'],
  tuning: ['sysctl', 'mac', 'promisc', 'mtu', 'allmulti', 'txQLen', 'dataDir'],
  vlan: ['master', 'vlanId', 'mtu', 'linkInContainer'],
  vrf: ['vrfname', 'table'],
};
const unknownIn = (type: string, config: object): string[] =>
  readConfiguration({ type, config: JSON.stringify(config), args: {} } as PluginCall).unknown.map(
    ({ problem }) => problem,
  );
for (const plugin of plugins)
  test(`a field that ${plugin.type} knows is never reported as unknown, whatever the other fields are`, () => {
    const own = upstream[plugin.type] ?? [];
    for (const name of own) assert.deepEqual(unknownIn(plugin.type, { [name]: null }), []);
    // Also the fields of nested objects, which are unknown at the top level.
    const read = fieldNames((fields) => plugin.read(fields, {})).filter(
      (name) => unknownIn(plugin.type, { [name]: null }).length === 0,
    );
    const names = [...new Set([...own, ...read, 'ipam'])];
    const values = fc.constantFrom<unknown>(true, false, '', 'x', 0, 1, 5, {}, [], [{}], null);
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), values), (fields) => {
        assert.deepEqual(unknownIn(plugin.type, fields), []);
      }),
      { seed: 7, numRuns: runs },
    );
  });

test('any configuration of static is leased or refused with a reason', () => {
  const plugin: AddressPlugin | undefined = addressPlugins.find(({ type }) => type === 'static');
  const names = [
    'ipam',
    'addresses',
    'address',
    'gateway',
    'routes',
    'dst',
    'gw',
    'mtu',
    'scope',
    'table',
    'dns',
    'nameservers',
    'runtimeConfig',
    'ips',
    'args',
    'cni',
    'cniVersion',
  ];
  fc.assert(
    fc.property(documentOf(names), argsOf, (text, args) => {
      const problems: Problems = [];
      const fields = readConfig(text, problems);
      if (plugin === undefined || fields === undefined) return assert.fail('it is there');
      const config = plugin.read(fields, args);
      for (const problem of problems) assert.match(problem, /^stdin:\d+:\d+: ./u);
      if (problems.length === 0) plugin.lease(config);
    }),
    { seed: 7, numRuns: runs },
  );
});

const problemsOf = (type: string, config: object, args: Readonly<Record<string, string>> = {}): string => {
  const problems: Problems = [];
  const fields = readConfig(JSON.stringify(config, undefined, 1), problems);
  if (fields !== undefined)
    [...plugins, ...addressPlugins].find((plugin) => plugin.type === type)?.read(fields, args);
  return problems.join('\n');
};

/** Every field that is not supported is named, with its position. */
for (const [type, config, expected] of [
  ['bandwidth', { ingressRate: 100 }, /2:\d+: 'ingressRate' needs 'ingressBurst'/u],
  ['bandwidth', { egressBurst: 100 }, /'egressBurst' needs 'egressRate'/u],
  ['bandwidth', { ingressRate: 7, ingressBurst: 80 }, /less than a byte a second/u],
  ['bandwidth', { ingressRate: 8e9, ingressBurst: 34_359_738_360 }, /more than 4 GiB/u],
  ['bandwidth', { ingressRate: -1, ingressBurst: 8 }, /is not a rate/u],
  [
    'bandwidth',
    { unshapedSubnets: ['10.0.0.0/8'] },
    /'unshapedSubnets' is not supported \(\["10\.0\.0\.0\/8"\]\)/u,
  ],
  ['bandwidth', { runtimeConfig: { bandwidth: { shapedSubnets: [] } } }, /'shapedSubnets' is not supported/u],
  ['portmap', { conditionsV4: ['-p', 'tcp'] }, /only the matches -s, -d and -i are known, not "-p"/u],
  ['portmap', { conditionsV4: ['-s', 'fd00::1'] }, /"fd00::1" is not an IPv4 address or network/u],
  ['portmap', { conditionsV6: ['ip', 'saddr', '10.0.0.1'] }, /only the matches ip6 saddr, .*, not "ip"/u],
  ['portmap', { conditionsV4: ['ip', 'saddr', '{', '10.0.0.1'] }, /a set has no end/u],
  ['portmap', { conditionsV4: ['-i', 'veth+'] }, /"veth\+" is not the name of an interface/u],
  ['portmap', { conditionsV4: ['constructor', '10.0.0.1'] }, /iifname are known, not "constructor"/u],
  ['portmap', { conditionsV4: ['!', '-s'] }, /source has no value/u],
  ['portmap', { conditionsV4: Array(65).fill('-s') }, /more than 64 words/u],
  ['tuning', { sysctl: { 'kernel.shmmax': '1' } }, /is not a sysctl of the network/u],
  ['tuning', { sysctl: { 'net.ipv4.../x': '1' } }, /is not a sysctl of the network/u],
  ['tuning', { sysctl: { 'net.core.somaxconn': 5 } }, /must be a string/u],
  ['tuning', { sysctl: { 'net.core.somaxconn': '5\n6' } }, /is not a value of a sysctl/u],
  ['tuning', { mac: '01:00:00:00:00:01' }, /is not a MAC address of one interface/u],
  ['tuning', { mtu: 67 }, /is not an MTU/u],
  ['tuning', { txQLen: -1 }, /is not a queue length/u],
  ['macvlan', { mode: 'source' }, /"source" is not a mode: private, vepa, bridge, passthru/u],
  ['macvlan', { master: 'a/b' }, /is not an interface name/u],
  ['ipvlan', { mode: 'l4' }, /is not a mode: l2, l3, l3s/u],
  ['vlan', { vlanId: 5 }, /'master' is missing/u],
  ['vlan', { master: 'eth0', vlanId: 4095 }, /4095 is not a VLAN: 0 to 4094/u],
  ['vlan', { master: 'eth0', vlanId: -1 }, /-1 is not a VLAN/u],
  ['vlan', { master: 'eth0', vlanId: '5' }, /vlanId must be a whole number/u],
  ['host-device', {}, /one of 'device', 'hwaddr', 'kernelpath', 'pciBusID' is needed/u],
  ['host-device', { kernelpath: '/sys/devices/../../etc' }, /is not a path below \/sys\/devices/u],
  ['host-device', { pciBusID: '../../../etc' }, /is not a PCI address/u],
  ['ptp', { ipMasqBackend: 'iptables' }, /'ipMasqBackend' is not supported \("iptables"\): nftables is/u],
  ['firewall', { backend: 'firewalld' }, /'backend' is not supported \("firewalld"\)/u],
  ['firewall', { firewalldZone: 'trusted' }, /'firewalldZone' is not supported/u],
  ['firewall', { ingressPolicy: 'closed' }, /"closed" is not a policy: open, same-bridge, isolated/u],
  ['firewall', { iptablesAdminChainName: 'forward' }, /is not a valid name of a chain/u],
  ['vxlan', {}, /'vni' is missing/u],
  ['vxlan', { vni: 16777216 }, /is not a VXLAN/u],
  ['vxlan', { vni: 1, local: '10.0.0.1', remotes: ['fd00::1'] }, /not of one family/u],
  ['vxlan', { vni: 1, fdb: [{ mac: 'x', remote: '10.0.0.1' }] }, /is not a MAC address/u],
  ['tap', { owner: -1 }, /-1 is not the number of a user/u],
  ['tap', { group: 4_294_967_295 }, /4294967295 is not the number of a group/u],
  ['tap', { bridge: 'a/b' }, /is not an interface name/u],
  ['tap', { selinuxContext: 'system_u:object_r:x_t:s0' }, /'selinuxContext' is not supported/u],
  ['vrf', {}, /'vrfname' is missing/u],
  ['vrf', { vrfname: 'a/b' }, /is not an interface name/u],
  ['vrf', { vrfname: 'blue', table: 4_294_967_296 }, /is not a routing table/u],
  ['sbr', { table: 0 }, /is not a routing table/u],
  ['sbr', { gateways: ['10.0.0.1', '10.0.0.2'] }, /more than one of IPv4/u],
  ['static', { ipam: { addresses: [{ address: '10.0.0.2' }] } }, /is not an address with its prefix/u],
  [
    'static',
    { ipam: { addresses: [{ address: '10.0.0.2/24', gateway: 'fd00::1' }] } },
    /not an address of the family/u,
  ],
  ['static', { ipam: {}, runtimeConfig: { ips: ['10.0.0.2'] } }, /is not an address with its prefix/u],
  [
    'static',
    { cniVersion: '0.2.0', ipam: { addresses: [{ address: '10.0.0.2/24' }, { address: '10.0.0.3/24' }] } },
    /allows only one address of each family/u,
  ],
] as const)
  test(`${type}: ${JSON.stringify(config)}`, () => assert.match(problemsOf(type, config), expected));

test('known but unsupported fields are error 2 of the specification, unless there are other errors', () => {
  const reported = (type: string, config: object): { code: number; msg: string } | undefined => {
    const key = { network: 'net', containerId: 'c1', interface: 'eth0' };
    const call = {
      verb: 'add' as const,
      type,
      caller: {},
      key,
      netns: '/run/netns/x',
      args: {},
      path: [],
      config: JSON.stringify(config),
    };
    try {
      sound(readConfiguration(call));
      return undefined;
    } catch (thrown) {
      return cniErrorOf(thrown);
    }
  };
  for (const [type, config, key, value] of [
    ['bandwidth', { shapedSubnets: ['10.0.0.0/8'] }, 'shapedSubnets', '["10.0.0.0/8"]'],
    ['bridge', { ipMasqBackend: 'iptables' }, 'ipMasqBackend', '"iptables"'],
    ['firewall', { firewalldZone: 'trusted' }, 'firewalldZone', '"trusted"'],
    ['portmap', { conditionsV4: ['-m', 'state'] }, 'conditionsV4', '["-m","state"]'],
    ['portmap', { externalSetMarkChain: 'MARK' }, 'externalSetMarkChain', '"MARK"'],
  ] as const) {
    const error = reported(type, config);
    assert.equal(error?.code, 2, type);
    assert.ok(error.msg.includes(key) && error.msg.includes(value), error.msg);
    assert.equal(
      reported(type, { ...config, mtu: 1, ingressPolicy: 5, ingressRate: 'x', markMasqBit: 99 })?.code,
      7,
      type,
    );
  }
});

test('CNI_ARGS are read as strictly as the configuration', () => {
  assert.match(problemsOf('macvlan', {}, { MAC: 'x' }), /CNI_ARGS: MAC "x"/u);
  assert.match(problemsOf('static', { ipam: {} }, { IP: '10.0.0.2' }), /CNI_ARGS: IP "10\.0\.0\.2"/u);
  assert.match(problemsOf('static', { ipam: {} }, { GATEWAY: 'x' }), /CNI_ARGS: GATEWAY "x"/u);
});
