import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { createLogger } from '../../../base/log/index.ts';
import { createFixture, inPrivateNetns } from '../../engine/engine.fixture.ts';
import type { Pod } from '../../engine/engine.fixture.ts';
import { readServices } from '../description/read.ts';
import type { RefusedService } from '../model/model.ts';
import { startServices } from './services.ts';

/** A port of the host belongs to a service or to a pod, whichever comes first. */
if (inPrivateNetns(import.meta.filename)) {
  test('a pod cannot take the node port of a service, and a service cannot take the host port of a pod', async () => {
    const fixture = createFixture();
    const engine = await fixture.engine();
    const start = (): ReturnType<typeof startServices> =>
      startServices(
        { databasePath: fixture.databasePath, balancer: 'nftables' },
        createLogger({ level: 'error' }),
      );
    let services = await start();
    try {
      const put = async (name: string, port: string): Promise<readonly RefusedService[]> => {
        const text = `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\nports: [${port}]\ndrainGrace: 0s\nbackends: [10.88.0.9]\n`;
        const { described, problems } = readServices([{ file: name, text }]);
        assert.deepEqual(problems, []);
        return services.put(
          'command',
          described.map(({ service }) => service),
        );
      };
      const pod = (name: string, hostPort: number, protocol: 'tcp' | 'udp' = 'tcp', hostIp = ''): Pod =>
        fixture.pod(name, {
          portMappings: [{ protocol, containerPort: 80, hostPort, ...(hostIp !== '' && { hostIp }) }],
        });
      const isRefused = async (each: Pod): Promise<void> =>
        assert.rejects(engine.attach(each.request), (thrown: unknown) => {
          assert.ok(isPortcullisError(thrown) && thrown.code === 'NETWORK_HOST_PORT_TAKEN', String(thrown));
          assert.match(thrown.message, /the service shop\/web uses it as a node port/u);
          return true;
        });

      assert.deepEqual(await put('shop/web', '{ port: 80, nodePort: 30080 }'), []);
      await isRefused(pod('one', 30_080));
      await isRefused(pod('two', 30_080, 'tcp', '127.0.0.1'));
      const udp = pod('udp', 30_080, 'udp');
      await engine.attach(udp.request);
      const [refused] = await put('dns', '{ port: 53, protocol: udp, nodePort: 30080 }');
      assert.deepEqual([refused?.code, refused?.field], ['NETWORK_SERVICE_ADDRESS_TAKEN', 'ports']);
      assert.match(
        refused?.why ?? '',
        /^the node port 30080\/udp belongs to pod default\/udp \(sandbox udp0+\)/u,
      );
      await engine.detach(udp.request.id);
      await comesAbout(
        async () => (await put('dns', '{ port: 53, protocol: udp, nodePort: 30080 }')).length === 0,
      );

      // The claim lasts across a restart, and ends with the service.
      await services.close();
      await isRefused(pod('three', 30_080));
      services = await start();
      await isRefused(pod('four', 30_080));
      await services.remove('command', ['shop/web', 'dns']);
      await comesAbout(async () => (await services.figures()).virtualServers === 0);
      await engine.attach(pod('five', 30_080).request);
    } finally {
      await services.close();
      await engine.close({ removeAll: true });
      fixture.end();
    }
  });
}

async function comesAbout(holds: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; !(await holds());) {
    assert.ok(Date.now() < deadline, `the condition was not met in time: ${holds.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
