import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { readConfig } from '../../networks/addresses.ts';
import { formatIp } from '../../../base/addresses/index.ts';
import type { CniResult } from '../../spec/result.ts';
import { staticAddresses } from './plugin.ts';

/** Returns the leases of our plugin in the format of a result. */
function ours(
  config: object,
  args: Readonly<Record<string, string>>,
): Pick<CniResult, 'ips' | 'routes' | 'dns'> {
  const problems: string[] = [];
  const fields = readConfig(JSON.stringify(config), problems);
  assert.ok(fields !== undefined);
  const { addresses, routes, dns } = staticAddresses.lease(staticAddresses.read(fields, args));
  assert.deepEqual(problems, []);
  return {
    ips: addresses.map(({ address, gateway }) => ({
      address: `${formatIp(address.address)}/${address.length}`,
      ...(gateway === undefined ? {} : { gateway: formatIp(gateway) }),
    })),
    routes,
    dns,
  };
}

function debian(
  config: object,
  args: Readonly<Record<string, string>>,
): Pick<CniResult, 'ips' | 'routes' | 'dns'> {
  const run = spawnSync('/usr/lib/cni/static', {
    input: JSON.stringify({ cniVersion: '1.0.0', name: 'net', ...config }),
    encoding: 'utf8',
    env: {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: 'c1',
      CNI_NETNS: '/run/netns/none',
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/usr/lib/cni',
      CNI_ARGS: Object.entries(args)
        .map(([name, value]) => `${name}=${value}`)
        .join(';'),
    },
  });
  assert.equal(run.status, 0, run.stdout);
  const { ips = [], routes = [], dns = {} } = JSON.parse(run.stdout) as Partial<CniResult>;
  return { ips, routes, dns };
}

const addresses = [
  { address: '10.1.2.3/24', gateway: '10.1.2.1' },
  { address: 'fd00::3/64', gateway: 'fd00::1' },
];

for (const [label, config, args] of [
  [
    'addresses, routes, DNS',
    {
      ipam: {
        type: 'static',
        addresses,
        routes: [{ dst: '0.0.0.0/0' }, { dst: '10.9.0.0/16', gw: '10.1.2.9' }],
        dns: { nameservers: ['10.1.2.1'], domain: 'a.test', search: ['b.test'], options: ['ndots:5'] },
      },
    },
    {},
  ],
  ['no gateway', { ipam: { type: 'static', addresses: [{ address: '10.1.2.3/24' }] } }, {}],
  [
    'CNI_ARGS add',
    { ipam: { type: 'static', addresses: [{ address: '10.1.2.3/24' }] } },
    { IP: '10.2.2.3/24', GATEWAY: '10.2.2.1' },
  ],
  [
    'CNI_ARGS of both families',
    { ipam: { type: 'static' } },
    { IP: '10.2.2.3/24, fd02::3/64', GATEWAY: 'fd02::1,10.2.2.1' },
  ],
  ['args.cni replace', { ipam: { type: 'static', addresses }, args: { cni: { ips: ['10.3.2.3/16'] } } }, {}],
  [
    'the capability replaces all',
    {
      ipam: { type: 'static', addresses },
      args: { cni: { ips: ['10.3.2.3/16'] } },
      runtimeConfig: { ips: ['10.4.2.3/16', 'fd04::3/64'] },
    },
    {},
  ],
  ['nothing', { ipam: { type: 'static' } }, {}],
] as const)
  test(`it returns what Debian's plugin returns: ${label}`, () =>
    assert.deepEqual(ours(config, args), debian(config, args)));

for (const address of [
  '0.0.0.0/0',
  '0.0.0.0/24',
  '::/64',
  '224.0.0.5/24',
  'ff02::5/64',
  '255.255.255.255/32',
  '0.5.0.1/24',
  '127.0.0.5/8',
  '::1/128',
])
  test(`${address} is refused, because no interface can have it`, () => {
    const given: readonly [object, Readonly<Record<string, string>>][] = [
      [{ ipam: { type: 'static', addresses: [{ address }] } }, {}],
      [{ ipam: { type: 'static' } }, { IP: address }],
      [{ ipam: { type: 'static' }, args: { cni: { ips: [address] } } }, {}],
      [{ ipam: { type: 'static' }, runtimeConfig: { ips: [address] } }, {}],
    ];
    for (const [config, args] of given) {
      const problems: string[] = [];
      const fields = readConfig(JSON.stringify(config), problems);
      assert.ok(fields !== undefined);
      staticAddresses.read(fields, args);
      assert.match(problems.join('\n'), /is not an address of one interface$/u);
    }
  });
