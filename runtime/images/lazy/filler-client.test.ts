import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { after, afterEach, before, describe, it } from 'node:test';
import { findFiller } from './filler-client.ts';
import { fillerVersion, hearMessages, sendMessage } from './protocol.ts';
import type { FillerMessage, FillerRequest } from './protocol.ts';

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
  async function serve(name: string, answer: (request: FillerRequest) => FillerMessage) {
    const ended = Promise.withResolvers<unknown>();
    const own = createServer((connection) => {
      connection.once('close', ended.resolve);
      hearMessages(connection, (request) => {
        sendMessage(connection, answer(request as FillerRequest));
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
