import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFixture, inPrivateNetns, shell } from '../engine/engine.fixture.ts';

if (inPrivateNetns(import.meta.filename, 240_000)) {
  const details = (link: string): string => shell(`ip -d link show dev ${link}`);

  test('a pod is attached whatever happened to the bridge since the last attachment', async () => {
    const fixture = createFixture();
    const engine = await fixture.engine();
    const attach = async (name: string): Promise<string> => {
      const pod = fixture.pod(name);
      const { hostInterface, ips } = await engine.attach(pod.request);
      assert.match(
        pod.run('ip -o address show dev eth0') ?? '',
        new RegExp(`inet ${ips[0]?.address ?? 'none'} `, 'u'),
      );
      assert.match(pod.run('ip -o route') ?? '', /^default via 10\.88\.0\.1 dev eth0/u);
      assert.match(
        details(hostInterface),
        /bridge_slave state forwarding/u,
        `${name}: ${details(hostInterface)}`,
      );
      return hostInterface;
    };
    const first = await attach('first');
    // By default the kernel creates a queue per processor at each end.
    assert.match(details(first), /numtxqueues 1 .*numrxqueues 1 /u);
    assert.match(details('cni0'), /,UP/u);

    shell('ip link set cni0 down');
    await attach('after-down');
    shell('ip link del cni0');
    await attach('after-removal');
    // The engine recreates the bridge as well, once it notices the loss.
    shell('until ip link del cni0; ip link add cni0 type bridge; do :; done 2>/dev/null');
    await attach('after-another-was-made');

    await engine.gc(new Set());
    await engine.close({ removeAll: true });
    fixture.end();
  });

  test('a detached link is off its bridge, down and marked before the next call is served', async () => {
    const fixture = createFixture();
    const engine = await fixture.engine();
    const pod = fixture.pod('gone', {
      portMappings: [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }],
    });
    const { hostInterface } = await engine.attach(pod.request);
    await engine.detach(pod.request.id);
    // Its host port is free at once; its link may exist for a moment longer.
    const next = fixture.pod('next', {
      portMappings: [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }],
    });
    const { ips } = await engine.attach(next.request);
    assert.equal(ips.length, 2);
    const left = shell(`ip -d link show dev ${hostInterface} 2>/dev/null || true`);
    if (left !== '') {
      assert.doesNotMatch(left, /master|,UP/u);
      assert.match(left, /group 1885536259/u);
    }
    await engine.gc(new Set());
    await engine.close({ removeAll: true });
    fixture.end();
  });
}
