import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { pluginNames } from '../client/install.ts';
import { createInstalledFixture } from '../../bin/plugins.fixture.ts';
import { createTestDriver } from '../../libnetwork/client/driver.fixture.ts';
import { answerCall } from './answer.ts';

/**
 * Generated calls of every verb of every plugin. Each call is served, or refused with a code and a message on
 * standard output. A refused call leaves nothing in kernel and database. Long form:
 * PORTCULLIS_BAD_CALLS=20000.
 */
const runs = Number(process.env['PORTCULLIS_BAD_CALLS'] ?? 600);

const ipam = { type: 'portcullis-ipam', ranges: [[{ subnet: '10.66.0.0/24' }]] };
const previous = {
  cniVersion: '1.1.0',
  interfaces: [{ name: 'host0' }, { name: 'eth0', sandbox: '/run/netns/pod' }],
  ips: [{ address: '10.66.0.9/24', gateway: '10.66.0.1', interface: 1 }],
  routes: [{ dst: '0.0.0.0/0' }],
};
/** A plausible configuration of each plugin. @param sockets folder of the remote driver */
const configurations = (sockets: string): Readonly<Record<string, Readonly<Record<string, unknown>>>> => ({
  bandwidth: { ingressRate: 1000, ingressBurst: 1000, prevResult: previous },
  bridge: { bridge: 'bad0', isGateway: true, ipMasq: true, mtu: 1400, hairpinMode: true, ipam },
  cnm: {
    ...{
      driver: 'bad',
      driverOptions: { a: 'b' },
      internal: false,
      mtu: 1400,
      timeout: 1,
      socketDirs: [sockets],
      specDirs: [sockets],
    },
    ipam: { type: 'portcullis-cnm', pools: [{ pool: '10.67.0.0/24' }] },
  },
  dhcp: {
    ipam: {
      type: 'portcullis-dhcp',
      request: [{ option: 'ntp-servers', skipDefault: false }],
      provide: [{ option: 'host-name', value: 'bad', fromArg: 'K8S_POD_NAME' }],
      priority: 10,
    },
  },
  dummy: { ipam },
  firewall: { ingressPolicy: 'same-bridge', prevResult: previous },
  'host-device': { device: 'nodevice0' },
  ipam: { ipam },
  ipvlan: { master: 'nodevice0', mode: 'l2', ipam },
  loopback: {},
  macvlan: { master: 'nodevice0', mode: 'bridge', mtu: 1400, ipam },
  portmap: {
    snat: true,
    runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 80, protocol: 'tcp' }] },
    prevResult: previous,
  },
  ptp: { ipMasq: true, mtu: 1400, ipam },
  sbr: { prevResult: previous },
  static: { ipam: { type: 'static', addresses: [{ address: '10.66.0.7/24' }] } },
  tap: { multiQueue: true, owner: 1000, group: 1000, mtu: 1400, bridge: 'nobridge0', ipam },
  tuning: {
    sysctl: { 'net.ipv4.conf.IFNAME.forwarding': '1' },
    mtu: 1300,
    promisc: true,
    prevResult: previous,
  },
  vlan: { master: 'nodevice0', vlanId: 5, ipam },
  vrf: { vrfname: 'blue', table: 7, prevResult: previous },
  vxlan: { vni: 5, remotes: ['192.0.2.7'], learning: true, prevResult: previous },
});

const leaf = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    0,
    -1,
    1.5,
    2 ** 31,
    2 ** 53,
    1e400,
    '',
    '.',
    '..',
    '../../x',
    'eth0',
    '10.0.0.1',
    '10.0.0.0/33',
    '::/0',
    [],
    {},
    'x'.repeat(5000),
  ),
  fc.string(),
  fc.integer(),
  fc.jsonValue({ maxDepth: 2 }),
);

/** The configuration with one value in it replaced, and perhaps with an unknown field. */
const mutated = (conf: unknown): fc.Arbitrary<unknown> => {
  const paths = pathsOf(conf);
  return fc
    .record({ path: fc.constantFrom(...paths), value: leaf })
    .map(({ path, value }) => replaced(conf, path, value));
};

function pathsOf(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path];
  return [
    ...(path.length === 0 ? [] : [path]),
    ...Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...path, key])),
  ];
}

function replaced(value: unknown, [first, ...rest]: readonly string[], by: unknown): unknown {
  if (first === undefined) return by;
  const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...(value as object) }) as Record<
    string,
    unknown
  >;
  copy[first] = replaced(copy[first], rest, by);
  return copy;
}

if (inPrivateNetns(import.meta.filename, 180_000 + 30 * runs)) {
  test('bad input to any verb of any plugin is reported, and leaves nothing', async () => {
    const fixture = createInstalledFixture();
    const plugins = configurations(fixture.folder);
    assert.deepEqual(
      Object.keys(plugins)
        .map((type) => `portcullis-${type}`)
        .toSorted(),
      pluginNames(),
    );
    const driver = createTestDriver(join(fixture.folder, 'bad.sock'));
    await driver.listen();
    try {
      const pod = fixture.pin('pod');
      const call = (
        name: string,
        environment: Record<string, string>,
        stdin: string,
      ): Promise<{ exitCode: number; stdout: string }> =>
        answerCall({ name, environment, stdin: Buffer.from(stdin) }, {}, fixture.engine.callPlugin);
      // Without the pod's lo, because DEL of loopback sets it down.
      const links = (): string =>
        `${shell('ip -br link show')}${fixture.inside(pod, "sh -c 'ip -br link show; ip -br address show'") ?? ''}`.replaceAll(
          /^lo .*\n/gmu,
          '',
        );
      const clean = links();
      const verbs = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION', '', 'FROB'];
      const calls = fc.constantFrom(...Object.entries(plugins)).chain(([type, conf]) =>
        fc.record({
          type: fc.constant(type),
          conf: mutated({ cniVersion: '1.1.0', name: 'bad', type: `portcullis-${type}`, ...conf }),
          verb: fc.oneof({ weight: 5, arbitrary: fc.constant('ADD') }, fc.constantFrom(...verbs)),
          text: fc.oneof(
            { weight: 9, arbitrary: fc.constant(undefined) },
            fc.string(),
            fc.constant('{'),
            fc.constant('[]'),
          ),
          ifname: fc.oneof({ weight: 9, arbitrary: fc.constant('eth0') }, fc.string()),
          netns: fc.oneof(
            { weight: 9, arbitrary: fc.constant(pod) },
            fc.constantFrom('', '/', '/etc/passwd', '/proc/self/ns/net', '/proc/self/ns/mnt'),
          ),
          args: fc.oneof(
            { weight: 5, arbitrary: fc.constant('') },
            fc.string(),
            fc.constantFrom('IP=x', 'IP=10.66.0.300', 'MAC=zz', 'IgnoreUnknown=1;A=B'),
          ),
        }),
      );
      // The first call that gets far enough creates the database.
      const known = { cniVersion: '1.1.0', name: 'bad', type: 'portcullis-ipam', ...plugins['ipam'] };
      assert.equal(
        (
          await call(
            'portcullis-ipam',
            { CNI_COMMAND: 'STATUS', CNI_PATH: '/nowhere' },
            JSON.stringify(known),
          )
        ).exitCode,
        0,
      );
      const rows = fixture.rows();
      let refused = 0;
      for (const each of fc.sample(calls, { numRuns: runs, seed: Number(process.env['FUZZ_SEED'] ?? 7) })) {
        const stdin = each.text ?? JSON.stringify(each.conf) ?? '';
        const environment = {
          ...{
            CNI_COMMAND: each.verb,
            CNI_CONTAINERID: 'bad',
            CNI_NETNS: each.netns,
            CNI_IFNAME: each.ifname,
          },
          ...{ CNI_PATH: '/nowhere', CNI_ARGS: each.args },
        };
        const what = `${each.verb} ${each.type} ${JSON.stringify(environment)} ${stdin.slice(0, 600)}`;
        const answer = await call(`portcullis-${each.type}`, environment, stdin);
        if (answer.exitCode === 0) {
          // The input was valid after all. A served call leaves only a bridge on purpose.
          if (each.verb === 'ADD') {
            assert.equal(
              (await call(`portcullis-${each.type}`, { ...environment, CNI_COMMAND: 'DEL' }, stdin)).exitCode,
              0,
              what,
            );
            if (each.type === 'bridge') shell('ip link delete group 1885536258');
          }
        } else {
          refused += 1;
          const { code, msg, cniVersion } = JSON.parse(answer.stdout) as {
            code: number;
            msg: string;
            cniVersion: string;
          };
          assert.ok(
            Number.isInteger(code) && code > 0 && msg !== '' && cniVersion !== '',
            `${what}: ${answer.stdout}`,
          );
          assert.notEqual(code, 999, `${what}: ${answer.stdout}`);
        }
        assert.equal(fixture.attachments(), 0, what);
      }
      assert.equal(links(), clean);
      const { last_lease: _whereTheNextSearchBegins, ...held } = fixture.rows();
      assert.deepEqual(held, rows);
      assert.deepEqual(driver.held(), []);
      // The rules themselves are constant: the state of a pod consists of set elements.
      assert.doesNotMatch(shell('nft list ruleset'), /elements/u);
      assert.ok(refused > runs / 3, `${refused} of ${runs} were refused`);
    } finally {
      await driver.close();
      await fixture.end();
    }
  });
}
