import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { appendFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { isPortcullisError } from '../../base/errors/index.ts';
import { followContainerLog } from './log-file.ts';
import type { FollowLogOptions } from './log-file.ts';
import { entryBytes } from './log-line.ts';

let folder: string;
let path: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'portcullis-log-'));
  path = join(folder, '0.log');
});
after(() => rm(folder, { recursive: true }));

const line = (tag: 'F' | 'P', text: string): string =>
  `2026-11-20T08:00:00.000000000Z stdout ${tag} ${text}\n`;

async function read(options: FollowLogOptions = {}): Promise<string> {
  const parts: Buffer[] = [];
  for await (const entry of followContainerLog(path, options)) parts.push(entryBytes(entry));
  return Buffer.concat(parts).toString();
}

test('reads a whole log, joins its partial entries, and keeps the last entry without a line end', async () => {
  await writeFile(path, line('F', 'one') + line('P', 'tw') + line('F', 'o') + line('P', 'thr'));
  assert.equal(await read(), 'one\ntwo\nthr');
});

const tails: readonly { readonly tail: number; readonly text: string }[] = [
  { tail: 0, text: '' },
  { tail: 1, text: 'three' },
  { tail: 2, text: 'two\nthree' },
  { tail: 3, text: 'one\ntwo\nthree' },
  { tail: 9, text: 'one\ntwo\nthree' },
];
for (const { tail, text } of tails) {
  test(`the last ${tail} lines`, async () => {
    await writeFile(
      path,
      line('F', 'one') + line('P', 't') + line('P', 'w') + line('F', 'o') + line('P', 'three'),
    );
    assert.equal(await read({ tail }), text);
  });
}

test('reads the last lines of a log of many blocks, with entries across block boundaries', async () => {
  const texts = Array.from({ length: 3000 }, (_, index) => `${index} ${'x'.repeat(index % 200)}`);
  const huge = 'y'.repeat(200_000);
  await writeFile(path, texts.map((text) => line('F', text)).join('') + line('F', huge) + line('F', 'end'));
  for (const tail of [1, 2, 3, 500, 2999, 3001, 3002]) {
    const wanted = [...texts, huge, 'end'].slice(-tail);
    assert.ok((await read({ tail })) === `${wanted.join('\n')}\n`, String(tail));
  }
});

test('follows a log through a rotation, until the container has ended', async () => {
  await writeFile(path, line('F', 'one'));
  let running = true;
  const all = read({ follow: true, isRunning: () => Promise.resolve(running) });
  await sleep(50);
  await appendFile(path, line('F', 'two'));
  await sleep(50);
  await rename(path, `${path}.1`);
  await appendFile(`${path}.1`, line('F', 'three'));
  await writeFile(path, line('F', 'four'));
  await sleep(50);
  running = false;
  await appendFile(path, line('F', 'five'));
  assert.equal(await all, 'one\ntwo\nthree\nfour\nfive\n');
});

test('an aborted follow ends', async () => {
  await writeFile(path, line('F', 'one'));
  const abort = new AbortController();
  const all = read({ follow: true, signal: abort.signal });
  await sleep(50);
  abort.abort();
  assert.equal(await all, 'one\n');
});

test('a line without a line end is returned in parts of limited size', async () => {
  await writeFile(path, 'z'.repeat(3 * 1024 * 1024));
  let longest = 0;
  for await (const entry of followContainerLog(path)) longest = Math.max(longest, entry.content.length);
  assert.ok(longest < 1.2 * 1024 * 1024, String(longest));
});

test('an absent log is CRI_LOG_UNREADABLE', async () => {
  path = join(folder, 'absent.log');
  await assert.rejects(read(), (error) => isPortcullisError(error) && error.code === 'CRI_LOG_UNREADABLE');
});

test('a log is followed also where inotify has no instance left', async () => {
  await writeFile(path, line('F', 'one'));
  const fixture = join(import.meta.dirname, 'log-without-inotify.fixture.ts');
  const { stdout } = await promisify(execFile)('unshare', ['-U', '-r', process.execPath, fixture, path]);
  assert.equal(stdout, 'one\ntwo\n');
});
