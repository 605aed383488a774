import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { formatIp, parseIp } from '../../base/addresses/index.ts';
import { supportedVersions } from './cni-version.ts';
import { fieldsOf } from './fields.ts';
import { readJson } from './json-text.ts';
import { readResult, resultAs } from './result-versions.ts';
import type { CniResult } from './result.ts';

function read(value: unknown, version: string): { result: CniResult; problems: string[] } {
  const source = readJson(JSON.stringify(value));
  assert.ok('value' in source);
  const problems: string[] = [];
  const fields = fieldsOf(source.value, [], 'stdin', source, problems) ?? assert.fail(problems.join());
  return { result: readResult(fields, version), problems };
}

const ipv4 = fc.ipV4();
const ipv6 = fc
  .ipV6()
  .filter((text) => !text.includes('.'))
  .map((text) => formatIp(parseIp(text) ?? assert.fail(text)));
const optional = <T>(name: string, value: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> =>
  fc.option(value).map((given) => (given === null ? {} : { [name]: given }));
const merged = (...parts: readonly fc.Arbitrary<object>[]): fc.Arbitrary<object> =>
  fc.tuple(...parts).map((all) => Object.assign({}, ...all) as object);
const count = fc.integer({ min: 1, max: 65_535 });
const route = (address: fc.Arbitrary<string>): fc.Arbitrary<object> =>
  merged(
    address.map((text) => ({ dst: `${text}/24` })),
    optional('gw', address),
    optional('mtu', count),
    optional('advmss', count),
    optional('priority', count),
    optional('table', fc.nat(1000)),
    optional('scope', fc.nat(255)),
  );
const word = fc.stringMatching(/^[a-z0-9]{1,12}$/u);
const interfaces = fc.array(
  merged(
    word.map((name) => ({ name })),
    optional('mac', word),
    optional('sandbox', word),
  ),
  { maxLength: 3 },
);
const anyResult = interfaces.chain((given) =>
  merged(
    fc.constant({ interfaces: given }),
    fc
      .array(
        fc
          .oneof(ipv4, ipv6)
          .chain((address) =>
            merged(
              fc.constant({ address: `${address}/24` }),
              optional('gateway', address.includes(':') ? ipv6 : ipv4),
              given.length === 0 ? fc.constant({}) : optional('interface', fc.nat(given.length - 1)),
            ),
          ),
        { maxLength: 4 },
      )
      .map((ips) => ({ ips })),
    fc.array(fc.oneof(route(ipv4), route(ipv6)), { maxLength: 4 }).map((routes) => ({ routes })),
    merged(
      optional('nameservers', fc.array(ipv4, { minLength: 1, maxLength: 2 })),
      optional('domain', word),
      optional('search', fc.array(word, { minLength: 1, maxLength: 2 })),
    ).map((dns) => ({ dns })),
  ),
) as fc.Arbitrary<CniResult>;

describe('a result', () => {
  it('survives every version from 0.3.0 on', () => {
    fc.assert(
      fc.property(anyResult, fc.constantFrom(...supportedVersions.slice(2)), (result, version) => {
        const reported = resultAs(result, version);
        assert.equal(reported?.['cniVersion'], version);
        assert.deepEqual(read(reported, version), { result, problems: [] });
      }),
      { seed: 7 },
    );
  });

  it('keeps the first address of each family and its routes before 0.3.0, and is empty without an address', () => {
    fc.assert(
      fc.property(anyResult, fc.constantFrom('0.1.0', '0.2.0'), (result, version) => {
        const reported = resultAs(result, version);
        const first = [
          result.ips.find(({ address }) => !address.includes(':')),
          result.ips.find(({ address }) => address.includes(':')),
        ];
        if (reported === undefined) return assert.deepEqual(first, [undefined, undefined]);
        const back = read(reported, version);
        assert.deepEqual(back.problems, []);
        assert.deepEqual(
          back.result.ips,
          first.flatMap((ip) =>
            ip === undefined
              ? []
              : [{ address: ip.address, ...(ip.gateway === undefined ? {} : { gateway: ip.gateway }) }],
          ),
        );
        const kept = result.routes.filter(({ dst }) => first[dst.includes(':') ? 1 : 0] !== undefined).length;
        assert.equal(back.result.routes.length, kept);
      }),
      { seed: 7 },
    );
  });

  // Results as `cnitool` and Debian's plugins print them.
  const result: CniResult = {
    interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', mtu: 1450, sandbox: '/run/netns/pod' }],
    ips: [{ address: '10.1.0.5/16', gateway: '10.1.0.1', interface: 0 }],
    routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }],
    dns: {},
  };
  for (const [version, reported] of [
    ['1.0.0', { cniVersion: '1.0.0', ...result, dns: undefined }],
    [
      '0.4.0',
      {
        cniVersion: '0.4.0',
        interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', sandbox: '/run/netns/pod' }],
        ips: [{ version: '4', address: '10.1.0.5/16', gateway: '10.1.0.1', interface: 0 }],
        routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }],
        dns: {},
      },
    ],
    [
      '0.2.0',
      {
        cniVersion: '0.2.0',
        ip4: { ip: '10.1.0.5/16', gateway: '10.1.0.1', routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }] },
        dns: {},
      },
    ],
  ] as const) {
    it(`is reported to ${version} in the form of that version`, () => {
      assert.deepEqual(
        JSON.parse(JSON.stringify(resultAs(result, version))),
        JSON.parse(JSON.stringify(reported)),
      );
    });
  }

  it('with nonsense is refused with the position of each error', () => {
    const { problems } = read(
      { interfaces: {}, ips: [{ address: 'x', interface: 7 }, 4], routes: [{ gw: 'y' }], dns: [] },
      '1.0.0',
    );
    assert.deepEqual(
      problems.map((problem) => problem.replace(/^stdin:\d+:\d+: /u, '')),
      [
        'dns must be an object',
        'interfaces must be a list',
        'ips[1] must be an object',
        '"x" is not an address with its prefix length, such as 10.88.0.2/16',
        '7 is not an index into the 0 interfaces',
        "'dst' is missing",
        '"y" is not an IP address',
      ],
    );
    assert.match(read({ cniVersion: '9.9.9' }, '1.0.0').problems.join(), /9\.9\.9/u);
  });
});
