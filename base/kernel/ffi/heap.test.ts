import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { programMappings } from './heap.ts';

/**
 * Allocates 64 blocks of 1 MiB and prints by how many MiB the heap of the C library grew. It runs in a
 * separate process, because glibc adapts its thresholds to earlier allocations.
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

test('with fixed thresholds, large blocks are mapped separately and not taken from the heap of the C library', (t) => {
  if (readFileSync('/proc/self/maps', 'utf8').includes('/ld-musl'))
    return t.skip('only glibc has these thresholds');
  assert.ok(grownBy(false) >= 60, 'without them the blocks are in the heap');
  assert.ok(grownBy(true) <= 4, 'with them they are not');
});

const linesOf = (...lines: readonly string[]): string => `${lines.join('\n')}\n`;

test('finds the mappings of a program that no write can have changed', () => {
  const maps = linesOf(
    '00400000-0082e000 r--p 00000000 fe:00 534                            /opt/a node',
    '0082e000-03489000 r-xp 0042e000 fe:00 534                            /opt/a node',
    '03489000-072a7000 r--p 03089000 fe:00 534                            /opt/a node',
    // Relocated, and then protected.
    '072a7000-072dc000 r--p 06ea7000 fe:00 534                            /opt/a node',
    '072dc000-07308000 rw-p 06edc000 fe:00 534                            /opt/a node',
    '07308000-07400000 rw-p 00000000 00:00 0                              [heap]',
    '7f2800000000-7f2800215000 r-xp 01627000 fe:00 534                    /opt/a node',
    '7f2800300000-7f2800400000 r-xp 00000000 fe:00 535                    /lib/libc.so.6',
    '7f2800500000-7f2800600000 ---p 00000000 fe:00 534                    /opt/a node',
    '7f2800600000-7f2800700000 r-xs 00000000 fe:00 534                    /opt/a node',
  );
  assert.deepEqual(
    programMappings(maps, '/opt/a node').map(({ from, to }) => [from, to]),
    [
      [0x40_0000n, 0x82_e000n],
      [0x82_e000n, 0x348_9000n],
      [0x348_9000n, 0x72a_7000n],
      [0x7f28_0000_0000n, 0x7f28_0021_5000n],
    ],
  );
});

test('a program whose pages are unmapped continues with fewer mapped pages', () => {
  const source = `
    import { readFileSync } from 'node:fs';
    import { Worker } from 'node:worker_threads';
    import { unmapProgram } from '${import.meta.dirname}/heap.ts';
    const mapped = () => Number(/^RssFile:\\s+(\\d+)/mu.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
    const before = mapped();
    unmapProgram();
    const after = mapped();
    new Worker('1', { eval: true }).once('exit', (code) => console.log(before - after, code));
  `;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
    encoding: 'utf8',
  });
  const [unmapped = 0, code] = stdout.split(' ').map(Number);
  assert.ok(unmapped > 10 * 1024, `${unmapped} KiB; ${stderr}`);
  assert.equal(code, 0);
});
