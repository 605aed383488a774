import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zoneOf } from '../spec/domain.ts';
import { decide, reverseAddress } from './decide.ts';
import type { Decision, Endpoint, SeenNetwork } from './decide.ts';
import { rcode, type } from './message-format.ts';
import type { Query } from './query.ts';

const v4 = (last: number): Uint8Array => Uint8Array.of(10, 0, 0, last);
const v6 = (last: number): Uint8Array =>
  Buffer.from(`fd0000000000000000000000000000${last.toString(16).padStart(2, '0')}`, 'hex');

function network(name: string, names: Readonly<Record<string, readonly Endpoint[]>>): SeenNetwork {
  return {
    name,
    holds: (address) => address[0] === 10,
    endpoints: (host) => names[host] ?? [],
    nameOf: (address) =>
      Object.entries(names).find(([, endpoints]) =>
        endpoints.some((each) => Buffer.from(each.address).equals(address)),
      )?.[0],
  };
}

const container = (...addresses: Uint8Array[]): Endpoint[] =>
  addresses.map((address) => ({ address, kind: 'container' }));
const front = network('Front', {
  web: container(v4(2), v6(2)),
  old: container(v4(3)),
  pool: container(v4(10), v4(11), v4(12)),
  shop: [...container(v4(4)), { address: v4(100), kind: 'service' }],
  'db.pay': container(v4(5)),
});
const back = network('back', { db: container(v4(20)), web: container(v4(21)) });

const settings = { ttl: 5 };
const query = (name: string | undefined, asked: number, more: Partial<Query> = {}): Query => ({
  id: 1,
  flags: 0x100,
  name,
  type: asked,
  class: 1,
  wantsRecursion: true,
  questionEnd: 20,
  ...more,
});
/** The result as text: the code, or the addresses. */
function said(decision: Decision): string {
  if (decision === 'forward') return decision;
  if ('unlessElsewhere' in decision) return `unless elsewhere ${said(decision.unlessElsewhere)}`;
  if (decision.rcode !== 0) return `rcode ${decision.rcode}`;
  return decision.answers
    .map(({ data }) =>
      data.length === 4
        ? data.join('.')
        : data.length === 16
          ? Buffer.from(data).toString('hex')
          : Buffer.from(data).toString('latin1'),
    )
    .toSorted()
    .join(' ');
}
const ask = (name: string, asked: number = type.A, networks = [front, back]): string =>
  said(decide(query(name, asked), networks, settings));

test('names of the networks of the client are answered', () => {
  for (const [name, asked, answer] of [
    ['web', type.A, '10.0.0.2'],
    ['web', type.AAAA, 'fd000000000000000000000000000002'],
    // The name is known but has no such address: an empty answer at once, and no other server is asked.
    ['old', type.AAAA, ''],
    ['web', 15, ''],
    ['web', 65, ''],
    ['pool', type.A, '10.0.0.10 10.0.0.11 10.0.0.12'],
    ['shop', type.A, '10.0.0.100'],
    ['db.pay', type.A, '10.0.0.5'],
    // The second network answers if the first has no such name.
    ['db', type.A, '10.0.0.20'],
    ['web.back', type.A, '10.0.0.21'],
    ['web.front', type.A, '10.0.0.2'],
    ['web.front.portcullis.internal', type.A, '10.0.0.2'],
    ['db.front.portcullis.internal', type.A, `rcode ${rcode.NXDOMAIN}`],
    ['db.other.portcullis.internal', type.A, `rcode ${rcode.NXDOMAIN}`],
    ['front.portcullis.internal', type.A, ''],
    ['portcullis.internal', 2, ''],
    ['notportcullis.internal', type.A, 'forward'],
    ['nobody', type.A, 'forward'],
    ['nobody.front', type.A, 'forward'],
    ['', 2, 'forward'],
    // RFC 8482: one of the existing record types.
    ['web', type.ANY, '10.0.0.2'],
  ] as const)
    assert.equal(ask(name, asked), answer, `${name} ${asked}`);
  assert.equal(ask('db', type.A, [front]), 'forward', 'another network’s name');
  assert.equal(said(decide(query(undefined, type.A), [front], settings)), 'forward');
});

test('a bare name of another namespace is answered if no other name server has it; localhost is never answered', () => {
  const others = (...addresses: Uint8Array[]): Endpoint[] =>
    container(...addresses).map((endpoint) => ({ ...endpoint, ofOthers: true }));
  const theirs = network('front', {
    node1: others(v4(30)),
    localhost: container(v4(31)),
    'a.localhost': container(v4(32)),
  });
  assert.equal(ask('node1', type.A, [theirs]), 'unless elsewhere 10.0.0.30');
  assert.equal(ask('node1', type.AAAA, [theirs]), 'unless elsewhere ');
  assert.equal(
    ask('node1', type.A, [theirs, network('back', { node1: container(v4(40)) })]),
    '10.0.0.40',
    'the name of its own namespace takes precedence',
  );
  assert.equal(
    said(decide(query('node1', type.A, { wantsRecursion: false }), [theirs], settings)),
    '10.0.0.30',
  );
  assert.equal(
    ask('node1.front.portcullis.internal', type.A, [theirs]),
    '10.0.0.30',
    'the full name belongs to the network',
  );
  for (const name of ['localhost', 'a.localhost']) assert.equal(ask(name, type.A, [theirs]), 'forward', name);
});

test('reverse names are answered', () => {
  assert.equal(
    ask('2.0.0.10.in-addr.arpa', type.PTR),
    '\u0003web\u0005front\u000aportcullis\u0008internal\u0000',
  );
  assert.equal(ask('99.0.0.10.in-addr.arpa', type.PTR), `rcode ${rcode.NXDOMAIN}`, 'in the network, unused');
  assert.equal(ask('8.8.8.8.in-addr.arpa', type.PTR), 'forward');
  assert.equal(ask('2.0.0.10.in-addr.arpa', type.A), '');
  assert.deepEqual(reverseAddress(`${'1.'.repeat(32)}ip6.arpa`), Buffer.alloc(16, 0x11));
  assert.equal(reverseAddress('256.0.0.10.in-addr.arpa'), undefined);
  assert.equal(reverseAddress('0.10.in-addr.arpa'), undefined);
});

test('a question that is not for a name server is refused, with the reason if the client supports it', () => {
  const bare = (more: Partial<Query>): string => said(decide(query('web', type.A, more), [front], settings));
  assert.equal(bare({ class: 3 }), `rcode ${rcode.REFUSED}`);
  assert.equal(bare({ type: 252 }), `rcode ${rcode.REFUSED}`);
  assert.equal(
    bare({ edns: { datagramBytes: 512, version: 1, dnssec: false, at: 20 } }),
    `rcode ${rcode.BADVERS}`,
  );
  assert.equal(bare({ name: 'nobody', wantsRecursion: false }), `rcode ${rcode.REFUSED}`);
  assert.equal(bare({ wantsRecursion: false }), '10.0.0.2');
});

test('several addresses are returned in a random order', () => {
  const first = new Set<string>();
  for (let count = 0; count < 200; count += 1) {
    const decision = decide(query('pool', type.A), [front], settings);
    assert.ok(decision !== 'forward' && 'answers' in decision);
    first.add(decision.answers[0]?.data.join('.') ?? '');
  }
  assert.equal(first.size, 3);
});

test('a denial below the domain may be cached, a denial of a short name may not', () => {
  const denial = decide(query('nobody.front.portcullis.internal', type.A), [front], settings);
  assert.ok(denial !== 'forward' && 'answers' in denial && denial.zoneLabels === 2);
  const nothing = decide(query('old.front.portcullis.internal', type.AAAA), [front], settings);
  assert.ok(nothing !== 'forward' && 'answers' in nothing && nothing.zoneLabels === 3);
  const short = decide(query('old', type.AAAA), [front], settings);
  assert.ok(short !== 'forward' && 'answers' in short && short.zoneLabels === undefined);
});

test('a name without a text form below the zone of networks is denied and never forwarded', () => {
  const reply = (end: string): Decision => decide(query(undefined, type.A, { end }), [front], settings);
  assert.equal((reply(zoneOf('front')) as { rcode: number }).rcode, rcode.NXDOMAIN);
  assert.equal(reply('example.com'), 'forward');
});
