import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { clientProgram } from './client.ts';
import { readStamp } from './stamp.ts';
import type { Stamp } from './stamp.ts';

const stamp: Stamp = {
  version: '1',
  socket: '/run/portcullis/cni.sock',
  data: '/var/lib/portcullis',
  program: ['/usr/bin/node', '/usr/lib/portcullis/cni-plugin.js'],
};

/**
 * A change of these bytes changes what every caller of CNI executes. Run plugins.test.ts on the machine
 * (qemu-user for the other architecture), then record the new value here.
 */
describe('the thin client', () => {
  for (const [machine, size, digest] of [
    ['x86_64', 4520, '19d1b5965c360694ec46cda0a06b17ee4e804d8153ef194770a2cbc61c5a9916'],
    ['aarch64', 4448, '49679c4dec116b6487b6d80e9a9d65654469e90a1f0f1740452863d1fdaf5bd7'],
  ] as const) {
    it(`consists of the expected bytes on ${machine}`, () => {
      const bytes = clientProgram(stamp, machine);
      assert.deepEqual([bytes.length, createHash('sha256').update(bytes).digest('hex')], [size, digest]);
      assert.deepEqual(readStamp(bytes), stamp);
    });
  }

  it('is distinguished from any other file', () => {
    assert.equal(readStamp(Buffer.from('#!/bin/sh\n')), undefined);
    assert.equal(readStamp(Buffer.from('\x7fELF and nothing else', 'latin1')), undefined);
    assert.equal(readStamp(Buffer.from('\x7fELF\0portcullis-cni-client {broken\n', 'latin1')), undefined);
  });
});
