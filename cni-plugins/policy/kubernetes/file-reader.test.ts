import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { startWorker } from '../../../base/process/index.ts';
import { createFileReader } from '../../followed-files/file-reader.ts';
import { createHeldFiles } from '../../followed-files/last-good-files.ts';
import { fileStamp } from '../../followed-files/stamps.ts';
import type { FileReading } from './join.ts';

/** Real Workers, including those that cannot start. */

const failures: readonly (readonly [what: string, start: () => Worker])[] = [
  [
    'it cannot be created',
    () => {
      throw new Error('no thread is left');
    },
  ],
  ['its program cannot be loaded', () => new Worker(new URL('./no-such.worker.ts', import.meta.url))],
];

for (const [what, fail] of failures)
  test(`a thread that cannot start (${what}) is reported as a problem, and the next thread reads the file`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-reader-'));
    const rejected: unknown[] = [];
    const onRejection = (why: unknown): void => void rejected.push(why);
    process.on('unhandledRejection', onRejection);
    let starts = 0;
    const reader = createFileReader<FileReading>(() => {
      starts += 1;
      return starts === 1 ? fail() : startWorker(import.meta.url, './policy-files.worker.ts');
    });
    try {
      const path = join(folder, 'a.yaml');
      writeFileSync(
        path,
        'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: a, namespace: shop }\nspec: { podSelector: {} }\n',
      );
      const files = createHeldFiles(reader, folder, 20);
      const seen = new Set<string>();
      for (
        const end = performance.now() + 60_000;
        files.isEmpty() && performance.now() < end;
        await pause(10)
      ) {
        files.look(new Map([['a.yaml', fileStamp(path)]]));
        for (const problem of files.problems()) seen.add(problem);
      }
      assert.deepEqual(
        files.readings().flatMap(({ policies }) => policies.map(({ name }) => name)),
        ['a'],
      );
      assert.match(
        [...seen].join('\n'),
        /a\.yaml:1:1: it cannot be read: the thread that reads it did not start: .*it is tried again/u,
      );
      files.look(new Map([['a.yaml', fileStamp(path)]]));
      assert.deepEqual([files.problems(), files.isWaiting(), starts, rejected], [[], false, 2, []]);
    } finally {
      reader.close();
      process.off('unhandledRejection', onRejection);
      rmSync(folder, { recursive: true });
    }
  });
