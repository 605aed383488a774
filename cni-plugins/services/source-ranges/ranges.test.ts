import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertNearLinear } from '../../../test/fixtures/cost.ts';
import { concatenated } from '../../../base/netlink/index.ts';
import {
  bitsOf,
  contains,
  formatIp,
  ipBytes,
  networkOf,
  parsePrefix,
} from '../../../base/addresses/index.ts';
import type { IpAddress } from '../../../base/addresses/index.ts';
import type { VirtualServer } from '../model/model.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { rangeElementsOf } from './elements.ts';
import { canonicalRange, mayConnect, rangesOfFamily, sourcesOf } from './ranges.ts';
import { bitOf, lengthKey, rangesSet, restrictedMap, sourceRulesOf } from './rules.ts';

const server = (family: 4 | 6, sourceRanges?: readonly string[]): VirtualServer => ({
  ...webServer,
  ...{ kind: 'external', family, address: family === 4 ? '192.0.2.8' : '2001:db8::8', destinations: [] },
  ...(sourceRanges !== undefined && { sourceRanges }),
});

test('a prefix has one canonical form; other text is not a prefix', () => {
  assert.equal(canonicalRange('10.1.2.3/8'), '10.0.0.0/8');
  assert.equal(canonicalRange('2001:DB8:0::/32'), '2001:db8::/32');
  for (const text of [
    '',
    '10.0.0.1',
    '10.0.0.0/33',
    '10.0.0.0/',
    '::/129',
    'fd00::%eth0/64',
    '10.0.0.0/8 ',
    '::ffff:10.0.0.0/104',
  ])
    assert.equal(canonicalRange(text), undefined, text);
});

test('each family is separate; a prefix that contains every client is not a restriction', () => {
  assert.deepEqual(rangesOfFamily(['10.0.0.0/8', 'fd00::/8'], 4), ['10.0.0.0/8']);
  assert.deepEqual(rangesOfFamily(['10.0.0.0/8', 'fd00::/8'], 6), ['fd00::/8']);
  assert.equal(rangesOfFamily(['10.0.0.0/8'], 6), undefined);
  assert.equal(rangesOfFamily(['10.0.0.0/8', '0.0.0.0/0'], 4), undefined);
  assert.equal(rangesOfFamily(undefined, 4), undefined);
});

test('if the host may connect, it may also connect from the virtual address', () => {
  const restricted = server(4, ['10.1.0.0/16']);
  const texts = (own?: Uint8Array): string[] =>
    sourcesOf(restricted, own).map(({ address, length }) => `${formatIp(address)}/${length}`);
  assert.deepEqual(texts(), ['10.1.0.0/16']);
  assert.deepEqual(texts(Uint8Array.of(10, 1, 0, 1)), ['10.1.0.0/16', '192.0.2.8/32']);
  assert.deepEqual(texts(Uint8Array.of(10, 2, 0, 1)), ['10.1.0.0/16']);
});

/** Evaluates the chain for a packet, from the elements alone. */
function passes(restricted: VirtualServer, key: Buffer, from: IpAddress): boolean {
  const elements = rangeElementsOf(restricted, key, undefined);
  const bits = elements.find(([set]) => set === restrictedMap)?.[1].value?.readUInt32LE() ?? 0;
  const ranges = new Set(
    elements.filter(([set]) => set === rangesSet).map(([, each]) => Buffer.from(each.key).toString('hex')),
  );
  for (let length = bitsOf(from.family); length > 0; length -= 1) {
    if ((bits & bitOf(from.family, length)) === 0) continue;
    const network = networkOf({ address: from, length });
    if (ranges.has(concatenated(key, lengthKey(length), ipBytes(network)).toString('hex'))) return true;
  }
  return false;
}

test('the chain lets through exactly the clients in one of the prefixes', () => {
  for (const family of [4, 6] as const) {
    const bits = bitsOf(family);
    const anyAddress = fc
      .bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n })
      .map((value): IpAddress => ({ family, value }));
    const anyPrefix = fc.tuple(anyAddress, fc.integer({ min: 1, max: bits }));
    fc.assert(
      fc.property(
        fc.array(anyPrefix, { minLength: 1, maxLength: 12 }),
        anyAddress,
        fc.nat(),
        fc.nat(),
        (prefixes, far, which, flipped) => {
          const texts = prefixes.map(([address, length]) => `${formatIp(address)}/${length}`);
          const restricted = server(family, texts);
          // An address inside a prefix except for one bit, which may be any.
          const [inside] = prefixes[which % prefixes.length]!;
          const near: IpAddress = { family, value: inside.value ^ (1n << BigInt(flipped % bits)) };
          for (const from of [far, near, inside]) {
            const expected = texts.some((text) => contains(parsePrefix(text)!, from));
            assert.equal(mayConnect(restricted, undefined, ipBytes(from)), expected);
            assert.equal(passes(restricted, Buffer.from('key'), from), expected);
          }
        },
      ),
    );
  }
});

test('there is one rule for each prefix length', () => {
  assert.deepEqual([sourceRulesOf(4).length, sourceRulesOf(6).length], [32 + 3, 128 + 3]);
  assert.deepEqual(rangeElementsOf(server(4), Buffer.alloc(12), undefined), []);
});

test('source ranges cost in proportion to how many there are', async () => {
  const ranges = (n: number): string[] =>
    Array.from({ length: n }, (_, index) => `10.${(index >> 8) & 255}.${index & 255}.0/24`);
  await assertNearLinear('source ranges', (n) => sourcesOf(server(4, ranges(n)), undefined), { n: 1000 });
});
