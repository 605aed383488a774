import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fillAndCheck } from './guarded-layer.ts';

describe('the check of a filled layer', () => {
  it('is repeated with chunks that are fetched again when the disk fails', async () => {
    const steps: string[] = [];
    const failures = ['EIO: i/o error, fdatasync', 'ENOSPC: no space left on device, fdatasync'];
    const fill = {
      fillRest: () => Promise.resolve(void steps.push('fill')),
      lose: () => void steps.push('lose'),
    };
    const check = (): Promise<string | undefined> => {
      const failure = failures.shift();
      return failure === undefined ? Promise.resolve(undefined) : Promise.reject(new Error(failure));
    };
    const deps = { fill, check, isClosed: () => false, retryMs: [1, 2] as const };
    const why = await fillAndCheck({ ...deps, failed: (reason) => void steps.push(reason.slice(0, 3)) });
    assert.equal(why, undefined);
    assert.deepEqual(steps, ['fill', 'EIO', 'lose', 'fill', 'ENO', 'lose', 'fill']);
  });
});
