import assert from 'node:assert/strict';
import { test } from 'node:test';
import packet from 'dns-packet';
import fc from 'fast-check';
import { encodeFailure, encodeName, encodeReply } from './reply.ts';
import { datagramBytes, extendedError, headerBytes, rcode, type } from './message-format.ts';
import { answersTo, forwarded, isTruncated, relayed } from './forwarded-messages.ts';
import { readQuery, roomOf } from './query.ts';
import type { Reply } from './reply.ts';
import type { Query } from './query.ts';

/** Compares questions and answers with another reader and writer of the same messages (dns-packet). */

const runs = 300 * Number(process.env['FUZZ_TIMES'] ?? 1);
const seed = process.env['FUZZ_SEED'] === undefined ? {} : { seed: Number(process.env['FUZZ_SEED']) };

const edns = (size: number, more: object = {}): packet.OptAnswer => ({
  type: 'OPT',
  name: '.',
  udpPayloadSize: size,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
  ...more,
});

type Decoded = {
  readonly [Field in keyof packet.DecodedPacket]-?: NonNullable<packet.DecodedPacket[Field]>;
} & { readonly rcode: string };
const decoded = (bytes: Buffer): Decoded => packet.decode(bytes) as Decoded;

const encoded = (
  more: Partial<packet.Packet> = {},
  name = 'Web.example',
  asked: packet.RecordType = 'A',
): Buffer =>
  packet.encode({
    type: 'query',
    id: 7,
    flags: packet.RECURSION_DESIRED,
    questions: [{ name, type: asked, class: 'IN' }],
    ...more,
  });

function read(message: Buffer): Query {
  const query = readQuery(message);
  assert.ok(query !== undefined && !('rcode' in query), JSON.stringify(query));
  return query;
}

test('a query is read as another reader reads it', () => {
  const label = fc.string({
    unit: fc.constantFrom('a', 'b', 'c', 'X', 'Y', 'Z', '0', '9', '-', '_'),
    minLength: 1,
    maxLength: 20,
  });
  const names = fc.array(label, { minLength: 1, maxLength: 8 }).map((labels) => labels.join('.'));
  const types = fc.constantFrom<packet.RecordType>('A', 'AAAA', 'PTR', 'MX', 'SRV', 'TXT');
  fc.assert(
    fc.property(
      names,
      types,
      fc.integer({ min: 0, max: 0xffff }),
      fc.option(fc.integer({ min: 1, max: 0xffff })),
      (name, asked, id, size) => {
        const bytes = encoded({ id, ...(size === null ? {} : { additionals: [edns(size)] }) }, name, asked);
        const query = read(bytes);
        assert.equal(query.name, name.toLowerCase());
        assert.deepEqual([query.id, query.class, query.wantsRecursion], [id, 1, true]);
        assert.equal(bytes.subarray(headerBytes, query.questionEnd).length, encodeName(name).length + 4);
        assert.equal(roomOf(query), size === null ? 512 : Math.min(Math.max(size, 512), datagramBytes));
        assert.equal(decoded(forwarded(bytes, query, 99)).id, 99);
      },
    ),
    { numRuns: runs, ...seed },
  );
});

test('a message that is not a query gets an error, or no answer at all', () => {
  const of = (change: (bytes: Buffer) => void): ReturnType<typeof readQuery> => {
    const bytes = encoded();
    change(bytes);
    return readQuery(bytes);
  };
  assert.equal(readQuery(Buffer.alloc(11)), undefined);
  assert.equal(
    of((bytes) => bytes.writeUInt8(0x80, 2)),
    undefined,
    'an answer is never answered',
  );
  assert.deepEqual(
    of((bytes) => bytes.writeUInt8(0x28, 2)),
    { rcode: rcode.NOTIMP },
    'UPDATE',
  );
  for (const [what, change] of [
    ['no question', (bytes: Buffer) => bytes.writeUInt16BE(0, 4)],
    ['two questions', (bytes: Buffer) => bytes.writeUInt16BE(2, 4)],
    ['an answer in a query', (bytes: Buffer) => bytes.writeUInt16BE(1, 6)],
    ['more additional records than there are', (bytes: Buffer) => bytes.writeUInt16BE(1, 10)],
    ['65535 additional records', (bytes: Buffer) => bytes.writeUInt16BE(0xffff, 10)],
    ['a pointer in the question', (bytes: Buffer) => bytes.writeUInt16BE(0xc00c, 12)],
    ['a label of 64 bytes', (bytes: Buffer) => bytes.writeUInt8(64, 12)],
    ['a label that exceeds the message', (bytes: Buffer) => bytes.writeUInt8(63, 12)],
  ] as const)
    assert.deepEqual(of(change), { rcode: rcode.FORMERR }, what);
  assert.deepEqual(
    readQuery(encoded({ additionals: [edns(512), edns(512)] })),
    { rcode: rcode.FORMERR },
    'two OPT records',
  );
  assert.deepEqual(
    readQuery(encoded({}, Array.from({ length: 5 }, () => 'x'.repeat(60)).join('.'))),
    { rcode: rcode.FORMERR },
    'too long',
  );
  assert.equal(encodeFailure(encoded(), rcode.FORMERR).length, headerBytes);
  assert.equal(decoded(encodeFailure(encoded(), rcode.FORMERR)).id, 7);
});

test('any message is read without an exception and within its bounds', () => {
  const valid = encoded({ additionals: [edns(1232)] });
  const damaged = fc.tuple(
    fc.integer({ min: 0, max: valid.length }),
    fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 6 }),
  );
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 600 }), damaged), (given) => {
      let bytes: Buffer;
      if (given instanceof Uint8Array) bytes = Buffer.from(given);
      else {
        const [length, changes] = given;
        bytes = Buffer.from(valid.subarray(0, length));
        for (const [at, value] of changes) if (at < length) bytes[at] = value;
      }
      const query = readQuery(bytes);
      if (query === undefined) return;
      if ('rcode' in query) return void assert.equal(encodeFailure(bytes, query.rcode).length, headerBytes);
      assert.ok(query.questionEnd <= bytes.length);
      const reply = encodeReply(
        bytes,
        query,
        { rcode: rcode.NXDOMAIN, answers: [], ttl: 5, authoritative: true, zoneLabels: 1 },
        512,
      );
      const back = decoded(reply);
      assert.equal(back.id, query.id);
      assert.equal(back.questions.length, 1);
      assert.ok(answersTo(reply, bytes, query));
    }),
    { numRuns: runs * 10, ...seed },
  );
});

test('a name without a text form matches nothing, and a question keeps its case', () => {
  const dotted = Buffer.concat([
    encoded().subarray(0, headerBytes),
    Buffer.from([3, 0x61, 0x2e, 0x62, 0, 0, 1, 0, 1]),
  ]);
  assert.equal(read(dotted).name, undefined);
  const root = Buffer.concat([encoded().subarray(0, headerBytes), Buffer.from([0, 0, 2, 0, 1])]);
  assert.equal(read(root).name, '');
  const bytes = encoded({}, 'wEb.ExAmPlE');
  const answer: Reply = {
    rcode: 0,
    answers: [{ type: type.A, data: Buffer.of(10, 0, 0, 1) }],
    ttl: 5,
    authoritative: true,
  };
  const reply = encodeReply(bytes, read(bytes), answer, 512);
  assert.deepEqual(decoded(reply).questions[0]?.name, 'wEb.ExAmPlE');
});

test('a reply repeats the DNSSEC bit of its query', () => {
  for (const dnssec of [true, false]) {
    const bytes = encoded({
      additionals: [edns(1232, { flags: dnssec ? packet.DNSSEC_OK : 0, flag_do: dnssec })],
    });
    const reply = encodeReply(
      bytes,
      read(bytes),
      { rcode: 0, answers: [], ttl: 5, authoritative: true },
      512,
    );
    const [opt] = decoded(reply).additionals;
    assert.ok(opt?.type === 'OPT');
    assert.equal(opt.flag_do, dnssec);
  }
});

test('a denial at the end of aliases fits into the datagram, or is marked as truncated', () => {
  const bytes = encoded();
  for (let length = 1; length <= 245; length += 1) {
    const name = 'a'.repeat(length).replaceAll(/a{63}(?=a)/gu, '$&.');
    const alias = { type: type.CNAME, data: encodeName(name) };
    const reply: Reply = { rcode: 3, answers: [alias, alias], ttl: 5, authoritative: true, zoneLabels: 1 };
    const answer = encodeReply(bytes, read(bytes), reply, 512);
    assert.ok(answer.length <= 512, `${answer.length} bytes`);
    const { flag_tc: truncated, authorities } = decoded(answer);
    assert.equal(authorities.length, truncated ? 0 : 1);
  }
});

test('answers are read the same by another reader', () => {
  const bytes = encoded({ additionals: [edns(4096)] });
  const query = read(bytes);
  const answers = [
    { type: type.A, data: Buffer.of(10, 0, 0, 1) },
    { type: type.AAAA, data: Buffer.from('fd000000000000000000000000000001', 'hex') },
    { type: type.PTR, data: encodeName('web.front.example') },
  ];
  const back = decoded(encodeReply(bytes, query, { rcode: 0, answers, ttl: 9, authoritative: true }, 1232));
  assert.deepEqual(
    back.answers.map((answer) => [
      answer.type,
      answer.name,
      'ttl' in answer ? answer.ttl : 0,
      'data' in answer ? answer.data : undefined,
    ]),
    [
      ['A', 'Web.example', 9, '10.0.0.1'],
      ['AAAA', 'Web.example', 9, 'fd00::1'],
      ['PTR', 'Web.example', 9, 'web.front.example'],
    ],
  );
  assert.ok(back.flag_aa && back.flag_ra && back.flag_rd && !back.flag_tc);
  assert.equal(back.additionals?.[0]?.type, 'OPT');

  const denial = decoded(
    encodeReply(
      bytes,
      query,
      { rcode: rcode.NXDOMAIN, answers: [], ttl: 5, authoritative: true, zoneLabels: 1 },
      512,
    ),
  );
  assert.equal(denial.rcode, 'NXDOMAIN');
  const [soa] = denial.authorities ?? [];
  assert.ok(soa?.type === 'SOA');
  assert.deepEqual([soa.name, soa.data.minimum, soa.data.mname], ['example', 5, 'example']);

  const failure = encodeReply(
    bytes,
    query,
    {
      rcode: rcode.SERVFAIL,
      answers: [],
      ttl: 0,
      authoritative: false,
      extendedError: extendedError.noReachableAuthority,
    },
    512,
  );
  assert.deepEqual([...failure.subarray(-6)], [0, 15, 0, 2, 0, 22]);
  const version = encodeReply(
    bytes,
    query,
    { rcode: rcode.BADVERS, answers: [], ttl: 0, authoritative: false },
    512,
  );
  const opt = decoded(version).additionals?.[0];
  assert.ok(opt?.type === 'OPT' && opt.extendedRcode === 1 && decoded(version).rcode === 'NOERROR');
});

test('records without room are left out, and the message is marked as truncated', () => {
  const bytes = encoded();
  const query = read(bytes);
  const answers = Array.from({ length: 60 }, (_, index) => ({
    type: type.A,
    data: Buffer.of(10, 0, 0, index),
  }));
  const cut = encodeReply(bytes, query, { rcode: 0, answers, ttl: 5, authoritative: true }, roomOf(query));
  const back = decoded(cut);
  assert.ok(cut.length <= 512 && isTruncated(cut) && back.flag_tc);
  assert.equal(back.answers.length, Math.floor((512 - query.questionEnd) / 16));
  const whole = encodeReply(bytes, query, { rcode: 0, answers, ttl: 5, authoritative: true }, 0xffff);
  assert.ok(decoded(whole).answers.length === 60 && !isTruncated(whole));
});

test("another server's answer gets the client's id and case, and fits the client's limit", () => {
  const bytes = encoded({ id: 4711 }, 'wEb.example');
  const query = read(bytes);
  const answer = (count: number, name = 'web.EXAMPLE'): Buffer =>
    packet.encode({
      type: 'response',
      id: 1,
      questions: [{ name, type: 'A', class: 'IN' }],
      answers: Array.from({ length: count }, (_, index) => ({
        name,
        type: 'A',
        data: `192.0.2.${index}`,
        ttl: 60,
      })),
    });
  assert.ok(answersTo(answer(1), bytes, query));
  assert.ok(!answersTo(answer(1, 'wep.example'), bytes, query), 'another name');
  assert.ok(!answersTo(bytes, bytes, query), 'a query is not an answer');
  assert.ok(!answersTo(answer(1).subarray(0, 20), bytes, query), 'cut short');
  const back = decoded(relayed(answer(2), bytes, query, 512));
  assert.deepEqual(
    [back.id, back.questions[0]?.name, back.answers.length, back.flag_tc],
    [4711, 'wEb.example', 2, false],
  );
  const long = relayed(answer(100), bytes, query, 512);
  assert.ok(long.length <= 512 && decoded(long).flag_tc && decoded(long).answers.length === 0);
});

test('the failure of another server that came without its question is passed on with it', () => {
  const bytes = encoded({ id: 4711 }, 'wEb.example');
  const query = read(bytes);
  const failed = packet.encode({ type: 'response', id: 1, flags: rcode.SERVFAIL });
  assert.ok(answersTo(failed, bytes, query));
  const back = decoded(relayed(failed, bytes, query, 512));
  const names = back.questions.map(({ name }) => name);
  assert.deepEqual([back.id, names, back.rcode], [4711, ['wEb.example'], 'SERVFAIL']);
});
