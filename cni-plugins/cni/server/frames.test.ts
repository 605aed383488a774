import assert from 'node:assert/strict';
import { test } from 'node:test';
import { greetingOf, readWhole, versions } from './frames.ts';
import type { Version } from './frames.ts';

const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};

const callOf = (version: Version, stdin: string): Buffer => {
  const strings = Buffer.from('/opt/cni/bin/portcullis-bridge\0CNI_COMMAND=STATUS\0');
  const greeting = Buffer.concat([greetingOf(version, false).subarray(0, 7), Buffer.alloc(1)]);
  return Buffer.concat([
    greeting,
    number(1),
    number(strings.length),
    strings,
    number(stdin.length),
    Buffer.from(stdin),
  ]);
};

test('a complete call is read at once, and bytes after it are not part of it', () => {
  const call = Buffer.concat([callOf(versions.withInput, '{"name":"n"}'), Buffer.from('more')]);
  const read = readWhole(call);
  assert.equal(read?.name, 'portcullis-bridge');
  assert.deepEqual({ ...read?.environment }, { CNI_COMMAND: 'STATUS' });
  assert.equal(Buffer.from(read?.stdin ?? []).toString(), '{"name":"n"}');
});

test('a call with a missing byte is not complete yet, wherever it was cut', () => {
  const call = callOf(versions.withInput, '{"name":"n"}');
  for (let length = 0; length < call.length; length += 1)
    assert.equal(readWhole(call.subarray(0, length)), undefined, String(length));
});

test('a client that waits for the request for its input, an unknown client and impossible lengths are not read', () => {
  assert.equal(readWhole(callOf(versions.inputOnRequest, '{}')), undefined);
  assert.equal(readWhole(Buffer.concat([Buffer.from('GET / HTTP/1.1\r\n'), Buffer.alloc(64)])), undefined);
  const call = callOf(versions.withInput, '{}');
  call.writeBigUInt64LE(2n ** 63n, 16);
  assert.equal(readWhole(call), undefined);
});
