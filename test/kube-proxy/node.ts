/**
 * One of the compared nodes: a process in a network namespace of its own, with its ends, its proxy, and an
 * API server for it. Its parent sends it calls.
 */
import { once } from 'node:events';
import { startApi } from './api.ts';
import { openNetwork } from './network.ts';
import type { Call, NodeOptions } from './nodes.ts';
import { prepareProxy } from './proxies.ts';

const ends = await openNetwork();
process.send?.('ready');
const [options] = (await once(process, 'message')) as [NodeOptions];
const api = await startApi();
const proxy = prepareProxy({ ...options, server: `http://127.0.0.1:${api.port}` });
proxy.start();

async function follow(call: Call): Promise<unknown> {
  if (call.on === 'proxy') return call.verb === 'kill' ? proxy.kill() : proxy.start();
  if (call.on === 'api') return api[call.verb](...call.with);
  const end = ends.get(call.on.slice('end '.length));
  if (end === undefined) throw new Error(`there is no ${call.on}`);
  return (end[call.verb] as (...given: readonly unknown[]) => Promise<unknown>)(...call.with);
}
process.on('message', (call: Call) => {
  follow(call).then(
    (answer) => process.send?.({ id: call.id, answer }),
    (thrown: unknown) => process.send?.({ id: call.id, failure: String(thrown) }),
  );
});
process.on('disconnect', () => process.exit());
