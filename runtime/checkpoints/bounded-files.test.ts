import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createBoundedFiles } from './bounded-files.ts';

describe('operations on a file system that does not answer', () => {
  it('fail, do not block other folders, and are undone in their order when it answers', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const files = createBoundedFiles();
    const server = Promise.withResolvers<undefined>();
    const done: string[] = [];
    const undo = (name: string): Promise<void> => Promise.resolve(void done.push(`undo ${name}`));
    const opened = files.run('/dead', () => server.promise.then(() => 'open'), { undo });
    const closed = files.run('/dead', () => Promise.resolve(void done.push('close')));
    assert.equal(await files.run('/other', () => Promise.resolve('x')), 'x');
    t.mock.timers.tick(10_000);
    for (const late of [opened, closed]) await assert.rejects(late, { kind: 'deadline' });
    assert.deepEqual(done, []);
    server.resolve(undefined);
    await files.run('/dead', () => Promise.resolve());
    assert.deepEqual(done, ['undo open', 'close']);
  });

  it('may take longer if their caller waits longer', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const server = Promise.withResolvers<string>();
    const written = createBoundedFiles().run('/slow', () => server.promise, { ms: 60_000 });
    t.mock.timers.tick(59_000);
    server.resolve('done');
    assert.equal(await written, 'done');
  });
});
