import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { createHeldFiles } from './held-files.ts';

const kibibytes = (count: number): number => count * 1024;

/** A response to a client. `emit('close')` ends it. */
function responseTo(remoteAddress: string): ServerResponse {
  const response = Object.assign(new EventEmitter(), { closed: false, req: { socket: { remoteAddress } } });
  response.once('close', () => (response.closed = true));
  return response as unknown as ServerResponse;
}

test('a file that several clients read takes its size once, until the last of them has left', () => {
  const files = createHeldFiles(kibibytes(400));
  const file = Buffer.alloc(kibibytes(300));
  const [first, second] = [responseTo('192.0.2.1'), responseTo('192.0.2.2')];
  for (const response of [first, second]) assert.ok(files.share(response, file));
  const another = (): boolean => files.reserve(responseTo('192.0.2.3'), kibibytes(100));
  assert.equal(another(), false);
  first.emit('close');
  assert.equal(another(), false);
  second.emit('close');
  assert.equal(another(), true);
});

test('a client bears the size of a file only while it holds the file', () => {
  const files = createHeldFiles(kibibytes(400));
  const [first, second] = ['192.0.2.1', '192.0.2.2'].map(responseTo) as [ServerResponse, ServerResponse];
  const file = Buffer.alloc(kibibytes(200));
  for (const response of [first, second]) files.share(response, file);
  first.emit('close');
  assert.equal(files.reserve(responseTo('192.0.2.1'), kibibytes(150)), true);
  assert.equal(files.reserve(responseTo('192.0.2.2'), kibibytes(1)), false);
});

test('other files than those that are held are refused to a client whose share is used up', () => {
  const files = createHeldFiles(kibibytes(400));
  const file = Buffer.alloc(kibibytes(300));
  assert.ok(files.share(responseTo('192.0.2.1'), file));
  assert.equal(files.share(responseTo('192.0.2.1'), Buffer.alloc(kibibytes(17))), false);
  assert.ok(files.share(responseTo('192.0.2.1'), file), 'the same file');
  assert.ok(files.share(responseTo('192.0.2.1'), Buffer.alloc(kibibytes(16))), 'a small file');
  assert.ok(files.share(responseTo('192.0.2.2'), Buffer.alloc(kibibytes(17))), 'another client');
});

test('a file that one client reads twice takes its size until both responses have ended', () => {
  const files = createHeldFiles(kibibytes(400));
  const file = Buffer.alloc(kibibytes(300));
  const [first, second] = [responseTo('192.0.2.1'), responseTo('192.0.2.1')];
  for (const response of [first, second]) assert.ok(files.share(response, file));
  const another = (): boolean => files.reserve(responseTo('192.0.2.2'), kibibytes(100));
  first.emit('close');
  assert.equal(another(), false);
  second.emit('close');
  assert.equal(another(), true);
});
