import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import { codeOf, json, openPods, shell } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';

if (inPrivateNetns(import.meta.filename)) {
  const pods = openPods();
  after(() => pods.end());
  let devices = 0;
  const device = (): string => {
    devices += 1;
    shell(
      `ip link add d${devices} mtu 1400 address 02:00:00:00:01:0${devices} type veth peer name e${devices}; ip link set e${devices} up`,
    );
    return `d${devices}`;
  };
  const inPod = (pod: TestPod): unknown =>
    json(pod.run('ip -j addr show dev eth0')).map(({ mtu, addr_info, flags }) => ({
      mtu,
      flags,
      addresses: (addr_info as Record<string, unknown>[])
        .filter(({ scope }) => scope === 'global')
        .map(({ family, local, prefixlen }) => ({ family, local, prefixlen })),
    }));
  const inHost = (name: string): unknown =>
    json(shell(`ip -j link show dev ${name}`)).map(({ mtu, flags, operstate }) => ({
      mtu,
      flags,
      operstate,
    }));
  const ipam = {
    type: 'static',
    addresses: [{ address: '10.20.0.2/24', gateway: '10.20.0.1' }],
    routes: [{ dst: '0.0.0.0/0' }],
  };

  test("it moves a device and brings it back as Debian's plugin does", async () => {
    const [ours, theirs] = [pods.pod('a'), pods.pod('b')];
    const [mine, other] = [device(), device()];
    const [config, foreign] = [
      { type: 'host-device', device: mine, ipam },
      { type: 'host-device', device: other, ipam },
    ];
    const result = await ours.add(config);
    const expected = theirs.debian('ADD', foreign);
    assert.deepEqual(inPod(ours), inPod(theirs));
    assert.equal(ours.run('ip route'), theirs.run('ip route'));
    assert.deepEqual(
      [result.ips, result.routes, result.interfaces[0]?.name],
      [expected?.ips, expected?.routes, expected?.interfaces[0]?.name],
    );
    assert.equal(result.interfaces[0]?.mac, '02:00:00:00:01:01');
    assert.match(ours.run('ip link show eth0'), new RegExp(`alias ${mine}`, 'u'));
    assert.deepEqual(await ours.check(config), []);
    await ours.del(config);
    theirs.debian('DEL', foreign);
    assert.deepEqual(inHost(mine), inHost(other));
    // Debian's version leaves the alias, newer ones remove it.
    assert.doesNotMatch(shell(`ip link show ${mine}`), /alias/u);
  });

  for (const [label, fields] of [
    ['its MAC address', { hwaddr: '02:00:00:00:01:03' }],
    ['its name before its MAC address', { device: 'd4', hwaddr: '02:00:00:00:01:03' }],
  ] as const)
    test(`a device by ${label}`, async () => {
      const name = device();
      const pod = pods.pod(name);
      const result = await pod.add({ type: 'host-device', ...fields });
      assert.equal(result.interfaces[0]?.mac, json(pod.run('ip -j link show eth0'))[0]?.['address']);
      assert.match(pod.run('ip link show eth0'), new RegExp(`alias ${name}`, 'u'));
      await pod.del({ type: 'host-device' });
      assert.ok(shell(`ip link show ${name}`));
    });

  test('a device is moved back even if the host uses its name in the pod, and changes by the pod are undone', async () => {
    const name = device();
    shell('ip link add eth0 type ifb');
    const pod = pods.pod('same');
    const config = { type: 'host-device', device: name };
    await pod.add(config);
    pod.run('ip link set eth0 address 02:00:00:00:0f:0f mtu 1000');
    assert.match((await pod.check(config)).join('; '), /MAC address/u);
    await pod.del(config);
    assert.match(shell(`ip link show ${name}`), /mtu 1400[^]*02:00:00:00:01:05/u);
    shell('ip link del eth0');
  });

  test('an incomplete move is finished, or undone', async () => {
    const name = device();
    const pod = pods.pod('half');
    const config = { type: 'host-device', device: name };
    await pod.add(config);
    // As when the process died between the move and the new name.
    pod.run('ip link set eth0 down');
    pod.run(`ip link set eth0 name ${name}`);
    await pod.repair(config);
    assert.deepEqual(await pod.check(config), []);
    pod.run('ip link set eth0 down');
    pod.run(`ip link set eth0 name ${name}`);
    await pod.del(config);
    assert.doesNotMatch(shell(`ip link show ${name}`), /alias/u);
  });

  test('a device whose namespace ended gets its name back', async () => {
    const name = device();
    const pod = pods.pod('dead');
    const config = { type: 'host-device', device: name };
    await pod.add(config);
    pod.die();
    // A virtual device ends with its namespace. A hardware device falls back to the host under a name that
    // the kernel chooses: this virtual device replaces it.
    shell(
      `ip link del e7; ip link add dev7 mtu 1200 address 02:00:00:00:01:07 type ifb; ip link set dev7 alias ${name} up`,
    );
    await pod.delDead(config);
    assert.match(shell(`ip link show ${name}`), /02:00:00:00:01:07/u);
    assert.doesNotMatch(shell(`ip link show ${name}`), /alias|UP/u);
  });

  test('a device that cannot be moved stays as it is', async () => {
    shell('ip link add br9 type bridge; ip link set br9 up; ip addr add 10.88.0.1/24 dev br9');
    const before = shell('ip -4 -o addr show br9');
    const pod = pods.pod('immovable');
    const config = { type: 'host-device', device: 'br9' };
    assert.equal(await codeOf(() => pod.add(config)), 'NETWORK_KERNEL_EINVAL');
    await pod.del(config);
    assert.equal(shell('ip -4 -o addr show br9'), before);
    assert.doesNotMatch(shell('ip link show br9'), /alias/u);
  });

  test('the loopback device of the host is refused, and that of the pod stays', async () => {
    const pod = pods.pod('loopback');
    const config = { type: 'host-device', device: 'lo' };
    for (let attempt = 0; attempt < 2; attempt += 1)
      assert.equal(await codeOf(() => pod.add(config)), 'NETWORK_KERNEL_EINVAL');
    await pod.del(config);
    assert.match(pod.run('ip link show lo'), /UP/u);
    assert.doesNotMatch(shell('ip link show lo'), /alias/u);
  });

  test('impossible settings are refused, and the device stays', async () => {
    const name = device();
    const pod = pods.pod('refused');
    for (const [config, code] of [
      [{ type: 'host-device', device: 'nowhere' }, 'NETWORK_DEVICE_MISSING'],
      [{ type: 'host-device', hwaddr: '02:00:00:00:99:99' }, 'NETWORK_DEVICE_MISSING'],
      [{ type: 'host-device', pciBusID: '0000:ff:1f.7' }, 'NETWORK_DEVICE_MISSING'],
      [{ type: 'host-device', kernelpath: '/sys/devices/none' }, 'NETWORK_DEVICE_MISSING'],
      [
        { type: 'host-device', device: name, runtimeConfig: { deviceID: '0000:ff:1f.7' } },
        'NETWORK_DEVICE_MISSING',
      ],
    ] as const)
      assert.equal(await codeOf(() => pod.add(config)), code, JSON.stringify(config));
    pod.run('ip link add eth0 type ifb');
    assert.equal(
      await codeOf(() => pod.add({ type: 'host-device', device: name })),
      'NETWORK_INTERFACE_TAKEN',
    );
    await pod.del({ type: 'host-device' });
    assert.ok(shell(`ip link show ${name}`));
    pod.run('ip link del eth0');
    await pod.add({ type: 'host-device', device: name });
    shell(`ip link add ${name} type ifb`);
    assert.equal(await codeOf(() => pod.del({ type: 'host-device' })), 'NETWORK_INTERFACE_TAKEN');
    assert.match(pod.run('ip link show eth0'), new RegExp(`alias ${name}`, 'u'));
    shell(`ip link del ${name}`);
    await pod.del({ type: 'host-device' });
    assert.ok(shell(`ip link show ${name}`));
  });

  shell('ip link add taken type ifb');
  for (const [what, command] of [
    ['removed its alias', `ip link set eth0 alias ''`],
    ['gave it another alias', 'ip link set eth0 alias lo'],
    ['renamed it', 'ip link set eth0 down name net7'],
    ['renamed it and removed its alias', `ip link set eth0 down name net7 alias ''`],
    [
      'renamed it and put a link of its own there',
      `sh -c 'ip link set eth0 down name net7; ip link add eth0 type ifb; ip link set eth0 alias NAME'`,
    ],
    ['gave it a name that the host has', 'ip link property add dev eth0 altname taken'],
    ['gave it its name on the host', 'ip link property add dev eth0 altname NAME'],
    ['gave it a name that the host may need', 'ip link property add dev eth0 altname cni9'],
    ['removed its further name', 'ip link property del dev eth0 altname own-NAME'],
  ] as const)
    test(`a device is moved back from a pod that ${what}`, async () => {
      const name = device();
      shell(`ip link property add dev ${name} altname own-${name}`);
      const mac = json(shell(`ip -j link show ${name}`))[0]?.['address'];
      const pod = pods.pod(name);
      const config = { type: 'host-device', device: name };
      await pod.add(config);
      pod.run(command.replaceAll('NAME', name));
      await pod.del(config);
      assert.equal(json(shell(`ip -j link show ${name}`))[0]?.['address'], mac);
      assert.doesNotMatch(shell(`ip link show ${name}`), /alias|UP/u);
      assert.deepEqual(json(shell(`ip -j link show ${name}`))[0]?.['altnames'], [`own-${name}`]);
    });

  test('a device that returned by itself gets its name back, which the pod had given it as a further one', async () => {
    const name = device();
    const pod = pods.pod(name);
    const config = { type: 'host-device', device: name };
    await pod.add(config);
    pod.run(`ip link property add dev eth0 altname ${name}`);
    // The kernel moves hardware so when the namespace of the pod ends.
    pod.run(`ip link set eth0 netns ${process.pid}`);
    await pod.del(config);
    assert.doesNotMatch(shell(`ip link show ${name}`), /alias|altname|eth0|UP/u);
  });
}
