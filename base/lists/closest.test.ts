import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { closest, editDistance } from './closest.ts';

describe('the closest word', () => {
  it('is found for a typing error only', () => {
    assert.equal(closest('imagess', ['images', 'allow']), 'images');
    assert.equal(closest('IMAGES', ['images']), 'images');
    assert.equal(closest('naem', ['name', 'size']), 'name');
    assert.equal(closest('registry', ['root', 'registries']), 'registries');
    assert.equal(closest('x', ['name', 'id']), undefined);
    assert.equal(closest('to', ['by']), undefined);
  });

  it('is chosen by its edit distance', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
        const distance = editDistance(a, b);
        assert.equal(distance, editDistance(b, a));
        assert.equal(distance === 0, a === b);
        assert.ok(distance <= Math.max(a.length, b.length) && distance >= Math.abs(a.length - b.length));
      }),
    );
  });
});
