import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { after, afterEach, before, describe, it } from 'node:test';
import { findFiller } from './filler-client.ts';
import { fillerVersion, hearMessages, sendMessage } from './protocol.ts';
import type { FillerMessage, FillerRequest, LazyLayer } from './protocol.ts';

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };

describe('the connection to a filler', () => {
  let folder: string;
  let server: Server | undefined;
  before(() => {
    folder = mkdtempSync('/var/tmp/portcullis-client-');
  });
  afterEach(() => server?.close());
  after(() => {
    rmSync(folder, { recursive: true });
  });

  const depsOf = (socket: string, onLost: () => void = () => undefined) => ({
    ...{ socket: `${folder}/${socket}`, log: silent, onLost },
    onState: () => undefined,
  });

  /** Starts a process that answers like a filler. `ended` resolves when a connection ends. */
  async function serve(name: string, answer: (request: FillerRequest) => FillerMessage | FillerMessage[]) {
    const ended = Promise.withResolvers<unknown>();
    const own = createServer((connection) => {
      connection.once('close', ended.resolve);
      hearMessages(connection, (request) => {
        const messages = [answer(request as FillerRequest)].flat();
        // All arrive at the same time.
        connection.cork();
        for (const message of messages) sendMessage(connection, message);
        connection.uncork();
        if (messages.length === 0) connection.destroy();
      });
    });
    server = own;
    await new Promise<void>((resolve) => own.listen(`${folder}/${name}`, resolve));
    return { ended: ended.promise };
  }

  it('does not exist without a socket', async () => {
    assert.equal(await findFiller(depsOf('none')), undefined);
  });

  it('fails when the socket cannot be reached: a filler may serve it', async () => {
    symlinkSync('loop', `${folder}/loop`);
    await assert.rejects(findFiller(depsOf('loop')), { code: 'ELOOP' });
  });

  it('ends when the filler does not accept it, and is no loss of a filler', { timeout: 10_000 }, async () => {
    let losses = 0;
    const { ended } = await serve('refusing', ({ id }) => ({ kind: 'failed', id, why: 'refused' }));
    await assert.rejects(findFiller(depsOf('refusing', () => void (losses += 1))), /refused/);
    await ended;
    assert.equal(losses, 0);
  });

  it('is no loss of a filler when it ends before the answer', { timeout: 10_000 }, async () => {
    let losses = 0;
    await serve('ending', () => []);
    await assert.rejects(findFiller(depsOf('ending', () => void (losses += 1))), /has ended/);
    assert.equal(losses, 0);
  });

  it('knows the last state of a layer whose messages arrive at the same time', async () => {
    const complete = { kind: 'state', folder: 'a', state: 'complete', why: '' } as const;
    await serve('quick', ({ id, kind }) => [
      kind === 'hello'
        ? { kind, id, version: fillerVersion, pids: [], layers: [{ folder: 'b', state: 'filling' }] }
        : { kind: 'done', id, state: 'filling' },
      { ...complete, folder: kind === 'hello' ? 'b' : 'a' },
    ]);
    const client = await findFiller(depsOf('quick'));
    assert.ok(client);
    await client.add({ folder: 'a' } as LazyLayer);
    assert.deepEqual(
      [...client.layers],
      [
        ['b', 'complete'],
        ['a', 'complete'],
      ],
    );
    client.close();
  });

  it('remembers a layer that the filler could not forget', async () => {
    await serve('busy', ({ id, kind }) =>
      kind === 'hello'
        ? { kind, id, version: fillerVersion, pids: [], layers: [{ folder: 'a', state: 'filling' }] }
        : { kind: 'failed', id, why: 'busy' },
    );
    const client = await findFiller(depsOf('busy'));
    assert.ok(client);
    await assert.rejects(client.forget('a'), /busy/);
    assert.deepEqual([...client.layers.keys()], ['a']);
    client.close();
  });
});
