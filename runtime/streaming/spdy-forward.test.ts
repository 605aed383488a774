import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { serveSpdyForward } from './spdy-forward.ts';
import { controlFrame, createFrameParser, frameTypes, resetCodes } from './spdy/frames.ts';
import { createHeaderWriter } from './spdy/header-block.ts';

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

test('a stream that the client resets before its pair is complete is not waited for', async (t) => {
  const server = createServer((socket) => {
    const plan = { kind: 'portforward', sandbox: 'pod', ports: [] } as const;
    void serveSpdyForward({ socket, head: Buffer.alloc(0), plan });
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.after(() => client.destroy());
  const parse = createFrameParser();
  const answered = new Promise<void>((resolve) =>
    client.on('data', (chunk: Buffer) => {
      for (const frame of parse(chunk))
        if (frame.kind === 'control' && frame.type === frameTypes.ping) resolve();
    }),
  );
  const before = timers();
  const headers = createHeaderWriter();
  for (let pair = 0; pair < 100; pair += 1) {
    const id = 2 * pair + 1;
    const type = pair % 2 === 0 ? 'error' : 'data';
    const named = headers(
      new Map([
        ['streamtype', type],
        ['port', '80'],
        ['requestid', String(pair)],
      ]),
    );
    client.write(controlFrame(frameTypes.synStream, 0, id, 0, Buffer.alloc(2), named));
    client.write(controlFrame(frameTypes.rstStream, 0, id, resetCodes.cancel));
  }
  client.write(controlFrame(frameTypes.ping, 0, 1));
  await answered;
  assert.equal(timers(), before);
});
