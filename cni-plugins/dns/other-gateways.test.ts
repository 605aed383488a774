import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { createLogger } from '../../base/log/index.ts';
import { openNetworkDatabase } from '../database/database.ts';
import { createNameStore } from '../database/endpoint-names.ts';
import { createPodResolver } from '../database/pod-resolver.ts';
import { inPrivateNetns } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import { startNameServer } from './name-server.ts';

/** A pod names the gateway of a network that it is not on as its name server. */
if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  const { folder, databasePath, pin, add } = fixture;
  const run = promisify(execFile);
  const address = '169.254.20.10';
  const conf = (net: number): ReturnType<typeof bridgeConf> =>
    bridgeConf({
      bridge: `br${net}`,
      ipMasq: true,
      ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: `10.${net}.0.0/24` }]] },
    });
  const pods = { front: pin('web'), back: pin('db') };
  const database = openNetworkDatabase(databasePath);
  const attachments = database.db.prepare(
    'SELECT number, realm AS namespaceId FROM attachment WHERE network = ?',
  );
  for (const [network, net, id] of [
    ['front', 71, 'web'],
    ['back', 72, 'db'],
  ] as const) {
    const { ips } = await add([conf(net)], { id, netns: pods[network], name: 'eth0', network });
    const { number, namespaceId } = attachments.get(network) as { number: number; namespaceId: string };
    createNameStore(database).put({ namespaceId, network, holder: `${id}/test`, attachment: number }, [
      { name: id, address: ips[0]?.address.replace(/\/.*/u, '') ?? '', kind: 'container' },
    ]);
    if (network === 'front') createPodResolver(database, namespaceId).ask(id, network, ['10.72.0.1']);
  }
  const [resolvConf, kubeconfig] = [join(folder, 'resolv.conf'), join(folder, 'kubeconfig')];
  for (const file of [resolvConf, kubeconfig]) writeFileSync(file, '');
  const server = await startNameServer(
    {
      databasePath,
      ttl: 5,
      upstreams: [],
      maxForwards: 100,
      resolvConf,
      cluster: { place: { kubeconfig }, address, domain: 'cluster.local', podNames: true },
    },
    createLogger({ level: 'silent' }),
  );
  after(async () => {
    await server.close();
    database.close();
    await fixture.end();
  });
  const script = `const resolver = new (require('node:dns').promises.Resolver)({ tries: 1, timeout: 5000 });
resolver.setServers([process.argv[1]]);
resolver.resolve4(process.argv[2]).then(
  (found) => console.log(found.join()),
  ({ code }) => console.log(code),
);`;
  const resolve = async (netns: string, at: string, name: string): Promise<string> =>
    (await run('nsenter', [`--net=${netns}`, process.execPath, '--eval', script, at, name])).stdout.trim();

  test('a pod learns no names of networks that it is not on', async () => {
    assert.equal(await resolve(pods.back, '10.72.0.1', 'db'), '10.72.0.2');
    for (const at of ['10.71.0.1', address])
      for (const name of ['db', 'db.back'])
        assert.equal(await resolve(pods.front, at, name), 'ESERVFAIL', `${name} at ${at}`);
    assert.equal(await resolve(pods.front, address, 'web'), '10.71.0.2');
  });
}
