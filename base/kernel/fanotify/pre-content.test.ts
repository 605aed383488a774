import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import {
  answerPreContent,
  createPreContentGroup,
  markPreContent,
  readPreContentEvents,
  unmarkPreContent,
} from './pre-content.ts';

/** Whether this kernel and the test's file system have pre-content events. */
function why(): string | false {
  const folder = mkdtempSync('/var/tmp/portcullis-fanotify-');
  const fd = openSync(`${folder}/file`, 'w');
  let group: number | undefined;
  try {
    group = createPreContentGroup();
    markPreContent(group, `${folder}/file`);
    return false;
  } catch (error) {
    return String(error);
  } finally {
    if (group !== undefined) closeSync(group);
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
}

describe('a marked file', { skip: why() }, () => {
  /** A sparse file of 64 KiB, marked by a group. */
  function marked(t: TestContext): { readonly path: string; readonly fd: number; readonly group: number } {
    const folder = mkdtempSync('/var/tmp/portcullis-fanotify-');
    const path = `${folder}/file`;
    const fd = openSync(path, 'w+');
    ftruncateSync(fd, 65_536);
    const group = createPreContentGroup();
    markPreContent(group, path);
    t.after(() => {
      closeSync(group);
      closeSync(fd);
      rmSync(folder, { recursive: true });
    });
    return { path, fd, group };
  }
  /** Reads 4 KiB at an offset in another process. */
  function dd(path: string, block: number): Promise<{ readonly code: number; readonly text: string }> {
    const child = spawn('dd', [`if=${path}`, 'bs=4096', `skip=${block}`, 'count=1', 'status=none']);
    let text = '';
    child.stdout.on('data', (part: Buffer) => (text += part.toString('latin1')));
    child.stderr.on('data', (part: Buffer) => (text += part.toString('latin1')));
    return new Promise((resolve) => {
      child.once('close', (code) => {
        resolve({ code: code ?? -1, text });
      });
    });
  }

  it('is filled before it is read', async (t) => {
    const { path, fd, group } = marked(t);
    const reading = dd(path, 3);
    const [event] = readPreContentEvents(group, 4);
    assert.deepEqual([event?.offset, event?.length], [3 * 4096, 4096]);
    // Opened before the mark: this write makes no event.
    writeSync(fd, Buffer.alloc(4096, 'x'), 0, 4096, 3 * 4096);
    answerPreContent(group, event?.fd ?? -1, true);
    closeSync(event?.fd ?? -1);
    assert.deepEqual(await reading, { code: 0, text: 'x'.repeat(4096) });
  });

  it('is not read when the listener refuses', async (t) => {
    const { path, group } = marked(t);
    const reading = dd(path, 0);
    const [event] = readPreContentEvents(group, 4);
    answerPreContent(group, event?.fd ?? -1, false);
    closeSync(event?.fd ?? -1);
    const { code, text } = await reading;
    assert.equal(code, 1);
    assert.match(text, /Input\/output error/);
  });

  it('is read without an answer after its mark is removed', async (t) => {
    const { path, group } = marked(t);
    unmarkPreContent(group, path);
    unmarkPreContent(group, path);
    assert.deepEqual(await dd(path, 0), { code: 0, text: '\0'.repeat(4096) });
  });
});
