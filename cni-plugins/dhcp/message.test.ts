import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeDatagram, encodeDatagram } from './datagram.ts';
import { decodeMessage, encodeMessage } from './message.ts';
import type { DhcpMessage } from './message.ts';
import { readDomain, readSearchList } from './search-list.ts';

const seed = Number(process.env['FUZZ_SEED'] ?? 1);
const times = Number(process.env['FUZZ_TIMES'] ?? 1);

/** Numbers below `limit`, always the same for the same seed (mulberry32). */
function numbers(from: number): (limit: number) => number {
  let state = from >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000) * limit);
  };
}

const bytes = (below: (limit: number) => number, length: number): Buffer =>
  Buffer.from(Array.from({ length }, () => below(256)));

function generated(below: (limit: number) => number): DhcpMessage {
  const options = new Map(
    Array.from({ length: below(12) }, () => {
      const code = 1 + below(254);
      return [code === 52 ? 53 : code, bytes(below, below(4) === 0 ? below(700) : below(9))] as const;
    }),
  );
  return {
    op: 1 + below(2),
    xid: below(0x1_0000_0000),
    secs: below(0x1_0000),
    broadcast: below(2) === 1,
    clientAddress: below(0x1_0000_0000),
    yourAddress: below(0x1_0000_0000),
    hardware: bytes(below, 6),
    options,
  };
}

test(`messages are read as they were written (seed ${seed})`, () => {
  const below = numbers(seed);
  for (let count = 0; count < 500 * times; count += 1) {
    const message = generated(below);
    assert.deepEqual(decodeMessage(encodeMessage(message)), message);
    const payload = encodeMessage(message);
    const packet = encodeDatagram({ from: 1, to: 2, payload }, [67, 68]);
    assert.deepEqual(decodeDatagram(packet), { from: 1, to: 2, payload });
  }
});

test(`altered and arbitrary bytes are read or refused, within their length (seed ${seed})`, () => {
  const below = numbers(seed + 1);
  for (let count = 0; count < 5000 * times; count += 1) {
    const base = below(3) === 0 ? bytes(below, below(600)) : encodeMessage(generated(below));
    for (let change = below(8); change > 0 && base.length > 0; change -= 1)
      base[below(base.length)] = below(256);
    const given = base.subarray(0, below(4) === 0 ? below(base.length + 1) : base.length);
    const read = decodeMessage(given);
    if (typeof read === 'string') continue;
    const total = [...read.options.values()].reduce((sum, { length }) => sum + length, 0);
    assert.ok(total <= given.length);
    decodeDatagram(given);
    for (const value of read.options.values()) {
      assert.ok(readSearchList(value).length <= 16);
      readDomain(value);
    }
  }
});

const fixed = (
  options: readonly number[],
  file: readonly number[] = [],
  name: readonly number[] = [],
): Buffer => {
  const head = Buffer.alloc(240);
  head.set([2, 1, 6]);
  head.set(name, 44);
  head.set(file, 108);
  head.writeUInt32BE(0x63825363, 236);
  return Buffer.concat([head, Buffer.from(options)]);
};
const optionsOf = (given: Buffer): [number, string][] | string => {
  const read = decodeMessage(given);
  return typeof read === 'string'
    ? read
    : [...read.options].map(([code, value]) => [code, value.toString('latin1')]);
};

test('options in file and sname are read in this order, and repeated options are joined', () => {
  const text = (value: string): number[] => [...Buffer.from(value)];
  const given = fixed(
    [52, 1, 3, 15, 2, ...text('ab'), 0, 0, 255],
    [15, 2, ...text('cd'), 255],
    [15, 2, ...text('ef'), 12, 1, ...text('h')],
  );
  assert.deepEqual(optionsOf(given), [
    [52, '\x03'],
    [15, 'abcdef'],
    [12, 'h'],
  ]);
  // An overload inside of an overloaded field has no effect.
  assert.deepEqual(optionsOf(fixed([52, 1, 1, 255], [52, 1, 2, 255], [12, 1, 65, 255])), [[52, '\x01\x02']]);
});

test('options that are longer than their field are refused', () => {
  assert.match(String(optionsOf(fixed([53, 5, 1]))), /option 53 is longer/u);
  assert.match(String(optionsOf(fixed([53]))), /option 53 is longer/u);
  const file = [...Array.from({ length: 126 }, () => 0), 12, 9];
  assert.match(String(optionsOf(fixed([52, 1, 1, 255], file))), /option 12 is longer/u);
  assert.deepEqual(optionsOf(fixed([53, 1, 2])), [[53, '\x02']]);
  assert.match(String(optionsOf(Buffer.alloc(239))), /239 bytes/u);
  assert.match(String(optionsOf(Buffer.alloc(240))), /BOOTP/u);
});

test('search lists are read with their pointers, and endless ones end', () => {
  const name = (...labels: string[]): Buffer =>
    Buffer.concat(labels.map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)])));
  // The example of RFC 3397.
  const list = Buffer.concat([
    name('eng', 'apple', 'com'),
    Buffer.of(0),
    name('marketing'),
    Buffer.of(0xc0, 4),
  ]);
  assert.deepEqual(readSearchList(list), ['eng.apple.com', 'marketing.apple.com']);
  assert.deepEqual(readSearchList(Buffer.of(0xc0, 0)), []);
  assert.deepEqual(readSearchList(Buffer.of(1, 65, 0xc0, 0)), []);
  assert.deepEqual(readSearchList(Buffer.of(0xc0, 2, 0xc0, 0)), []);
  assert.deepEqual(readSearchList(Buffer.concat([name('a'), Buffer.of(0), name('b c'), Buffer.of(0)])), [
    'a',
  ]);
  assert.equal(readDomain(Buffer.from('pods.test\0')), 'pods.test');
  assert.equal(readDomain(Buffer.from('a b')), undefined);
  assert.equal(readDomain(Buffer.from('x\nnameserver 1.2.3.4')), undefined);
});
