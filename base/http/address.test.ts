import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { classOfAddress, classOfHost, isLoopback } from './address.ts';
import type { AddressClass } from './address.ts';

const hosts: readonly (readonly [host: string, found: AddressClass])[] = [
  ['127.0.0.1', 'loopback'],
  ['127.255.255.254', 'loopback'],
  ['127.1', 'loopback'],
  ['2130706433', 'loopback'],
  ['0x7f000001', 'loopback'],
  ['0x7f.1', 'loopback'],
  ['0177.0.0.1', 'loopback'],
  ['127.0.0.1.', 'loopback'],
  ['１２７.0.0.1', 'loopback'],
  ['localhost', 'loopback'],
  ['localhost.', 'loopback'],
  ['LOCALHOST', 'loopback'],
  ['a.b.localhost.', 'loopback'],
  ['ip6-localhost', 'loopback'],
  ['[::1]', 'loopback'],
  ['::1', 'loopback'],
  ['[0:0:0:0:0:0:0:1]', 'loopback'],
  ['[::ffff:127.0.0.1]', 'loopback'],
  ['[::ffff:7f00:1]', 'loopback'],
  ['[::127.0.0.1]', 'loopback'],
  ['[::ffff:0:127.0.0.1]', 'loopback'],
  ['[64:ff9b::7f00:1]', 'loopback'],
  ['[64:ff9b:1:7f00:0:100::]', 'loopback'],
  ['[64:ff9b:1::127.0.0.1]', 'loopback'],
  ['[2002:7f00:1::]', 'loopback'],
  ['[2001:0:5ef5:79fd::80ff:fffe]', 'loopback'],
  ['[2001:db8::5efe:7f00:1]', 'loopback'],
  ['[2001:db8::200:5efe:7f00:1]', 'loopback'],
  ['0.0.0.0', 'unspecified'],
  ['0', 'unspecified'],
  ['0.1.2.3', 'unspecified'],
  ['[::]', 'unspecified'],
  ['[::ffff:0.0.0.0]', 'unspecified'],
  ['[64:ff9b::]', 'unspecified'],
  ['169.254.0.1', 'link-local'],
  ['[fe80::1]', 'link-local'],
  ['fe80::1%lo', 'link-local'],
  ['[::ffff:169.254.1.1]', 'link-local'],
  ['255.255.255.255', 'link-local'],
  ['169.254.169.254', 'metadata'],
  ['0xa9fea9fe', 'metadata'],
  ['[::ffff:a9fe:a9fe]', 'metadata'],
  ['[64:ff9b::a9fe:a9fe]', 'metadata'],
  ['[fd00:ec2::254]', 'metadata'],
  ['[fd00:0ec2:0:0:0:0:0:254]', 'metadata'],
  ['100.100.100.200', 'metadata'],
  ['224.0.0.1', 'multicast'],
  ['[ff02::1]', 'multicast'],
  ['10.0.0.1', 'elsewhere'],
  ['192.168.1.1', 'elsewhere'],
  ['203.0.113.7', 'elsewhere'],
  ['8.8.8.8', 'elsewhere'],
  ['[2001:db8::1]', 'elsewhere'],
  ['[2002:808:808::]', 'elsewhere'],
  ['[64:ff9b::8.8.8.8]', 'elsewhere'],
  ['[64:ff9b:1::8.8.8.8]', 'elsewhere'],
  ['[::ffff:8.8.8.8]', 'elsewhere'],
  ['127.0.0.1.example.com', 'name'],
  ['localhost.example.com', 'name'],
  ['notlocalhost', 'name'],
  ['registry.example.com', 'name'],
  ['', 'unreadable'],
  ['.', 'unreadable'],
  ['[64:ff9b:1:808:8:800::]', 'elsewhere'],
  ['[fe80::1%lo]', 'unreadable'],
  ['[fe80::1%25lo]', 'unreadable'],
  ['256.256.256.256', 'unreadable'],
  ['a b', 'unreadable'],
];

describe('the class of a host', () => {
  for (const [host, found] of hosts)
    it(`${JSON.stringify(host)}: ${found}`, () => assert.equal(classOfHost(host), found));
});

describe('the class of an address of a resolver or socket', () => {
  const addresses: readonly (readonly [address: string, found: AddressClass])[] = [
    ['127.0.0.1', 'loopback'],
    ['::1', 'loopback'],
    ['::ffff:127.0.0.1', 'loopback'],
    ['fe80::1%eth0', 'link-local'],
    ['203.0.113.7', 'elsewhere'],
    ['', 'unreadable'],
    ['localhost', 'unreadable'],
    ['127.1', 'unreadable'],
  ];
  for (const [address, found] of addresses)
    it(`${JSON.stringify(address)}: ${found}`, () => assert.equal(classOfAddress(address), found));
});

/**
 * Each octet, or the rest, in decimal, octal or hexadecimal, in one to four parts, as inet_aton and the URL
 * standard read them.
 */
const spellings = fc
  .record({
    octets: fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255)),
    parts: fc.integer({ min: 1, max: 4 }),
    bases: fc.tuple(...[0, 1, 2, 3].map(() => fc.constantFrom(8, 10, 16))),
    dot: fc.boolean(),
  })
  .map(({ octets, parts, bases, dot }) => {
    const bytes = [127, ...octets];
    const numbers = [
      ...bytes.slice(0, parts - 1),
      bytes.slice(parts - 1).reduce((all, byte) => all * 256 + byte, 0),
    ];
    const write = (value: number, base: number | undefined): string =>
      base === 16 ? `0x${value.toString(16)}` : base === 8 ? `0${value.toString(8)}` : String(value);
    return numbers.map((value, at) => write(value, bases[at])).join('.') + (dot ? '.' : '');
  });

describe('any spelling', () => {
  it('of an IPv4 loopback address is loopback', () => {
    fc.assert(
      fc.property(spellings, (host) => isLoopback(host)),
      { numRuns: 2000 },
    );
  });

  it('of an IPv6 address that contains an IPv4 loopback address is loopback', () => {
    const carriers = ['::ffff:', '::', '::ffff:0:', '64:ff9b::', '64:ff9b:1::', '2001:db8::5efe:'];
    const octets = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255));
    const host = fc
      .tuple(fc.constantFrom(...carriers), octets, fc.boolean(), fc.boolean())
      .map(([carrier, [b, c, d], isHex, isUpper]) => {
        const hex = `${(127 * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
        const text = `[${carrier}${isHex ? hex : `127.${b}.${c}.${d}`}]`;
        return isUpper ? text.toUpperCase() : text;
      });
    fc.assert(
      fc.property(host, (one) => isLoopback(one)),
      { numRuns: 2000 },
    );
  });

  it('of any text has a class, and a URL with a numeric host never counts as a name', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.webAuthority(), fc.ipV4Extended(), fc.ipV6()), (text) => {
        const found = classOfHost(text);
        const url = URL.parse(`http://${text}`);
        if (url !== null && /^\[|^[\d.]+$/u.test(url.hostname)) assert.notEqual(found, 'name');
      }),
      { numRuns: 2000 },
    );
  });
});
