import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { seccompFilters } from './seccomp-filters.ts';

describe('the filters of a process', { skip: process.getuid?.() !== 0 && 'tracing needs root' }, () => {
  it('are empty if none was loaded, and the process continues', async () => {
    const child = spawn('cat', [], { stdio: ['pipe', 'pipe', 'ignore'] });
    await once(child, 'spawn');
    assert.deepEqual(seccompFilters(child.pid ?? 0), []);
    child.stdin.end('still here');
    const [output] = (await once(child.stdout, 'data')) as [Buffer];
    assert.equal(output.toString(), 'still here');
    await once(child, 'exit');
  });

  it('cannot be read from a process that does not exist', () => {
    assert.throws(() => seccompFilters(2 ** 22 + 1), { code: 'KERNEL_ESRCH' });
  });
});
