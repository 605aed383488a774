import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import { openPluginEngine } from '../../cni-plugins/index.ts';
import { execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** A network that pods may request: all pods, so that its file is separate from the file of the stage. */
const network = (name: string, net: number): Record<string, unknown> => ({
  cniVersion: '1.0.0',
  name,
  podNamespaces: ['*'],
  plugins: [
    {
      type: 'portcullis-bridge',
      bridge: `names${net}`,
      isDefaultGateway: true,
      ipMasq: true,
      capabilities: { aliases: true },
      ipam: {
        type: 'portcullis-ipam',
        ranges: [[{ subnet: `10.${net}.0.0/24` }], [{ subnet: `fd00:${net}::/64` }]],
      },
    },
  ],
});

describe('names of networks', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    for (const [name, net] of [
      ['shop', 213],
      ['vault', 214],
    ] as const)
      writeFileSync(join(stage.folders.cniConf, `50-${name}.conflist`), JSON.stringify(network(name, net)));
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());

  const on = (
    networks: string,
    more: Record<string, string> = {},
  ): { annotations: Record<string, string> } => ({
    annotations: { 'k8s.v1.cni.cncf.io/networks': networks, ...more },
  });
  /**
   * Returns the sorted addresses that busybox resolves with the container's resolv.conf. Empty if the lookup
   * failed.
   */
  const lookUp = async (container: string, name: string, ...server: string[]): Promise<string[]> => {
    const { stdout } = await execute(stage, container, 'nslookup', name, ...server);
    const answer = stdout.slice(stdout.indexOf('Name:'));
    return stdout.includes('Name:')
      ? [...answer.matchAll(/^Address:?\s*\d*:?\s+([0-9a-f.:]+)$/gmu)]
          .map(([, address = '']) => address)
          .toSorted()
      : [];
  };
  const found = async (container: string, name: string): Promise<string[]> => {
    let addresses: string[] = [];
    for (let waited = 0; waited < 60_000 && addresses.length === 0; waited += 100) {
      addresses = await lookUp(container, name);
      if (addresses.length === 0) await pause(100);
    }
    return addresses;
  };
  const resolvConf = async (container: string): Promise<string> =>
    (await execute(stage, container, 'cat', '/etc/resolv.conf')).stdout;

  it('pods of a network resolve the names of each other, and no names of another network', async () => {
    const dnsConfig = { servers: ['127.0.0.1'], searches: ['svc.example'], options: ['ndots:2'] };
    const web = await runPod(stage, 'web', on('shop'));
    const safe = await runPod(stage, 'safe', on('vault'));
    const client = await runPod(stage, 'client', {
      ...on('shop', { 'portcullis.dev/dns': 'shop' }),
      dnsConfig,
    });
    const plain = await runPod(stage, 'plain', { ...on('shop'), dnsConfig });
    const [asking, unasked] = [
      await runContainer(stage, client, { image }),
      await runContainer(stage, plain, { image }),
    ];
    await runContainer(stage, web, { image });
    assert.equal(
      await resolvConf(asking),
      'search shop.portcullis.internal svc.example\nnameserver 10.213.0.1\nnameserver fd00:213::1\noptions ndots:2\n',
    );
    assert.equal(
      await resolvConf(unasked),
      'search svc.example\nnameserver 127.0.0.1\noptions ndots:2\n',
      'as its kubelet requested',
    );

    const addresses = await found(asking, 'web');
    assert.match(addresses.join(' '), /^10\.213\.0\.\d+ fd00:213::[0-9a-f]+$/u);
    assert.deepEqual(await lookUp(asking, 'web.shop.portcullis.internal'), addresses);
    assert.equal((await execute(stage, asking, 'ping', '-c', '1', '-W', '3', 'web')).exitCode, 0);
    assert.deepEqual(await lookUp(asking, 'safe.vault.portcullis.internal'), []);
    assert.deepEqual(
      await lookUp(asking, 'safe.vault.portcullis.internal', '10.214.0.1'),
      [],
      'nor by the other gateway',
    );
    await removePod(stage, web);
    assert.deepEqual(await lookUp(asking, 'web.shop.portcullis.internal'), [], 'a name ends with its pod');
    for (const pod of [safe, client, plain]) await removePod(stage, pod);
  });

  it('a daemon that was killed resolves names again, also those that plugins added meanwhile', async () => {
    const client = await runPod(stage, 'client', on('shop', { 'portcullis.dev/dns': 'shop' }));
    const asking = await runContainer(stage, client, { image });
    assert.equal((await found(asking, 'client')).length, 2);
    const netns = join(stage.folders.folder, 'guest');
    execFileSync('sh', ['-c', `touch ${netns} && unshare --net=${netns} true`]);
    const engine = openPluginEngine({
      databasePath: join(stage.folders.root, 'network.db'),
      log: createLogger({ level: 'error' }),
    });
    const [plugin] = network('shop', 213)['plugins'] as object[];
    const call = (verb: 'add' | 'del') =>
      engine.callPlugin({
        verb,
        type: 'portcullis-bridge',
        caller: {},
        key: { network: 'shop', containerId: 'guest', interface: 'eth0' },
        netns,
        args: {},
        path: [],
        config: JSON.stringify({
          cniVersion: '1.0.0',
          name: 'shop',
          ...plugin,
          runtimeConfig: { aliases: ['Front'] },
        }),
      });
    try {
      await stage.restart({ kill: true, meanwhile: async () => void (await call('add')) });
      const addresses = await found(asking, 'front');
      assert.equal(addresses.length, 2);
      assert.deepEqual(await lookUp(asking, 'guest.shop.portcullis.internal'), addresses);
      await call('del');
      assert.deepEqual(await lookUp(asking, 'front.shop.portcullis.internal'), []);
    } finally {
      await engine.close();
      spawnSync('umount', [netns]);
    }
    await removePod(stage, client);
  });

  it('a pod cannot resolve names of a network that it is not attached to', async () => {
    const refused = await failureOf(runPod(stage, 'astray', on('shop', { 'portcullis.dev/dns': 'vault' })));
    assert.equal(refused.code, 'NETWORK_NOT_ON_NETWORK');
    assert.match(refused.message, /vault/u);
    const pod: Pod = await runPod(stage, 'astray', on('shop', { 'portcullis.dev/dns': 'shop' }));
    await removePod(stage, pod);
  });
});
