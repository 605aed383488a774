import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import { eventually, inPrivateNetns, shell, startFixture, tried } from '../engine/engine.fixture.ts';
import { hostInterfaceOf } from '../database/record.ts';

/** A third-party port of the bridge: an uplink that the administrator added, or a tunnel. */
if (inPrivateNetns(import.meta.filename)) {
  const { fixture, engine } = await startFixture();

  test('a machine on the bridge that is not a pod does not reach the host’s loopback', async () => {
    await engine.attach(fixture.pod('present').request);
    const other = fixture.pod('other');
    shell(`ip link add ext0 type veth peer name eth0 netns ${other.request.netns}`);
    shell('ip link set ext0 master cni0 up');
    other.run(
      `sh -c 'ip link set eth0 up; ip addr add 10.88.0.200/24 dev eth0; ip link set lo up; ip addr del 127.0.0.1/8 dev lo; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip route add 127.0.0.1 via 10.88.0.1 src 10.88.0.200'`,
    );
    const servers = await Promise.all(
      ['127.0.0.1', '10.88.0.1'].map(async (host) => {
        const server = createHttpServer((_request, response) => response.end()).listen(0, host);
        await once(server, 'listening');
        return { host, server, port: (server.address() as { readonly port: number }).port };
      }),
    );
    const reaches = async (url: string): Promise<boolean> => {
      const child = fixture.start(
        'nsenter',
        `--net=${other.request.netns}`,
        'timeout',
        '2',
        'busybox',
        'wget',
        '-q',
        '-O',
        '/dev/null',
        url,
      );
      const [code] = (await once(child, 'exit')) as [number | null];
      return code === 0;
    };
    const found = await Promise.all(servers.map(({ host, port }) => reaches(`http://${host}:${port}/`)));
    for (const { server } of servers) server.close();
    assert.deepEqual(found, [false, true]);
  });

  test('rules that another program flushes are restored without a request', async () => {
    const pod = fixture.pod('flushed');
    await engine.attach(pod.request);
    await engine.setClass(pod.request.id, 'none');
    shell('nft flush ruleset');
    await eventually(
      () => tried(`nft list map bridge portcullis egress | grep -q ${hostInterfaceOf(pod.request.id)}`),
      10_000,
    );
    assert.equal(pod.run('busybox ping -c1 -W1 10.88.0.1'), undefined);
  });
}
