import assert from 'node:assert/strict';
import { once } from 'node:events';
import { duplexPair } from 'node:stream';
import { describe, it } from 'node:test';
import { failure, isPortcullisError } from '../../../base/errors/index.ts';
import { createTtrpcClient, serveTtrpc, ttrpcHandler } from '../../../base/ttrpc/index.ts';
import type { TtrpcClient } from '../../../base/ttrpc/index.ts';
import { pluginMethods, runtimeMethods } from '../protocol/methods.ts';
import { multiplex } from '../protocol/multiplexer.ts';
import { openPlugin } from './connected-plugin.ts';
import type { ConnectedPlugin, PluginOptions } from './connected-plugin.ts';

const code = (expected: string) => (thrown: unknown) => isPortcullisError(thrown) && thrown.code === expected;

/** Connects a plugin that gives every call the same answer, and registers it. */
async function connected(
  answer: Buffer | (() => Promise<Buffer>),
  more: Partial<PluginOptions> = {},
): Promise<{ readonly plugin: ConnectedPlugin; readonly client: TtrpcClient }> {
  const [near, far] = duplexPair();
  const mux = multiplex(far, 'daemon');
  serveTtrpc(
    mux.plugin,
    [
      ttrpcHandler(pluginMethods.configure, () => ({ events: 0 })),
      ...[pluginMethods.updateContainer, pluginMethods.synchronize].map(({ service, name }) => ({
        service,
        name,
        serve: () => (typeof answer === 'function' ? answer() : Promise.resolve(answer)),
      })),
    ],
    { name: 'daemon' },
  );
  const client = createTtrpcClient(mux.runtime, { name: 'daemon' });
  const opening = openPlugin(near, {
    runtimeVersion: '1',
    timeouts: { registration: 60_000, request: 60_000 },
    configFor: () => Promise.resolve(''),
    admit: () => undefined,
    update: () => Promise.resolve({ failed: [] }),
    called: () => undefined,
    ...more,
  });
  await client.call(runtimeMethods.registerPlugin, { pluginName: 'p', pluginIdx: '10', nriVersion: 'v1' });
  return { plugin: await opening, client };
}

describe('a plugin', () => {
  const calls: Readonly<Record<string, (plugin: ConnectedPlugin) => Promise<unknown>>> = {
    updateContainer: (plugin) => plugin.call(pluginMethods.updateContainer, {}),
    synchronize: (plugin) => plugin.call(pluginMethods.synchronize, {}),
  };
  for (const [method, call] of Object.entries(calls))
    it(`that answers ${method} with a field of a newer NRI version is refused`, async () => {
      const { plugin } = await connected(Buffer.from([0x78, 1]));
      await assert.rejects(call(plugin), (thrown) => {
        assert.ok(code('NRI_UNSUPPORTED')(thrown), String(thrown));
        assert.match(String(thrown), /field "15".*10-p/);
        return true;
      });
      plugin.close();
    });

  it('that sends an update with a field of a newer NRI version is refused', async () => {
    const { plugin, client } = await connected(Buffer.alloc(0));
    const raw = {
      ...runtimeMethods.updateContainers,
      request: { ...runtimeMethods.updateContainers.request, encode: () => Buffer.from([0x78, 1]) },
    };
    await assert.rejects(client.call(raw, {}), /field "15"/);
    plugin.close();
  });

  it('has a limited number of updates that do not end, even if it does not wait for them', async () => {
    let running = 0;
    const more = Promise.withResolvers<never>();
    const { plugin, client } = await connected(Buffer.alloc(0), {
      update: async (_plugin, _request, signal) => {
        running += 1;
        await once(signal, 'abort');
        return more.promise;
      },
    });
    const update = () => client.call(runtimeMethods.updateContainers, { update: [] }, { timeoutMs: 50 });
    for (let round = 0; round < 3; round += 1)
      await Promise.allSettled(Array.from({ length: 8 }, () => update()));
    assert.equal(running, 8);
    await assert.rejects(update(), /RESOURCE_EXHAUSTED|have not ended/);
    plugin.close();
  });

  for (const [what, ms, request, expected, outcome] of [
    ['after the timeout', 60, 40, 'NRI_PLUGIN_LOST', 'timeout'],
    ['before the timeout', 0, 60_000, 'NRI_PLUGIN_REFUSED', 'refused'],
  ] as const)
    it(`that reports an exceeded deadline ${what} ${outcome === 'timeout' ? 'is lost' : 'has refused the request'}`, async () => {
      const outcomes: string[] = [];
      const { plugin } = await connected(
        async () => {
          // This blocks the thread, so that the timer of the caller cannot end the call.
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
          return Promise.reject(
            failure('P_DEADLINE', 'deadline', 'change', 'it', 'its deadline is exceeded', 'try again'),
          );
        },
        {
          timeouts: { registration: 60_000, request },
          called: (_method, how) => void outcomes.push(how),
        },
      );
      await assert.rejects(plugin.call(pluginMethods.updateContainer, {}), code(expected));
      assert.deepEqual(outcomes, [outcome]);
      plugin.close();
    });
});
