import assert from 'node:assert/strict';
import { isIPv6 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  formatIp,
  ipBytes,
  ipFromBytes,
  ipTextBytes,
  parseIp,
  parseIpOrMapped,
  parsePrefix,
} from './address.ts';

test('an address is unchanged after conversion to text or bytes and back', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.ipV4(),
        fc.ipV6().filter((text) => !text.includes('.')),
      ),
      (text) => {
        const address = parseIp(text) ?? assert.fail(text);
        assert.deepEqual(parseIp(formatIp(address)), address);
        assert.deepEqual(ipFromBytes(ipBytes(address)), address);
        assert.deepEqual(ipTextBytes(text), ipBytes(address));
        if (address.family === 6) assert.ok(isIPv6(formatIp(address)));
      },
    ),
  );
});

test('an IPv4-mapped address is the IPv4 address, in every form', () => {
  for (const text of ['192.0.2.1', '::ffff:192.0.2.1', '::FFFF:c000:201', '0:0:0:0:0:ffff:c000:0201'])
    assert.deepEqual(parseIpOrMapped(text), parseIp('192.0.2.1'), text);
  assert.deepEqual(parseIpOrMapped('::c000:201'), parseIp('::c000:201'));
  for (const text of ['', '::ffff:192.0.2.300', '::ffff:1.2.3'])
    assert.equal(parseIpOrMapped(text), undefined);
});

// RFC 5952, section 4.
for (const [given, canonical] of [
  ['2001:0db8::0001', '2001:db8::1'],
  ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['::', '::'],
  ['::1', '::1'],
  ['fd00::', 'fd00::'],
] as const) {
  test(`${given} is written ${canonical}`, () =>
    assert.equal(formatIp(parseIp(given) ?? assert.fail()), canonical));
}

test('refuses text that is not an address or prefix', () => {
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    'fe80::1%eth0',
    '::ffff:1.2.3.4',
    'g::',
    '1::2::3',
  ])
    assert.deepEqual([parseIp(text), ipTextBytes(text)], [undefined, undefined], text);
  for (const text of ['1.2.3.4', '1.2.3.4/33', '::/129', '1.2.3.4/', '/8', '1.2.3.4/-1'])
    assert.equal(parsePrefix(text), undefined, text);
});
