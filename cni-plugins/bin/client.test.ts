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

/** A change of these bytes is a change of what every caller of CNI executes: run plugins.test.ts on the machine (qemu-user for the other), then write it here. */
describe('the thin client', () => {
  for (const [machine, size, digest] of [
    ['x86_64', 3736, 'bcc39938c740926c10c7c3d3e1f33a033257fcfb5ba42262ecc3100cffe8ff9f'],
    ['aarch64', 3688, '206a34f0ea49fcaf68754199562f0af620f9ec688756c4b48149358413fe938c'],
  ] as const) {
    it(`is these bytes on ${machine}`, () => {
      const bytes = clientProgram(stamp, machine);
      assert.deepEqual([bytes.length, createHash('sha256').update(bytes).digest('hex')], [size, digest]);
      assert.deepEqual(readStamp(bytes), stamp);
    });
  }

  it('is told apart from any other file', () => {
    assert.equal(readStamp(Buffer.from('#!/bin/sh\n')), undefined);
    assert.equal(readStamp(Buffer.from('\x7fELF and nothing else', 'latin1')), undefined);
    assert.equal(readStamp(Buffer.from('\x7fELF\0portcullis-cni-client {broken\n', 'latin1')), undefined);
  });
});
