import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { dropAbandonedDrafts } from './abandoned-drafts.ts';

test('only old drafts of killed processes are removed from a conf folder', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-drafts-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const draft = (name: string, file: string, isOld: boolean): string => {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, file), '{}');
    if (isOld) utimesSync(join(folder, name), 1, 1);
    return name;
  };
  const kept = [
    draft(`.${randomUUID()}`, 'pods.conflist', false),
    draft('.git', 'pods.conflist', true),
    draft(`.${randomUUID()}`, 'notes.txt', true),
  ];
  draft(`.${randomUUID()}`, 'pods.conflist', true);
  writeFileSync(join(folder, '10-pods.conflist'), '{}');
  dropAbandonedDrafts(folder);
  assert.deepEqual(readdirSync(folder).toSorted(), ['10-pods.conflist', ...kept].toSorted());
});
