import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { createLogger } from '../../base/log/index.ts';
import { openNetworkDatabase } from '../database/database.ts';
import { createNameStore } from '../database/endpoint-names.ts';
import { createPodResolver } from '../database/pod-resolver.ts';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import { startNameServer } from './name-server.ts';

/** Answers a question for `example.org` with the address 192.0.2.7, and others with SERVFAIL. */
const routerScript = `const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (query, { port, address }) => {
  query.writeUInt16BE(0x8182, 2);
  if (!query.includes('example')) return socket.send(query, port, address);
  const answer = Buffer.concat([query, Buffer.from('c00c000100010000000a0004c0000207', 'hex')]);
  answer.writeUInt16BE(0x8580, 2);
  answer.writeUInt16BE(1, 6);
  answer.writeUInt16BE(0, 10);
  socket.send(answer, port, address);
});
socket.bind(53, '10.73.0.254', () => console.log('bound'));`;

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
  const pods = { front: pin('web'), back: pin('db'), lan: pin('lan') };
  // A router on a network, whose address no interface of this host has. It also answers DNS questions.
  const router = pin('router');
  const routerAddress = '10.73.0.254';
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
  const onLan = await add(
    [
      bridgeConf({
        ...{ bridge: 'br73', isDefaultGateway: false, ipMasq: false },
        ipam: {
          type: 'portcullis-ipam',
          ranges: [[{ subnet: '10.73.0.0/24', rangeEnd: '10.73.0.99', gateway: routerAddress }]],
        },
      }),
    ],
    { id: 'lan', netns: pods.lan, name: 'eth0', network: 'lan' },
  );
  const lan = attachments.get('lan') as { number: number; namespaceId: string };
  createNameStore(database).put(
    { namespaceId: lan.namespaceId, network: 'lan', holder: 'lan/test', attachment: lan.number },
    [{ name: 'lan', address: onLan.ips[0]?.address.replace(/\/.*/u, '') ?? '', kind: 'container' }],
  );
  shell(`ip address add 10.73.0.253/24 dev br73
    nsenter --net=${router} ip link add router1 type veth peer name router0 netns ${process.pid}
    ip link set router0 master br73 up
    nsenter --net=${router} ip address add ${routerAddress}/24 dev router1
    nsenter --net=${router} ip link set router1 up`);
  const answering = spawn('nsenter', [`--net=${router}`, process.execPath, '--eval', routerScript], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(answering.stdout, 'data');
  const [resolvConf, kubeconfig] = [join(folder, 'resolv.conf'), join(folder, 'kubeconfig')];
  writeFileSync(resolvConf, `nameserver ${routerAddress}\n`);
  writeFileSync(kubeconfig, '');
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
    answering.kill();
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

  test('a gateway that is not of this host can be the name server of the node', async () => {
    for (const at of ['10.72.0.1', address])
      assert.equal(await resolve(pods.back, at, 'example.org'), '192.0.2.7', at);
  });
}
