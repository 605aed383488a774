import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { after, afterEach, before, test } from 'node:test';
import { createLogger } from '../../../base/log/index.ts';
import type { NetworkEngine } from '../../types.ts';
import { createFixture, eventually, inPrivateNetns, shell, tried } from '../engine.fixture.ts';
import type { Fixture, Pod } from '../engine.fixture.ts';

/** Changes inside the network namespace of a running pod, on the real kernel. */
if (inPrivateNetns(import.meta.filename, 240_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  const lines: string[] = [];
  const log = createLogger({ level: 'info', stream: { write: (line: string) => void lines.push(line) } });
  const reported = (words: string): number => lines.filter((line) => line.includes(words)).length;
  before(async () => {
    fixture = createFixture();
    engine = await fixture.engine({ log });
  });
  after(async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });
  afterEach(() => engine.gc(new Set()));

  const attached = async (
    name: string,
  ): Promise<{ readonly pod: Pod; readonly id: string; readonly ip: string }> => {
    const pod = fixture.pod(name);
    const { ips } = await engine.attach(pod.request);
    await engine.setClass(pod.request.id, 'user');
    const ip = (ips[0]?.address ?? '').replace(/\/.*/u, '');
    await eventually(() => pings(ip));
    return { pod, id: pod.request.id, ip };
  };
  const pings = (ip: string): true | undefined =>
    tried(`busybox ping -c1 -W1 ${ip}`) === undefined ? undefined : true;
  const alterations = async (): Promise<string[]> =>
    (await engine.alterations()).map(
      ({ pod, interface: name, found }) => `${pod} ${name}: ${found.join(', ')}`,
    );
  const eventuallyAltered = async (
    isSo: (found: readonly string[]) => boolean,
  ): Promise<readonly string[]> => {
    for (const deadline = Date.now() + 15_000; ;) {
      const found = await alterations();
      if (isSo(found)) return found;
      assert.ok(Date.now() < deadline, `it is ${JSON.stringify(found)}`);
      await pause(50);
    }
  };
  const configuration = (pod: Pod): string =>
    `${pod.run('ip -o addr show dev eth0') ?? ''}${pod.run('ip route') ?? ''}${pod.run('ip -6 route show default') ?? ''}${pod.run('ip -o link show eth0') ?? ''}`;

  test('a flushed address is reported, stays missing, and is restored on request', async () => {
    const { pod, id, ip } = await attached('flushed');
    const made = configuration(pod);
    pod.run('ip addr flush dev eth0');
    const [found = ''] = await eventuallyAltered((each) => each.length > 0);
    // The IPv6 route exists without an address.
    assert.ok(
      found.startsWith(
        `default/flushed eth0: the address ${ip}/24 is missing, the address fd00:88::2/64 is missing, the route to 0.0.0.0/0 by 10.88.0.1 is missing`,
      ),
      found,
    );
    assert.deepEqual(await engine.gc(new Set([id])), { restored: [], lost: [], altered: [id] });
    assert.equal(pings(ip), undefined, 'a pod that may change it has changed it');
    assert.equal((await engine.figures()).linksAltered, 1);
    assert.deepEqual(await engine.gc(new Set([id]), { altered: true }), { restored: [], lost: [] });
    assert.equal(pings(ip), true);
    assert.equal(configuration(pod), made);
    assert.deepEqual(await alterations(), []);
  });

  test('a pod with its own network stack removes the addresses of its end, which is not reported', async () => {
    const own = fixture.pod('own-stack');
    await engine.attach({ ...own.request, ownStack: true });
    const { pod, id } = await attached('other-stack');
    for (const each of [own, pod]) each.run('ip addr flush dev eth0');
    const found = await eventuallyAltered((each) => each.length > 0);
    assert.deepEqual(
      found.map((each) => each.split(' ')[0]),
      ['default/other-stack'],
    );
    const valid = new Set([own.request.id, id]);
    await engine.gc(valid, { altered: true });
    assert.doesNotMatch(own.run('ip -o -4 addr show dev eth0') ?? '', /inet/);
  });

  test('a link that is down, has another name or MAC address, or lost its default route is reported until it is restored', async () => {
    const { pod, id, ip } = await attached('changed');
    const made = configuration(pod);
    pod.run('ip link set eth0 down');
    await eventuallyAltered(([found]) => found?.includes('eth0: it is down') === true);
    pod.run('ip link set eth0 up');
    pod.run('ip route add default via 10.88.0.1');
    for (const six of [
      `addr add fd00:88::${ip.split('.').at(-1) ?? ''}/64 dev eth0 nodad`,
      'route add default via fd00:88::1',
    ])
      pod.run(`ip -6 ${six}`);
    await eventuallyAltered((found) => found.length === 0);
    assert.ok(reported('matches its record again') >= 1);
    pod.run('ip route del default');
    assert.deepEqual(await eventuallyAltered((found) => found.length > 0), [
      'default/changed eth0: the route to 0.0.0.0/0 by 10.88.0.1 is missing',
    ]);
    pod.run("sh -c 'ip link set eth0 down; ip link set eth0 name mine0 address 02:00:00:00:00:09'");
    await eventuallyAltered(([found]) =>
      /has the name mine0, it is down, its MAC address is 02:00:00:00:00:09/u.test(found ?? ''),
    );
    await engine.gc(new Set([id]), { altered: true });
    assert.equal(configuration(pod), made);
    await eventually(() => pings(ip));
  });

  test('a change is noticed at a start, and the start does not undo it', async () => {
    const { pod, id } = await attached('before');
    await engine.close({ removeAll: true });
    pod.run('ip route del default');
    engine = await fixture.engine({ log });
    await engine.gc(new Set([id]));
    await eventuallyAltered((found) => found.length === 1);
    assert.doesNotMatch(pod.run('ip route') ?? '', /default/u);
  });

  test('additions of a pod are not reported, and a pod that changes its end again and again is checked less and less often', async () => {
    const { pod } = await attached('restless');
    pod.run('ip addr add 192.0.2.1/24 dev eth0');
    pod.run('ip link add own0 type bridge');
    const before = reported("the pod's end of its link");
    for (const deadline = performance.now() + 6000; performance.now() < deadline;) {
      pod.run("sh -c 'ip route del default; ip route add default via 10.88.0.1'");
      pod.run("sh -c 'ip route del default'");
      await pause(600);
      pod.run("sh -c 'ip route add default via 10.88.0.1'");
      await pause(600);
    }
    // At once, and after 1, 3 and 7 seconds.
    assert.ok(
      reported("the pod's end of its link") - before <= 4,
      String(reported("the pod's end of its link") - before),
    );
    await eventuallyAltered((found) => found.length === 0);
  });

  test('a link that was lost and created again is not reported as changed', async () => {
    const { pod, ip } = await attached('gone');
    shell(`ip link del ${(await engine.linkState(pod.request.id))?.hostInterface ?? ''}`);
    await eventually(() => pings(ip));
    assert.deepEqual(await alterations(), []);
  });
}
