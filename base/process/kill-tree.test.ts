import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { killTree } from './kill-tree.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-kill-tree-'));
after(() => rmSync(folder, { recursive: true }));

/** Returns the processes that were started with this mark in their environment and have not ended. */
const marked = (mark: string): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/u.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`KILL_TREE_TEST=${mark}`);
      } catch {
        return false;
      }
    });

/** Returns the processes that are left after those that were killed have ended, and kills them. */
async function leftOf(mark: string): Promise<readonly number[]> {
  for (const late = performance.now() + 2000; performance.now() < late && marked(mark).length > 0;)
    await new Promise((resolve) => setTimeout(resolve, 20));
  const left = marked(mark);
  for (const pid of left) process.kill(pid, 'SIGKILL');
  return left;
}

test('the children of other threads are killed when one thread ends during the listing', async () => {
  const options = { env: { ...process.env, KILL_TREE_TEST: 'threads' }, detached: true } as const;
  const [parent, child] = [spawn('sleep', ['60'], options), spawn('sleep', ['60'], options)];
  const tasks = join(folder, `${parent.pid}/task`);
  for (const thread of ['1', '2']) mkdirSync(join(tasks, thread), { recursive: true });
  // The thread 1 has ended: it was listed, and has no file any more.
  writeFileSync(join(tasks, '2/children'), `${child.pid} `);
  killTree(parent.pid ?? 0, folder);
  assert.deepEqual(await leftOf('threads'), []);
});

test('a process is stopped while its children are listed, so that it starts no more of them', async () => {
  const options = { env: { ...process.env, KILL_TREE_TEST: 'stopped' }, detached: true } as const;
  const parent = spawn('sleep', ['60'], options);
  const thread = join(folder, `${parent.pid}/task/1`);
  mkdirSync(thread, { recursive: true });
  symlinkSync(`/proc/${parent.pid}/stat`, join(thread, 'stat'));
  const children = join(thread, 'children');
  const states = join(folder, 'states');
  execFileSync('mkfifo', [children]);
  // Notes the state of the process at each listing, and lists no child.
  const note = `cut -d' ' -f3 /proc/${parent.pid}/stat >> ${states}`;
  const notes = spawn('bash', ['-c', `while :; do { ${note}; } 3> ${children}; done`]);
  killTree(parent.pid ?? 0, folder);
  notes.kill();
  assert.deepEqual(await leftOf('stopped'), []);
  // On a busy machine the signal takes effect after the first listings: they are repeated until it has.
  // The loop may open the file once more before its last reader closes it: the process is being killed then.
  assert.match(readFileSync(states, 'utf8'), /^(?:[RS]\n)*(?:T\n)+(?:[RXZ]\n)*$/u);
});
