import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createRandom } from '../../test/fixtures/random.ts';
import { blockWithin, indexBlocks, parseCidr } from './cidr.ts';
import type { Block } from './cidr.ts';

const block = (text: string): Block => {
  const found = parseCidr(text);
  assert.ok(found, text);
  return found;
};

describe('the index of blocks', () => {
  it('finds a block that is written twice both times, also in another spelling', () => {
    const blocks = ['2001:db8::/32', '2001:DB8::/32', '10.0.0.0/8'].map(block);
    assert.deepEqual(indexBlocks(blocks)(block('2001:db8::1/128')), blocks.slice(0, 2));
    assert.deepEqual(indexBlocks(blocks)(block('2001::/16')), []);
  });

  it('finds the blocks that a comparison with each of them finds', () => {
    const random = createRandom(1);
    const any = (): Block => {
      const prefix = Math.floor(random() * 7);
      const bits = BigInt(Math.floor(random() * 64)) >> BigInt(6 - prefix);
      return random() < 0.5
        ? { family: 4, address: bits << BigInt(32 - prefix), prefix }
        : { family: 6, address: bits << BigInt(128 - prefix), prefix };
    };
    for (let round = 0; round < 200; round += 1) {
      const blocks = Array.from({ length: 20 }, any);
      const [inner, find] = [any(), indexBlocks(blocks)];
      assert.deepEqual(new Set(find(inner)), new Set(blocks.filter((outer) => blockWithin(inner, outer))));
      assert.equal(find(inner).length, blocks.filter((outer) => blockWithin(inner, outer)).length);
    }
  });
});
