import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

/**
 * Allocates 64 blocks of 1 MiB and prints by how many MiB the heap of the C library grew. The process is one
 * of its own, because glibc adapts its thresholds to all that went before.
 */
const program = (fixed: boolean): string => `
  import { readFileSync } from 'node:fs';
  import { fixHeapThresholds } from '${import.meta.dirname}/heap.ts';
  import { glibc } from '${import.meta.dirname}/libc.ts';
  const malloc = glibc('malloc', 'void *', ['size_t']);
  const free = glibc('free', 'void', ['void *']);
  const heap = () => Number(/\\[heap\\]\\nSize: +(\\d+) kB/u.exec(readFileSync('/proc/self/smaps', 'utf8'))?.[1] ?? 0) / 1024;
  // A freed block of 30 MiB raises the thresholds.
  free(malloc(30 * 1048576));
  ${fixed ? 'fixHeapThresholds(262_144, 4_194_304);' : ''}
  const before = heap();
  for (let count = 0; count < 64; count += 1) malloc(1048576);
  process.stdout.write(String(Math.round(heap() - before)));
`;

function grownBy(fixed: boolean): number {
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program(fixed)], {
    encoding: 'utf8',
  });
  assert.match(stdout, /^-?\d+$/u, stderr);
  return Number(stdout);
}

test('with fixed thresholds, large blocks are mapped alone and not taken from the heap of the C library', (t) => {
  if (readFileSync('/proc/self/maps', 'utf8').includes('/ld-musl'))
    return t.skip('only glibc has these thresholds');
  assert.ok(grownBy(false) >= 60, 'without them the blocks are in the heap');
  assert.ok(grownBy(true) <= 4, 'with them they are not');
});
