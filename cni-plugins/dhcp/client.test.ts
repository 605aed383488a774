import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endOf, receive, release, resumeClient, startClient, tick } from './client.ts';
import type { ClientState, HeldLease, Step } from './client.ts';
import { ipv4Number } from './ipv4.ts';
import type { DhcpMessage } from './message.ts';
import { messageTypes, optionCodes as codes } from './option-codes.ts';
import { clientIdOf, typeOf } from './requests.ts';
import type { Identity } from './requests.ts';

const identity: Identity = {
  mac: Buffer.from('020000000001', 'hex'),
  clientId: clientIdOf('pod', 'net', 'eth0'),
  requested: [1, 3],
  provided: new Map([[12, Buffer.from('web')]]),
};
const mac = '02:00:00:00:00:fe';
const be32 = (text: string | number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(typeof text === 'number' ? text : ipv4Number(text));
  return bytes;
};
const at = (seconds: number): { now: number; random: number } => ({ now: seconds * 1000, random: 0.5 });

interface Answer {
  readonly type: number;
  readonly address?: string;
  readonly server?: string;
  readonly seconds?: number;
  readonly xid?: number;
  readonly hardware?: Buffer;
  readonly op?: number;
}

function answer(state: ClientState, given: Answer): DhcpMessage {
  const { type, address = '10.0.0.9', server = '10.0.0.1', seconds = 120, op = 2 } = given;
  const xid = given.xid ?? ('xid' in state ? state.xid : 0);
  return {
    op,
    xid,
    secs: 0,
    broadcast: true,
    clientAddress: 0,
    yourAddress: ipv4Number(address),
    hardware: given.hardware ?? identity.mac,
    options: new Map([
      [codes.messageType, Buffer.of(type)],
      [codes.server, be32(server)],
      [codes.subnetMask, be32('255.255.255.0')],
      [codes.leaseTime, be32(seconds)],
    ]),
  };
}
const deliver = (state: ClientState, given: Answer, seconds: number): Step =>
  receive(state, identity, { message: answer(state, given), from: mac }, at(seconds));
const { offer, ack, nak } = messageTypes;

const sentType = ({ send }: Step): number => (send[0] === undefined ? 0 : typeOf(send[0].message));

function bound(): { state: ClientState; lease: HeldLease } {
  const started = startClient(identity, at(0));
  const requested = deliver(started.state, { type: offer }, 0);
  const { state } = deliver(requested.state, { type: ack }, 0);
  assert.ok(state.phase === 'bound');
  return { state, lease: state.lease };
}

test('discover, offer, request, acknowledgement', () => {
  const started = startClient(identity, at(0));
  assert.equal(sentType(started), messageTypes.discover);
  assert.deepEqual(
    started.send.map(({ from, to, message }) => [from, to, message.broadcast, message.clientAddress]),
    [[0, undefined, true, 0]],
  );
  const requested = deliver(started.state, { type: offer }, 1);
  assert.equal(sentType(requested), messageTypes.request);
  const options = requested.send[0]?.message.options;
  assert.deepEqual(options?.get(codes.requestedAddress), be32('10.0.0.9'));
  assert.deepEqual(options?.get(codes.server), be32('10.0.0.1'));
  assert.deepEqual(options?.get(codes.clientId)?.toString('latin1'), '\0pod/net/eth0');
  assert.deepEqual(options?.get(12)?.toString(), 'web');
  const done = deliver(requested.state, { type: ack }, 2);
  assert.equal(done.outcome, 'acquired');
  assert.ok(done.state.phase === 'bound');
  assert.deepEqual([done.state.nextAt, endOf(done.state.lease)], [62_000, 122_000]);
  assert.equal(done.state.lease.serverMac, mac);
});

test('requests are repeated with growing pauses, and an offer that is not confirmed is given up', () => {
  let step = startClient(identity, at(0));
  const pauses: number[] = [];
  let now = 0;
  for (let count = 0; count < 9; count += 1) {
    pauses.push((step.state.nextAt - now) / 1000);
    now = step.state.nextAt;
    step = tick(step.state, identity, { now, random: 0.5 });
    assert.equal(sentType(step), messageTypes.discover);
  }
  assert.deepEqual(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
  let requested = deliver(step.state, { type: offer }, now / 1000);
  for (let count = 0; count < 3; count += 1) {
    requested = tick(requested.state, identity, { now: requested.state.nextAt, random: 0.5 });
    assert.equal(sentType(requested), messageTypes.request);
  }
  const again = tick(requested.state, identity, { now: requested.state.nextAt, random: 0.5 });
  assert.equal(again.state.phase, 'selecting');
  assert.match(again.notes[0] ?? '', /did not confirm/u);
});

test('messages of others and for others change nothing', () => {
  const started = startClient(identity, at(0));
  for (const wrong of [
    { type: offer, xid: 77 },
    { type: offer, hardware: Buffer.alloc(6, 9) },
    { type: offer, op: 1 },
    { type: ack },
    { type: nak },
    { type: 0 },
  ])
    assert.equal(deliver(started.state, wrong, 1).state, started.state);
  assert.match(deliver(started.state, { type: offer, address: '127.0.0.1' }, 1).notes[0] ?? '', /refused/u);
  const { state } = deliver(started.state, { type: offer }, 1);
  for (const wrong of [
    { type: ack, server: '10.0.0.2' },
    { type: ack, address: '10.0.0.10' },
    { type: nak, server: '10.0.0.2' },
    { type: offer, address: '10.0.0.10' },
  ])
    assert.equal(deliver(state, wrong, 1).state, state);
});

test('a lease is renewed by unicast, then rebound by broadcast, then lost', () => {
  const { state } = bound();
  assert.equal(tick(state, identity, at(59)).state, state);
  const renewing = tick(state, identity, at(60));
  assert.equal(renewing.state.phase, 'renewing');
  const [sent] = renewing.send;
  assert.deepEqual(
    [sent?.from, sent?.to],
    [ipv4Number('10.0.0.9'), { address: ipv4Number('10.0.0.1'), mac }],
  );
  assert.equal(sent?.message.clientAddress, ipv4Number('10.0.0.9'));
  for (const absent of [codes.requestedAddress, codes.server]) assert.ok(!sent?.message.options.has(absent));
  assert.equal(renewing.state.nextAt, 82_500);
  const again = tick(renewing.state, identity, at(83));
  const xidOf = (given: ClientState): number | undefined => ('xid' in given ? given.xid : undefined);
  assert.equal(xidOf(again.state), xidOf(renewing.state));
  const rebinding = tick(again.state, identity, at(106));
  assert.equal(rebinding.state.phase, 'rebinding');
  assert.equal(rebinding.send[0]?.to, undefined);
  const lost = tick(rebinding.state, identity, at(120));
  assert.equal(lost.outcome, 'lost');
  assert.equal(sentType(lost), messageTypes.discover);
  // In each phase an answer renews the lease.
  assert.equal(deliver(renewing.state, { type: ack }, 61).outcome, 'renewed');
  assert.equal(deliver(rebinding.state, { type: ack, server: '10.0.0.2' }, 107).outcome, 'renewed');
  assert.equal(deliver(renewing.state, { type: ack, address: '10.0.0.33' }, 61).outcome, 'changed');
  assert.equal(deliver(renewing.state, { type: ack, server: '10.0.0.2' }, 61).outcome, undefined);
});

test('a refusal by the own server ends a lease, one by another server does not', () => {
  const renewing = tick(bound().state, identity, at(60));
  assert.equal(deliver(renewing.state, { type: nak, server: '10.0.0.2' }, 61).state, renewing.state);
  const lost = deliver(renewing.state, { type: nak }, 61);
  assert.equal(lost.outcome, 'lost');
  assert.equal(lost.state.phase, 'selecting');
  const rebinding = tick(bound().state, identity, at(106));
  assert.equal(deliver(rebinding.state, { type: nak, server: '10.0.0.2' }, 107).outcome, 'lost');
});

test('a lease from the database is renewed when its time has come, and lost when it ended meanwhile', () => {
  const { lease } = bound();
  const resumed = (seconds: number): Step => tick(resumeClient(lease, at(seconds)), identity, at(seconds));
  assert.equal(resumed(30).send.length, 0);
  assert.equal(resumed(70).state.phase, 'renewing');
  assert.equal(resumed(110).state.phase, 'rebinding');
  assert.equal(resumed(5000).outcome, 'lost');
});

test('a lease that an earlier version recorded with a later time is renewed at once', () => {
  const { lease } = bound();
  const state = resumeClient(lease, at(-86_400));
  const renewing = tick(state, identity, at(-86_400));
  assert.equal(renewing.state.phase, 'renewing');
  // Without an answer it ends within the time that was left of it at most.
  assert.equal(tick(renewing.state, identity, at(-86_400 + 61)).outcome, 'lost');
});

test('an endless lease is not renewed', () => {
  const started = startClient(identity, at(0));
  const requested = deliver(started.state, { type: offer, seconds: 0xffffffff }, 0);
  const { state } = deliver(requested.state, { type: ack, seconds: 0xffffffff }, 0);
  assert.ok(state.nextAt > 60 * 365 * 86_400_000);
});

test('a release names the address, the server and the client', () => {
  const { message, from, to } = release(identity, bound().lease, at(1));
  assert.equal(typeOf(message), messageTypes.release);
  assert.deepEqual([from, to], [ipv4Number('10.0.0.9'), { address: ipv4Number('10.0.0.1'), mac }]);
  assert.deepEqual(
    [...message.options.keys()].toSorted((a, b) => a - b),
    [53, 54, 61],
  );
});

test('the client identifier is that of the upstream program, at most 254 bytes after its type', () => {
  assert.equal(clientIdOf('c'.repeat(300), 'net', 'eth0').length, 255);
});
