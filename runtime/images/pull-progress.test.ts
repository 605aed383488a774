import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { storeFolders } from './folders.ts';
import { withProgress } from './pull-progress.ts';
import type { ImageStore, PullRequest } from './types.ts';

const digestOf = (character: string): string => `sha256:${character.repeat(64)}`;

/** A store whose pulls know their manifest at once, and end when the test says so. */
function heldStore(t: TestContext, reportMs?: number) {
  const root = mkdtempSync(join(tmpdir(), 'pc-progress-'));
  t.after(() => rmSync(root, { recursive: true }));
  const folders = storeFolders(root);
  mkdirSync(folders.ingest, { recursive: true });
  mkdirSync(folders.blobs, { recursive: true });
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const blobs = [
    { digest: digestOf('a'), size: 100 },
    { digest: digestOf('b'), size: 50 },
    { digest: digestOf('b'), size: 50 },
    { digest: digestOf('c'), size: 7 },
  ];
  const pull = (request: PullRequest): Promise<never> => {
    request.onResolved?.(blobs);
    return promise as Promise<never>;
  };
  const lines: object[] = [];
  const log = { info: (fields: object) => void lines.push(fields), debug: () => undefined } as never;
  const images = withProgress({ pull } as unknown as ImageStore, {
    root,
    log,
    ...(reportMs !== undefined && { reportMs }),
  });
  return { folders, images, lines, end: () => resolve(undefined) };
}

test('a pull reports the bytes and layers that it has received, and nothing when it has ended', async (t) => {
  const { folders, images, end } = heldStore(t);
  assert.deepEqual(await images.pulls(), []);
  const pulling = images.pull({ reference: 'r', namespace: '' });
  writeFileSync(`${folders.ingest}/${'a'.repeat(64)}.1.0`, 'x'.repeat(30));
  writeFileSync(`${folders.blobs}/${'b'.repeat(64)}`, 'x'.repeat(50));
  const [progress] = await images.pulls();
  assert.ok(progress !== undefined && progress.seconds >= 0);
  assert.deepEqual(progress, {
    reference: 'r',
    seconds: progress.seconds,
    bytes: 157,
    bytesReceived: 80,
    layers: 3,
    layersReceived: 1,
  });
  end();
  await pulling;
  assert.deepEqual(await images.pulls(), []);
});

test('many long pulls log one line at a time, and no line after their end', async (t) => {
  const { images, lines, end } = heldStore(t, 20);
  const pulls = Array.from({ length: 40 }, () => images.pull({ reference: 'r', namespace: '' }));
  while (lines.length < 2) await sleep(5);
  assert.deepEqual(Object.keys(lines[0] ?? {}), ['pulls', 'bytes', 'bytesReceived']);
  end();
  await Promise.all(pulls);
  await sleep(30);
  const ended = lines.length;
  await sleep(60);
  assert.equal(lines.length, ended);
});
