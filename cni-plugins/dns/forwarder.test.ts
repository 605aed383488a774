import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import packet from 'dns-packet';
import { parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import { queryFor } from './answer-records.ts';
import { createForwarder } from './forwarder.ts';
import type { ForwardLimits, ForwardOutcome, ForwardedQuestion, Forwarder } from './forwarder.ts';
import type { HostNamespace } from './host-namespace.ts';
import { readQuery } from './query.ts';
import { framed, readFrames } from './stream-frames.ts';

/** Uses real sockets: name servers on loopback addresses with one port, which answer as the test says. */

const ends: (() => unknown)[] = [];
after(() => ends.forEach((end) => end()));

type Answering = (
  query: packet.DecodedPacket,
  name: string,
  reply: (message: Buffer, times?: number) => void,
) => void;

const answerOf = (query: packet.DecodedPacket, data: string, more: Partial<packet.Packet> = {}): Buffer =>
  packet.encode({
    type: 'response',
    id: query.id ?? 0,
    flags: packet.RECURSION_AVAILABLE,
    questions: query.questions ?? [],
    answers: [{ type: 'A', name: query.questions?.[0]?.name ?? '', data, ttl: 60 }],
    ...more,
  });

/** Opens a server at 127.0.0.`host`. The first one chooses the port for all. */
async function server(
  host: number,
  port: number,
  answering: Answering,
): Promise<{ port: number; asked: string[]; ports: Set<number> }> {
  const socket = createSocket('udp4');
  const seen = { port, asked: [] as string[], ports: new Set<number>() };
  socket.on('message', (message, from) => {
    const query = packet.decode(message);
    const name = query.questions?.[0]?.name ?? '';
    // Servers that are silent are also asked for the servers of the root.
    if (name !== '.') seen.asked.push(name);
    seen.ports.add(from.port);
    answering(query, name, (answer) => socket.send(answer, from.port, from.address));
  });
  await new Promise<void>((resolve) => socket.bind(port, `127.0.0.${host}`, resolve));
  ends.push(() => socket.close());
  seen.port = socket.address().port;
  return seen;
}

const address = (host: number): IpAddress => parseIp(`127.0.0.${host}`) ?? { family: 4, value: 0n };

function question(
  name: string,
  servers: readonly number[],
  more: Partial<ForwardedQuestion> = {},
  id = 1,
): ForwardedQuestion {
  const query = packet.encode({
    type: 'query',
    id,
    flags: packet.RECURSION_DESIRED,
    questions: [{ name, type: 'A', class: 'IN' }],
  });
  const asked = readQuery(query);
  assert.ok(asked !== undefined && !('rcode' in asked));
  return { query, asked, asker: '10.0.0.2', byStream: false, servers: servers.map(address), ...more };
}

const outcomes: ForwardOutcome[] = [];
function open(
  limits: Partial<ForwardLimits> & { port: number },
  inside: HostNamespace['inside'] = (body) => body(),
): Forwarder {
  const place = { namespaceId: 'test', inside };
  const forwarder = createForwarder(place, { most: 100, mostOfAsker: 50, ...limits }, (outcome) =>
    outcomes.push(outcome),
  );
  ends.push(() => forwarder.close());
  return forwarder;
}

const ask = (forwarder: Forwarder, asked: ForwardedQuestion): Promise<packet.DecodedPacket | undefined> =>
  new Promise((resolve) =>
    forwarder.ask(asked, (answer) => resolve(answer === undefined ? undefined : packet.decode(answer))),
  );

const first = (answer: packet.DecodedPacket | undefined): string | undefined => {
  const [found] = answer?.answers ?? [];
  return found?.type === 'A' ? found.data : undefined;
};

const well = await server(10, 0, (query, _name, reply) => reply(answerOf(query, '192.0.2.10')));
const { port } = well;
/** A server that never answers. */
const silent = await server(11, port, () => undefined);
const refusing = await server(12, port, (query, _name, reply) =>
  reply(packet.encode({ ...query, type: 'response', flags: 5 })),
);
const forging = await server(13, port, (query, name, reply) => {
  reply(answerOf({ ...query, id: (query.id ?? 0) ^ 1 }, '192.0.2.66'));
  reply(answerOf({ ...query, questions: [{ name: `not-${name}`, type: 'A', class: 'IN' }] }, '192.0.2.66'));
  reply(packet.encode({ ...query, type: 'query' }));
  reply(Buffer.alloc(5));
  reply(answerOf(query, '192.0.2.13'));
});

test('the first server that has an answer is used', async () => {
  const forwarder = open({ port });
  assert.equal(first(await ask(forwarder, question('a.example', [10]))), '192.0.2.10');
  // No server listens at .14, and the kernel reports that at once.
  assert.equal(first(await ask(forwarder, question('b.example', [14, 10]))), '192.0.2.10');
  assert.equal(first(await ask(forwarder, question('c.example', [12, 10]))), '192.0.2.10');
  assert.equal(first(await ask(forwarder, question('d.example', [11, 10]))), '192.0.2.10');
  assert.deepEqual([silent.asked.at(-1), refusing.asked.at(-1)], ['d.example', 'c.example']);
});

test('a refusal is passed on if all servers refuse; forged and mismatched answers are ignored', async () => {
  const forwarder = open({ port });
  assert.equal(
    ((await ask(forwarder, question('e.example', [12, 14]))) as { readonly rcode?: string } | undefined)
      ?.rcode,
    'REFUSED',
  );
  assert.equal(first(await ask(forwarder, question('f.example', [13]))), '192.0.2.13');
  assert.ok(forging.asked.includes('f.example'));
  assert.equal(await ask(forwarder, question('g.example', [14])), undefined);
  assert.equal(await ask(forwarder, question('h.example', [])), undefined);
});

test('if every server is down, all clients get a failure in time, and sooner once this is known', async () => {
  const forwarder = open({ port });
  const began = performance.now();
  const first = [...Array(3).keys()].map((index) => ask(forwarder, question(`dead-${index}.example`, [11])));
  assert.deepEqual(await Promise.all(first), [undefined, undefined, undefined]);
  const patient = performance.now() - began;
  assert.equal(await ask(forwarder, question('dead.example', [11])), undefined);
  const hasty = performance.now() - began - patient;
  assert.ok(hasty < patient, `${hasty} ms after ${patient} ms`);
});

test('a silent server is asked last while another server answers, until it answers again', async () => {
  let isSilent = true;
  const lost = await server(17, port, (query, _name, reply) => {
    if (!isSilent) reply(answerOf(query, '192.0.2.17'));
  });
  const forwarder = open({ port });
  const askUntil = async (
    name: string,
    holds: (answeredBy: string | undefined) => boolean,
  ): Promise<void> => {
    for (let round = 0; ; round += 1) {
      assert.ok(round < 60, name);
      const answeredBy = first(await ask(forwarder, question(`${name}${round}.example`, [17, 10])));
      if (holds(answeredBy)) return;
      await delay(50);
    }
  };
  await askUntil('lost', (answeredBy) => {
    assert.equal(answeredBy, '192.0.2.10');
    return lost.asked.length >= 3 && lost.asked.at(-1) !== well.asked.at(-1);
  });
  isSilent = false;
  await askUntil('back', (answeredBy) => answeredBy === '192.0.2.17');
});

test('clients with the same question share it; questions in progress are limited in total and for each client', async () => {
  const forwarder = open({ port, most: 6, mostOfAsker: 4 });
  const before = silent.asked.length;
  const same = [1, 2].map((id) => ask(forwarder, question('Same.example', [11], {}, id)));
  const loop = ask(forwarder, question('sAME.example', [11], {}, 3));
  const fourth = ask(forwarder, question('other.example', [11]));
  outcomes.length = 0;
  assert.equal(
    await ask(forwarder, question('more.example', [10])),
    undefined,
    'a fifth question of one client',
  );
  const others = [1, 2].map((index) =>
    ask(forwarder, question(`x${index}.example`, [11], { asker: '10.0.0.3' })),
  );
  assert.equal(
    first(await ask(forwarder, question('y.example', [10], { asker: '10.0.0.4' }))),
    '192.0.2.10',
    'a seventh question in total takes the place of one of the client with four',
  );
  assert.deepEqual(outcomes, ['limited', 'limited', 'answered']);
  assert.equal(await same[0], undefined);
  await delay(50);
  assert.equal(silent.asked.slice(before).filter((name) => name.toLowerCase() === 'same.example').length, 1);
  forwarder.close();
  assert.deepEqual(
    await Promise.all([...same, loop, fourth, ...others]),
    Array.from({ length: 6 }, () => undefined),
  );
});

test('questions for two types whose numbers are a letter in both cases do not share an answer', async () => {
  const asked: number[] = [];
  const typed = createSocket('udp4');
  typed.on('message', (message, from) => {
    const read = readQuery(message);
    assert.ok(read !== undefined && !('rcode' in read));
    if (read.name === '') return;
    asked.push(read.type);
    const answer = Buffer.from(message);
    // NXDOMAIN for all types but HTTPS.
    answer.writeUInt16BE(read.type === 65 ? 0x8180 : 0x8183, 2);
    typed.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => typed.bind(port, '127.0.0.20', resolve));
  ends.push(() => typed.close());
  const forwarder = open({ port });
  const askFor = async (type: number): Promise<number> => {
    const query = queryFor('shared.example', type);
    const read = readQuery(query);
    assert.ok(read !== undefined && !('rcode' in read));
    const answer = await new Promise<Buffer | undefined>((resolve) =>
      forwarder.ask({ ...question('shared.example', [20]), query, asked: read }, resolve),
    );
    return (answer?.readUInt16BE(2) ?? -1) & 0xf;
  };
  assert.deepEqual(await Promise.all([askFor(97), askFor(65)]), [3, 0]);
  assert.deepEqual(asked.toSorted(), [65, 97]);
});

test('questions are sent from several ports, which change', async () => {
  const forwarder = open({ port });
  well.ports.clear();
  for (let round = 0; round < 60; round += 1)
    await Promise.all(
      [...Array(40).keys()].map((index) => ask(forwarder, question(`p${round}-${index}.example`, [10]))),
    );
  assert.ok(well.ports.size >= 5, `${well.ports.size} ports`);
  forwarder.rest();
});

test('a long answer arrives complete over TCP', async () => {
  const stream = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on(
      'data',
      readFrames((message) => {
        const query = packet.decode(message);
        const answers = Array.from({ length: 1000 }, (_, index) => ({
          type: 'A' as const,
          name: 'long.example',
          data: `192.0.${index >> 8}.${index & 255}`,
          ttl: 60,
        }));
        const bytes = framed(answerOf(query, '', { answers }));
        socket.write(bytes.subarray(0, 100));
        setImmediate(() => socket.write(bytes.subarray(100)));
      }),
    );
  });
  await new Promise<void>((resolve) => stream.listen(0, '127.0.0.10', resolve));
  ends.push(() => stream.close());
  const forwarder = open({ port: (stream.address() as AddressInfo).port });
  const answer = await ask(forwarder, question('long.example', [10], { byStream: true }));
  assert.equal(answer?.answers?.length, 1000);
  assert.equal(await ask(forwarder, question('none.example', [14], { byStream: true })), undefined);
});

test('a server that sends another message over TCP than the answer is not read further', async () => {
  const streamAt = async (host: number, at: number, before: readonly Buffer[]): Promise<number> => {
    const stream = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on(
        'data',
        readFrames((message) => {
          const answer = answerOf(packet.decode(message), `192.0.2.${host}`);
          socket.write(Buffer.concat([...before, answer].map(framed)));
        }),
      );
    });
    await new Promise<void>((resolve) => stream.listen(at, `127.0.0.${host}`, resolve));
    ends.push(() => stream.close());
    return (stream.address() as AddressInfo).port;
  };
  const at = await streamAt(10, 0, []);
  await streamAt(18, at, [Buffer.alloc(0)]);
  await streamAt(19, at, [
    answerOf({ id: 1, questions: [] } as unknown as packet.DecodedPacket, '192.0.2.66'),
  ]);
  const forwarder = open({ port: at });
  for (const hostile of [18, 19])
    assert.equal(
      first(await ask(forwarder, question('x.example', [hostile, 10], { byStream: true }))),
      '192.0.2.10',
    );
});

test('TCP queries of one client leave connections for other clients', async () => {
  const waiting = new Set<() => unknown>();
  const stream = createServer((socket) => {
    waiting.add(() => socket.destroy());
    socket.on('error', () => undefined);
    socket.on(
      'data',
      readFrames((message) => {
        const query = packet.decode(message);
        if (query.questions?.[0]?.name !== 'short.example') return;
        socket.write(framed(answerOf(query, '192.0.2.10')));
      }),
    );
  });
  await new Promise<void>((resolve) => stream.listen(0, '127.0.0.10', resolve));
  ends.push(() => stream.close());
  const forwarder = open({ port: (stream.address() as AddressInfo).port, most: 1000, mostOfAsker: 250 });
  const held = [...Array(250).keys()].map((index) =>
    ask(forwarder, question(`held${index}.example`, [10], { byStream: true })),
  );
  const other = { asker: '10.0.0.3', byStream: true };
  assert.equal(first(await ask(forwarder, question('short.example', [10], other))), '192.0.2.10');
  forwarder.close();
  for (const end of waiting) end();
  await Promise.all(held);
});

test('a server that does not answer some names, or has no TCP, is still asked before the others', async () => {
  const some = await server(15, port, (query, name, reply) => {
    if (!name.startsWith('slow')) reply(answerOf(query, '192.0.2.15'));
  });
  const overTcp = open({ port });
  for (const name of ['a', 'b', 'c'])
    assert.equal(await ask(overTcp, question(`${name}.tcp.example`, [15], { byStream: true })), undefined);
  assert.equal(first(await ask(overTcp, question('inside.example', [15, 10]))), '192.0.2.15');

  const forwarder = open({ port });
  // Whoever serves the names lets the second server fail at once, and the first one wait.
  const slow = [1, 2, 3].map((index) => ask(forwarder, question(`slow${index}.example`, [15, 12])));
  await Promise.all(slow);
  assert.equal(first(await ask(forwarder, question('inside.example', [15, 10]))), '192.0.2.15');
  assert.ok(some.asked.length > 0);
});

test('a server is not considered down while this process has no descriptors', async () => {
  let opened = 0;
  let left = 0;
  const forwarder = open({ port }, (body) => {
    if (left === 0) throw Object.assign(new Error('EMFILE'), { code: 'EMFILE' });
    left -= 1;
    opened += 1;
    return body();
  });
  for (const name of ['a', 'b', 'c'])
    assert.equal(await ask(forwarder, question(`${name}.full.example`, [10, 14])), undefined);
  left = 1;
  // A server that failed three times would be asked after the other one.
  assert.equal(first(await ask(forwarder, question('d.full.example', [10, 15]))), '192.0.2.10');
  assert.equal(first(await ask(forwarder, question('e.full.example', [10, 15]))), '192.0.2.10');
  assert.equal(opened, 1, 'the open socket serves further questions');
});
