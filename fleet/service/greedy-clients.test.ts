import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { it } from 'node:test';
import { access, startFleet } from '../fleet.fixture.ts';

it('a client without a token that sends very many requests before it reads is disconnected', async (t) => {
  const { url } = await startFleet(t, { access });
  const client = connect(Number(new URL(url).port), '127.0.0.1');
  t.after(() => client.destroy());
  client.on('error', () => undefined);
  await once(client, 'connect');
  client.pause();
  client.write('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(2000));
  const closed = new Promise((resolve) => client.once('close', resolve));
  let text = '';
  client.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  client.resume();
  // An idle connection stays open for two minutes.
  await Promise.race([
    closed,
    new Promise((_resolve, reject) => setTimeout(reject, 5000, new Error('it is not disconnected')).unref()),
  ]);
  assert.ok(text.split('HTTP/1.1 200').length <= 33);
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
});
