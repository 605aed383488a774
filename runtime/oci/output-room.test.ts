import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { openCommandRoom } from './output-room.ts';

const MiB = 1024 * 1024;

describe('the room for the output of a command', () => {
  it('is that of one message when no other command prints much', () => {
    const room = openCommandRoom({ bytes: 64 * MiB });
    assert.equal(room.bytes, 16 * MiB - 4096);
    assert.equal(room.limit(), 'answer');
    room.bytes -= 16 * MiB - 4096;
    assert.equal(room.bytes, 0);
  });

  it('is limited for all commands together, and 64 KiB are kept for each', () => {
    const shared = { bytes: 20 * MiB };
    const rooms = Array.from({ length: 100 }, () => openCommandRoom(shared));
    let kept = 0;
    for (const room of rooms)
      while (room.bytes > 0) {
        const chunk = Math.min(room.bytes, 10_000);
        room.bytes -= chunk;
        kept += chunk;
        if (shared.bytes === 0) assert.equal(room.limit(), 'shared');
        assert.ok(room.bytes >= 0 && shared.bytes >= 0);
      }
    assert.equal(kept, 20 * MiB + 100 * 64 * 1024);
    for (const room of [...rooms, ...rooms]) room.close();
    assert.equal(shared.bytes, 20 * MiB, 'given back once');
    assert.equal(rooms[0]?.bytes, 0, 'a late chunk takes nothing');
  });
});
