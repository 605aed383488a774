import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { countOfProcesses, parseOpenFilesLimit } from './process-counts.ts';

const read = (path: string): string => readFileSync(path, 'utf8');

test('descriptors, sockets and the limit of real processes', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const child = spawn('sh', ['-c', 'ulimit -n 321; exec sleep 30'], { stdio: 'ignore' });
  await once(child, 'spawn');
  const pid = child.pid ?? 0;
  try {
    while (!read(`/proc/${pid}/comm`).startsWith('sleep'))
      await new Promise((resolve) => setTimeout(resolve, 5));
    const { descriptors, ...rest } = countOfProcesses([pid], pid, read);
    assert.deepEqual(rest, { processes: 1, sockets: 0, openFilesLimit: 321 });
    // Its three standard streams, and a library while the program still starts.
    assert.ok(descriptors >= 3 && descriptors <= 5, `${descriptors}`);
    const both = countOfProcesses([pid, process.pid], undefined, read);
    assert.equal(both.processes, 2);
    assert.ok(both.sockets >= 1 && both.descriptors > both.sockets);
    assert.equal(both.openFilesLimit, undefined);
  } finally {
    child.kill('SIGKILL');
    server.close();
    await once(child, 'exit');
  }
});

test('processes that have ended have no descriptors', () => {
  const none = (): undefined => undefined;
  assert.deepEqual(countOfProcesses([2 ** 22 + 1], 2 ** 22 + 1, none), {
    processes: 1,
    descriptors: 0,
    sockets: 0,
  });
});

for (const [limits, expected] of [
  [
    'Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n',
    1024,
  ],
  ['Max open files            unlimited            unlimited            files\n', undefined],
  ['', undefined],
  [undefined, undefined],
] as const) {
  test(`a soft limit: ${JSON.stringify(limits?.slice(0, 60))}`, () =>
    assert.equal(parseOpenFilesLimit(limits), expected));
}
