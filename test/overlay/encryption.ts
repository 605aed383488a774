import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { harmless, startCapture } from './capture.ts';
import type { Capture } from './capture.ts';
import { forgedFrame } from './forged.ts';
import { createHosts, etcdTool, hasWireguard, openStreams, shell, until } from './hosts.ts';
import type { Host, Hosts, Pod } from './hosts.ts';
import type { StreamReport } from './pod.ts';

/**
 * `npm run test:vm -- encryption`: three hosts that encrypt, one that does not, and an attacker who sees
 * their traffic and sends packets to it.
 */

const limitMs = 1_800_000;
/**
 * Longer than a machine ever stalls; an emulated machine that shares its processors stalls for a while, too.
 */
const silenceMs = process.env['IN_VM'] === undefined ? 30_000 : 120_000;
/** Answers that may be in flight to a stream. */
const underWay = 3;
const kills = Number(process.env['PORTCULLIS_OVERLAY_KILLS'] ?? 12);

const skip =
  etcdTool.skip !== false
    ? etcdTool.skip
    : !hasWireguard() && 'this kernel has no WireGuard: npm run test:vm -- encryption';

describe('hosts that encrypt', { skip, timeout: 7_200_000 }, () => {
  let all: Hosts;
  let wire: Capture;
  const pods: Pod[] = [];
  const figures: string[] = [];
  const encrypted = (): readonly Host[] => all.hosts.slice(0, 3);

  const wait = (what: string, condition: () => Promise<boolean> | boolean): Promise<number> =>
    until(what, condition, limitMs);
  const knowEachOther = async (hosts: readonly Host[]): Promise<void> => {
    for (const host of hosts)
      await wait(`${host.name} knows the others`, async () => {
        const { state, peers } = await host.status();
        const names = new Set(
          peers
            .filter(({ subnets, unreachable }) => subnets.length === 2 && unreachable === undefined)
            .map((peer) => peer.host),
        );
        return state === 'connected' && hosts.every(({ name }) => name === host.name || names.has(name));
      });
  };
  const reach = (from: Pod, to: Pod): Promise<unknown> =>
    Promise.all(
      to.addresses.map((address) =>
        wait(
          `${from.name} reaches ${address}`,
          async () => (await from.ask<string[]>({ do: 'who', address, port: 7000, times: 1 }))[0] === to.name,
        ),
      ),
    );
  const reports = async (): Promise<Map<string, StreamReport>> => {
    const found = new Map<string, StreamReport>();
    for (const pod of pods)
      for (const [stream, report] of Object.entries(
        await pod.ask<Record<string, StreamReport>>({ do: 'report' }),
      ))
        found.set(`${pod.name} ${stream}`, report);
    return found;
  };
  /**
   * Waits until every stream has received an answer to something that was sent after this call, however long
   * that takes.
   */
  const allHeard = async (what: string): Promise<void> => {
    const before = await reports();
    let now = before;
    const measure = (): void => {
      longest = Math.max(longest, ...[...now.values()].map(({ longestSilenceMs }) => longestSilenceMs));
    };
    measure();
    await wait(`${what}: all streams are heard`, async () => {
      now = await reports();
      measure();
      // Answers that were in flight at the beginning prove nothing.
      return [...now].every(
        ([stream, { echoed, ended }]) =>
          ended !== undefined || echoed > (before.get(stream)?.echoed ?? 0) + underWay,
      );
    });
    for (const [stream, { ended }] of now) assert.equal(ended, undefined, `${what}: ${stream} ended`);
  };
  const unbroken = async (what: string): Promise<void> => {
    await allHeard(what);
    assert.ok(longest < silenceMs, `${what}: a stream was silent for ${longest.toFixed(0)} ms`);
    figures.push(
      `${what}: ${(await reports()).size} streams, none ended, longest silence ${longest.toFixed(0)} ms`,
    );
    longest = 0;
  };
  let longest = 0;
  /**
   * For use after the path itself was gone: TCP retries with growing delays, so the silence is not a measure.
   */
  const heardAgain = async (): Promise<void> => {
    await allHeard('the path is back');
    longest = 0;
  };
  const onlyTunnels = (what: string): void => {
    const taken = wire.taken();
    const strange = [...taken].filter(([kind]) => !harmless.has(kind));
    assert.deepEqual(strange, [], `${what}: seen on the wire`);
    assert.ok((taken.get('wireguard') ?? 0) > 0, `${what}: no tunnel was seen on the wire`);
    figures.push(`${what}: ${[...taken].map(([kind, count]) => `${count} ${kind}`).join(', ')}`);
  };

  /**
   * Sends a forged packet from the underlay to a pod: in VXLAN as if from a host, or unencapsulated with the
   * address of a pod.
   */
  const forge = async (text: string, from: string, to: Pod, host: Host): Promise<void> => {
    const frame = forgedFrame(host, from, to.addresses[0]!, text);
    const socket = createSocket('udp4');
    for (let times = 0; times < 3; times += 1) {
      await new Promise<void>((resolve) => socket.send(frame, 4789, host.underlay, () => resolve()));
      await sleep(100);
    }
    socket.close();
  };

  before(async () => {
    all = createHosts(4, { leaseSeconds: 60 });
    await all.startEtcd();
    for (const host of all.hosts) host.start();
    await knowEachOther(all.hosts);
    for (const host of all.hosts) pods.push(await host.attach(`pod-${host.name}`));
  });
  after(async () => {
    wire?.close();
    await all?.end();
    process.stdout.write(`${figures.map((line) => `encryption: ${line}`).join('\n')}\n`);
  });

  test('without encryption VXLAN goes over the wire, and any host on it can send to pods: the control for the next tests', async () => {
    wire = startCapture(new Set([51_820]));
    await reach(pods[0]!, pods[1]!);
    await wait('VXLAN is seen', () => (wire.taken().get('vxlan') ?? 0) > 0);
    const [, second] = pods as [Pod, Pod];
    await wait('a forged frame is heard', async () => {
      await forge('forged in plain', second.addresses[0]!, pods[0]!, all.hosts[0]!);
      return pods[0]!.ask<boolean>({ do: 'heard', text: 'forged in plain' });
    });
  });

  test('hosts turn on encryption one after the other, and streams continue', async () => {
    for (const [index, from] of pods.slice(0, 3).entries()) {
      const to = pods[(index + 1) % 3]!;
      await openStreams(from, to);
    }
    await wait('all streams run', async () =>
      [...(await reports()).values()].every(({ echoed }) => echoed > 20),
    );
    for (const host of encrypted()) {
      await host.kill();
      host.start({ encryption: 'wireguard' });
    }
    await knowEachOther(encrypted());
    for (const host of encrypted()) {
      assert.ok(
        !existsSync(`/proc/${host.pid}/root/sys/class/net/portcullis-vx`) ||
          host.run('ip -o link').includes('portcullis-wg'),
      );
      assert.doesNotMatch(host.run('ip -o link'), /portcullis-vx/u);
      assert.equal((await host.status()).mtu, 1440);
    }
    await heardAgain();
  });

  test('pods reach each other over IPv4 and IPv6, and the wire carries their traffic only as WireGuard', async () => {
    // The host that does not encrypt still sends: its packets are its own.
    await all.hosts[3]!.kill();
    all.hosts[3]!.run('ip link set eth0 down');
    wire.taken();
    for (const from of pods.slice(0, 3)) for (const to of pods.slice(0, 3)) await reach(from, to);
    await unbroken('encrypted');
    onlyTunnels('encrypted');
    all.hosts[3]!.run('ip link set eth0 up');
    all.hosts[3]!.run('ip route add default via 192.0.2.1');
  });

  test('a host without a key is excluded and reported; no packet from it is accepted, and no packet is sent to it', async () => {
    const [alone] = all.hosts.slice(3) as [Host];
    alone.start();
    await wait('the host without a key is reported', async () => {
      const { peers } = await all.hosts[0]!.status();
      return /has no key/u.test(peers.find(({ host }) => host === alone.name)?.unreachable ?? '');
    });
    await wait('and is reported', async () => {
      const { peers } = await alone.status();
      return peers.length === 3 && peers.every(({ unreachable }) => /it encrypts/u.test(unreachable ?? ''));
    });
    wire.taken();
    for (const [from, to] of [
      [pods[0]!, pods[3]!],
      [pods[3]!, pods[0]!],
    ] as const)
      assert.match(
        (await from.ask<string[]>({ do: 'who', address: to.addresses[0]!, port: 7000, times: 1 }))[0]!,
        /error/u,
      );
    const strange = [...wire.taken()].filter(([kind]) => kind === 'vxlan');
    assert.deepEqual(strange, []);
    const [second] = pods.slice(1) as [Pod];
    await forge('forged vxlan', second.addresses[0]!, pods[0]!, all.hosts[0]!);
    // Plain packets with the address of another host's pod, routed to the host.
    const subnet = (await all.hosts[0]!.status()).subnets.find((each) => !each.includes(':'))!;
    shell(
      `ip route add ${subnet} via ${all.hosts[0]!.underlay}; ip address add ${second.addresses[0]!}/32 dev lo`,
    );
    const spoof = createSocket('udp4');
    await new Promise<void>((resolve) => spoof.bind(0, second.addresses[0], resolve));
    for (let times = 0; times < 3; times += 1)
      await new Promise<void>((resolve) =>
        spoof.send('spoofed', 7000, pods[0]!.addresses[0], () => resolve()),
      );
    spoof.close();
    shell(`ip address delete ${second.addresses[0]!}/32 dev lo`);
    // The same way with an address outside of the network: the way itself is open.
    const open = createSocket('udp4');
    await wait('the way to the pod is open for others', async () => {
      await new Promise<void>((resolve) =>
        open.send('from outside', 7000, pods[0]!.addresses[0], () => resolve()),
      );
      return pods[0]!.ask<boolean>({ do: 'heard', text: 'from outside' });
    });
    open.close();
    for (const text of ['forged vxlan', 'spoofed'])
      assert.equal(await pods[0]!.ask<boolean>({ do: 'heard', text }), false, `${text} was heard`);
    await alone.kill();
  });

  test('keys change during streams, with etcd and for a host that does not receive the change', async () => {
    await unbroken('before keys change');
    const keys = async (): Promise<(string | undefined)[]> =>
      Promise.all(encrypted().map(async (host) => (await host.status()).publicKey));
    const before = await keys();
    for (const host of encrypted()) {
      await host.ask({ do: 'rotate-key' });
      await unbroken(`key of ${host.name} changed`);
    }
    const now = await keys();
    assert.equal(new Set([...before, ...now]).size, 6);
    const cut = encrypted()[1]!;
    cut.run(
      `nft 'table inet cut { chain out { type filter hook output priority 0; tcp dport 2379 drop; }; }'`,
    );
    await wait(`${cut.name} is away`, async () => (await cut.status()).state === 'away');
    await encrypted()[0]!.ask({ do: 'rotate-key' });
    await unbroken('key changed without the knowledge of one host');
    cut.run('nft delete table inet cut');
    await knowEachOther(encrypted());
    const { publicKey } = await encrypted()[0]!.status();
    assert.ok(cut.run('cat /proc/net/dev').includes('portcullis-wg') && publicKey !== now[0]);
  });

  test('etcd dies: encrypted streams continue, and a handshake works without it', async () => {
    await all.killEtcd();
    for (const host of encrypted())
      await wait(`${host.name} is away`, async () => (await host.status()).state === 'away');
    await unbroken('etcd away');
    for (const host of encrypted())
      for (const { tunnel, unreachable } of (await host.status()).peers)
        assert.ok(unreachable !== undefined || tunnel?.lastHandshake !== undefined);
    await all.startEtcd();
    await knowEachOther(encrypted());
  });

  test(`${kills} kills at any moment: removed kernel objects are restored, and only tunnels are ever seen`, async () => {
    all.hosts[3]!.run('ip link set eth0 down');
    wire.taken();
    for (let count = 0; count < kills; count += 1) {
      const host = encrypted()[count % 3]!;
      if (count % 3 === 0) void host.ask({ do: 'rotate-key' }).catch(() => undefined);
      await sleep(Math.random() * (count % 2 === 0 ? 100 : 4000));
      await host.kill();
      if (count % 4 === 1) host.run('ip link delete portcullis-wg');
      if (count % 4 === 3) host.run('nft delete table ip portcullis-overlay');
      host.start({ encryption: 'wireguard' });
    }
    await knowEachOther(encrypted());
    for (const from of pods.slice(0, 3)) for (const to of pods.slice(0, 3)) await reach(from, to);
    await heardAgain();
    await unbroken(`after ${kills} kills`);
    onlyTunnels(`${kills} kills`);
  });

  test('a host that leaves has nothing left in the kernel, on the disk or in etcd', async () => {
    const [first] = encrypted() as [Host];
    await assert.rejects(first.ask({ do: 'leave' }), /pod/u);
    await pods[0]!.detach();
    await first.ask({ do: 'leave' });
    assert.doesNotMatch(first.run('ip -o link'), /portcullis-(?:wg|vx|ov)/u);
    assert.doesNotMatch(first.run('nft list tables'), /portcullis-overlay/u);
    assert.equal(existsSync(join(all.folder, first.name, 'overlay', 'wireguard-keys.json')), false);
    for (const host of encrypted().slice(1))
      await wait(`${host.name} forgot it`, async () =>
        (await host.status()).peers.every(({ host: name, held }) => name !== first.name || held),
      );
  });
});
