import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import { createDriverFixture } from './driver.fixture.ts';

/**
 * Generated requests to every verb. Each request is served, or refused as the protocol requires (500 with
 * `Err` and one of our codes, 400 for a body that is not JSON). A refused request leaves nothing. Long form:
 * PORTCULLIS_CNM_BAD_CALLS=20000; other seeds by PORTCULLIS_CNM_SEED.
 */
const runs = Number(process.env['PORTCULLIS_CNM_BAD_CALLS'] ?? 120);
const seed = Number(process.env['PORTCULLIS_CNM_SEED'] ?? '11');

const NetworkID = 'e'.repeat(64);
const endpoint = { NetworkID, EndpointID: 'f'.repeat(64) };
/** A plausible request of each verb. */
const meant: Readonly<Record<string, object>> = {
  'Plugin.Activate': {},
  'NetworkDriver.GetCapabilities': {},
  'NetworkDriver.AllocateNetwork': { NetworkID, Options: { a: 'b' }, IPv4Data: [] },
  'NetworkDriver.FreeNetwork': { NetworkID },
  'NetworkDriver.CreateNetwork': {
    NetworkID,
    Options: {
      'com.docker.network.internal': false,
      'com.docker.network.generic': {
        'com.docker.network.driver.mtu': '1400',
        'com.docker.network.bridge.name': 'bad0',
      },
    },
    IPv4Data: [
      {
        AddressSpace: 'local',
        Pool: '10.60.0.0/24',
        Gateway: '10.60.0.1/24',
        AuxAddresses: { router: '10.60.0.9/24' },
      },
    ],
    IPv6Data: [{ AddressSpace: 'local', Pool: 'fd60::/64', Gateway: 'fd60::1/64' }],
  },
  'NetworkDriver.GwAllocCheck': { Options: { 'com.docker.network.internal': true } },
  'NetworkDriver.DeleteNetwork': { NetworkID },
  'NetworkDriver.CreateEndpoint': {
    ...endpoint,
    Interface: { Address: '10.60.0.2/24', AddressIPv6: 'fd60::2/64', MacAddress: '02:00:5e:00:53:02' },
    Options: { 'com.docker.network.portmap': [] },
  },
  'NetworkDriver.DeleteEndpoint': endpoint,
  'NetworkDriver.EndpointOperInfo': endpoint,
  'NetworkDriver.Join': { ...endpoint, SandboxKey: '/run/docker/netns/abc', Options: {} },
  'NetworkDriver.Leave': endpoint,
  'NetworkDriver.ProgramExternalConnectivity': {
    ...endpoint,
    Options: {
      'com.docker.network.portmap': [
        { Proto: 6, IP: '', Port: 80, HostIP: '0.0.0.0', HostPort: 8080, HostPortEnd: 8081 },
      ],
    },
  },
  'NetworkDriver.RevokeExternalConnectivity': endpoint,
  'NetworkDriver.DiscoverNew': { DiscoveryType: 1, DiscoveryData: {} },
  'NetworkDriver.DiscoverDelete': { DiscoveryType: 1, DiscoveryData: {} },
  'IpamDriver.GetCapabilities': {},
  'IpamDriver.GetDefaultAddressSpaces': {},
  'IpamDriver.RequestPool': {
    AddressSpace: 'portcullis',
    Pool: '10.61.0.0/24',
    SubPool: '10.61.0.128/25',
    Options: { a: 'b' },
    V6: false,
  },
  'IpamDriver.ReleasePool': { PoolID: 'portcullis|10.61.0.0/24' },
  'IpamDriver.RequestAddress': {
    PoolID: 'portcullis|10.61.0.0/24',
    Address: '10.61.0.5',
    Options: { RequestAddressType: 'com.docker.network.gateway' },
  },
  'IpamDriver.ReleaseAddress': { PoolID: 'portcullis|10.61.0.0/24', Address: '10.61.0.5' },
};

const values: readonly unknown[] = [
  ...[
    null,
    true,
    0,
    -1,
    1.5,
    2 ** 31,
    2 ** 53,
    '',
    '.',
    '..',
    '../../x',
    '/',
    '/etc/passwd',
    '/proc/self/ns/net',
    'eth0',
    'lo',
    '10.0.0.1',
  ],
  ...[
    '10.60.0.300/24',
    '0.0.0.0/0',
    '::/0',
    '10.60.0.0/33',
    'fd60::1',
    'a|b|c|d',
    'portcullis|0.0.0.0/0',
    'portcullis|::/0',
    '\u0000',
    'é',
  ],
  ...[
    [],
    {},
    [[]],
    [null],
    [{}],
    { a: { b: [1] } },
    'x'.repeat(5000),
    '02:00:5e:00:53:0',
    '01:00:5e:00:00:01',
    'ff:ff:ff:ff:ff:ff',
  ],
];
const leaf = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...values) },
  fc.string(),
  fc.integer(),
  fc.jsonValue({ maxDepth: 2 }),
);

function pathsOf(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...path, key]))];
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

if (inPrivateNetns(import.meta.filename, 1_800_000)) {
  test(
    'bad input to any verb is refused as the protocol defines, and leaves nothing',
    { timeout: 1_800_000 },
    async () => {
      const fixture = await createDriverFixture();
      const good = async (verb: string): Promise<number> =>
        (await fixture.say(verb, JSON.stringify(meant[verb]))).status;
      const clear = async (): Promise<void> => {
        for (const verb of [
          'NetworkDriver.DeleteEndpoint',
          'NetworkDriver.DeleteNetwork',
          'IpamDriver.ReleasePool',
        ])
          assert.equal(await good(verb), 200, verb);
      };
      try {
        const calls = fc.constantFrom(...Object.entries(meant)).chain(([verb, body]) =>
          fc.record({
            verb: fc.constant(verb),
            body: fc
              .record({ path: fc.constantFrom(...pathsOf(body)), value: leaf })
              .map(({ path, value }) => replaced(body, path, value)),
            text: fc.oneof(
              { weight: 12, arbitrary: fc.constant(undefined) },
              fc.string(),
              fc.constantFrom('', '{', '[]', 'null', '"x"', '{"a":1}{', '[[[['),
            ),
            /** Whether a network and an endpoint exist. */
            stands: fc.boolean(),
          }),
        );
        let refused = 0;
        for (const { verb, body, text, stands: exists } of fc.sample(calls, { numRuns: runs, seed })) {
          if (exists && verb.startsWith('NetworkDriver.') && verb !== 'NetworkDriver.CreateNetwork') {
            assert.equal(await good('NetworkDriver.CreateNetwork'), 200);
            if (verb !== 'NetworkDriver.CreateEndpoint')
              assert.equal(await good('NetworkDriver.CreateEndpoint'), 200);
          }
          const sent = text ?? JSON.stringify(body) ?? '';
          const { status, text: answer } = await fixture.say(verb, sent);
          const what = `${verb} ${sent.slice(0, 500)}: ${status} ${answer}`;
          assert.ok([200, 400, 500].includes(status), what);
          if (status === 500) {
            const { Err } = JSON.parse(answer) as { Err: string };
            assert.match(Err, /\[NETWORK_[A-Z0-9_]+\]$/u, what);
            assert.doesNotMatch(Err, /NETWORK_INTERNAL/u, what);
          } else if (status === 200) assert.equal(typeof JSON.parse(answer), 'object', what);
          if (status !== 200) refused += 1;
          else if (verb === 'NetworkDriver.CreateNetwork' || verb === 'NetworkDriver.CreateEndpoint') {
            // The input was valid after all. The objects that it created are removed by the ids in the input.
            const { NetworkID: network, EndpointID } = JSON.parse(sent) as Record<string, string>;
            for (const each of [
              ...(EndpointID === undefined ? [] : ['NetworkDriver.DeleteEndpoint']),
              'NetworkDriver.DeleteNetwork',
            ])
              assert.equal(
                (await fixture.say(each, JSON.stringify({ NetworkID: network, EndpointID }))).status,
                200,
                what,
              );
          } else if (verb === 'IpamDriver.RequestPool') {
            const { PoolID } = JSON.parse(answer) as { PoolID: string };
            await fixture.call('IpamDriver.ReleasePool', { PoolID });
          } else if (verb === 'IpamDriver.RequestAddress')
            await fixture.call('IpamDriver.ReleasePool', {
              PoolID: (JSON.parse(sent) as { PoolID: string }).PoolID,
            });
          await clear();
          assert.deepEqual(fixture.left(), [], what);
        }
        assert.ok(refused > runs / 4, `${refused} of ${runs} were refused`);
      } finally {
        await fixture.end();
      }
    },
  );
}
