import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

// This runs in a separate process with a small heap: memory that V8 frees is soon used for other data.
test(
  'buffers of a call are kept until it has returned, however V8 has compiled it',
  { timeout: 120_000 },
  async () => {
    const program = `
    import { receiveHeard } from ${JSON.stringify(import.meta.resolve('./namespace-events.ts'))};
    import { glibc } from ${JSON.stringify(import.meta.resolve('../ffi/libc.ts'))};
    import { send } from ${JSON.stringify(import.meta.resolve('./socket.ts'))};
    const ends = Buffer.alloc(8);
    const [unix, seqpacket] = [1, 5];
    glibc('socketpair', 'int', ['int', 'int', 'int', 'void *'])(unix, seqpacket, 0, ends);
    const [near, far] = [ends.readInt32LE(0), ends.readInt32LE(4)];
    const message = Buffer.alloc(1500, 0xab);
    const data = Buffer.alloc(2000);
    let others = [];
    for (let number = 0; number < 150_000; number += 1) {
      message.writeUInt32LE(number, 0);
      send(near, message);
      data.fill(0);
      const { length } = receiveHeard(far, data);
      if (length !== 1500 || data.readUInt32LE(0) !== number || data[1499] !== 0xab) throw new Error('message ' + number + ' is another one');
      others.push(Buffer.alloc(16, 0xff));
      if (others.length > 50) others = [];
    }
    console.log('whole');`;
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--max-semi-space-size=1',
      '--input-type=module',
      '-e',
      program,
    ]);
    assert.equal(stdout, 'whole\n');
  },
);
