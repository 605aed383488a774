import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { OverlayStatus } from '../../cni-plugins/index.ts';
import { answers, createDaemonHosts, crictlTool, pageFrom } from './daemon-hosts.ts';
import type { DaemonHost, DaemonHosts, DaemonPod, Streams } from './daemon-hosts.ts';
import { etcdTool, until } from './hosts.ts';
import type { StreamReport } from './pod.ts';

const vip = '10.96.0.10';
const silenceMs = 5000;
const profiles = `apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: mute }
entitlements: [network.none]
`;

describe(
  'daemons as hosts of one network',
  { skip: etcdTool.skip !== false ? etcdTool.skip : crictlTool.skip },
  () => {
    let all: DaemonHosts;
    let hosts: readonly [DaemonHost, DaemonHost, DaemonHost];
    const pods: DaemonPod[] = [];
    const streams: Streams[] = [];

    const file = (name: string): string => join(hosts[0].folders.folder, name);
    const status = async (host: DaemonHost): Promise<OverlayStatus> => {
      const { stdout } = await host.portcullis('network', 'overlay', 'status', '-o', 'json');
      return JSON.parse(stdout) as OverlayStatus;
    };
    const knows = (host: DaemonHost, others: number): Promise<number> =>
      until(`${host.name} is connected to ${others}`, async () => {
        const { state, peers } = await status(host);
        return (
          state === 'connected' &&
          peers.filter(({ subnets, held }) => subnets.length === 2 && !held).length === others
        );
      });
    const ok = async (host: DaemonHost, ...words: string[]): Promise<string> => {
      const { code, stdout, output } = await host.portcullis(...words);
      assert.equal(code, 0, `portcullis ${words.join(' ')} on ${host.name}: ${output}`);
      return stdout;
    };
    /** Returns everything in the kernel of a host that belongs to its pods and to the network. */
    const kernel = async (host: DaemonHost): Promise<string[]> => {
      const { stdout: links } = await host.inside('ip', '-o', 'link');
      const { stdout: routes } = await host.inside('ip', 'route');
      const { stdout: rules } = await host.inside('nft', '--stateless', 'list', 'ruleset');
      const names = links.split('\n').map((line) => /^\d+: ([^:@]+)/u.exec(line)?.[1] ?? '');
      return [...names, ...routes.split('\n'), ...rules.split('\n')].map((line) => line.trim()).toSorted();
    };

    /** Except for the entries about the pods' subnets that the tables keep while the daemon runs. */
    const nothingLeft = (host: DaemonHost): Promise<number> =>
      until(
        `${host.name} has nothing left`,
        async () => {
          const left = (await kernel(host)).filter(
            // Backends are remembered for a week, however short the lifetimes of their services are
            // (docs/services.md).
            (line) =>
              /portcullis-|^pc|\b10\.1[23]\d\.\d+\.[1-9]|10\.96\./u.test(line) &&
              !line.includes('timeout 7d'),
          );
          if (left.length > 0) throw new Error(left.join('\n'));
          return true;
        },
        30_000,
      );

    before(async () => {
      all = await createDaemonHosts(3, profiles);
      hosts = all.hosts as never;
      for (const host of hosts) await host.start();
      await Promise.all(hosts.map((host) => knows(host, 2)));
      const annotations = {
        'portcullis.dev/dns': 'overlay',
        'portcullis.dev/services': JSON.stringify([
          { name: 'front', ports: ['80'], ingressPorts: ['30080:80'] },
        ]),
      };
      pods.push(...(await Promise.all(hosts.map((host) => host.pod(`web-${host.name}`, { annotations })))));
    });
    after(async () => {
      for (const each of streams) each.end();
      await all?.end();
    });

    test('pods reach each other on every host, over IPv4 and IPv6 and with their own addresses', async () => {
      for (const from of pods)
        for (const to of pods)
          for (const address of to.addresses)
            await answers(`${from.name} → ${address}`, () => from.page(address), to.name);
      assert.equal(new Set(pods.flatMap(({ addresses }) => addresses)).size, 6);
    });

    test('a pod with `network.none` reaches no pod on another host and is not reached, and a rule of peers for one pod there applies', async () => {
      const [here, there] = hosts;
      const [, target, other] = pods as [DaemonPod, DaemonPod, DaemonPod];
      const rule = { to: target.addresses[0], ports: ['80/tcp'] };
      writeFileSync(
        join(here.folders.policy, 'narrow.yaml'),
        JSON.stringify({
          apiVersion: 'portcullis.dev/v1alpha1',
          kind: 'EntitlementProfile',
          metadata: { name: 'narrow' },
          network: { egress: [rule] },
        }),
      );
      await here.daemon.reload();
      const mute = await here.pod('mute', { annotations: { 'portcullis.dev/profile': 'mute' } });
      const narrow = await here.pod('narrow', { annotations: { 'portcullis.dev/profile': 'narrow' } });
      for (const address of target.addresses)
        assert.equal(await mute.page(address), undefined, `mute → ${address}`);
      for (const address of mute.addresses)
        assert.equal(await target.page(address), undefined, `${target.name} → mute at ${address}`);
      assert.equal(
        await pageFrom(there, mute.addresses[0] ?? ''),
        undefined,
        'nor from the other host itself',
      );
      await answers('the rule grants it', () => narrow.page(target.addresses[0] ?? ''), target.name);
      assert.equal(
        await narrow.page(target.addresses[1] ?? ''),
        undefined,
        'its other address is not granted',
      );
      assert.equal(await narrow.page(other.addresses[0] ?? ''), undefined, 'nor is a pod of a third host');
      // No rule says who may connect.
      await answers('it is reached', () => other.page(narrow.addresses[0] ?? ''), 'narrow');
      for (const pod of [mute, narrow]) await pod.remove();
    });

    test('a service that is spread answers pods and programs of every host, with backends on all of them', async () => {
      const backends = pods.map(({ addresses: [address] }) => ({ address }));
      const check = { healthCheck: { tcp: {}, interval: '1s', timeout: '1s', failures: 2, successes: 1 } };
      const document = {
        apiVersion: 'portcullis.dev/v1alpha1',
        kind: 'Service',
        metadata: { name: 'shop/web' },
        addresses: [vip],
      };
      writeFileSync(
        file('web.yaml'),
        JSON.stringify({
          ...document,
          ports: ['8000:80/tcp'],
          backends,
          scheduler: 'rr',
          drainGrace: '1s',
          ...check,
        }),
      );
      assert.equal(
        await ok(hosts[0], 'network', 'overlay', 'apply', '-f', file('web.yaml')),
        'spread shop/web\n',
      );
      for (const from of pods) await meetsAll(from.name, () => from.page(vip, 8000), pods);
      for (const host of hosts) await meetsAll(host.name, () => pageFrom(host, vip, 8000), pods);
    });

    test('a service that pods of all hosts join answers on each by its name, and at its ingress port', async () => {
      for (const from of pods) await meetsAll(from.name, () => from.page('front'), pods);
      const [first, second, third] = hosts;
      for (const [from, at] of [
        [first, second],
        [second, third],
      ] as const)
        await meetsAll(`${from.name} at ${at.name}`, () => pageFrom(from, at.underlay, 30_080), pods);
    });

    test('a host port answers the other hosts and their pods', async () => {
      const [here, there] = hosts;
      const published = await here.pod('published', { hostPorts: { 80: 8088 } });
      await answers('from another host', () => pageFrom(there, here.underlay, 8088), 'published');
      await answers('from a pod of another host', () => pods[2]!.page(here.underlay, 8088), 'published');
      await published.remove();
      assert.equal(await pageFrom(there, here.underlay, 8088), undefined);
    });

    test('a daemon is killed and started again: streams between hosts continue, and the kernel state is as before', async () => {
      const [victim, second] = pods as [DaemonPod, DaemonPod, DaemonPod];
      const [from, to] = [victim.streams(), second.streams()];
      streams.push(from, to);
      const open = { do: 'open', port: 7000 } as const;
      for (const [stream, address] of Object.entries({
        v4: second.addresses[0]!,
        v6: second.addresses[1]!,
      })) {
        await until(
          `${address} listens`,
          async () =>
            (await from.ask<string[]>({ do: 'who', address, port: 7000, times: 1 }))[0] === second.name,
        );
        await from.ask({ ...open, stream: `tcp ${stream}`, protocol: 'tcp', address });
        await from.ask({ ...open, stream: `udp ${stream}`, protocol: 'udp', address });
      }
      await to.ask({ ...open, stream: 'back', protocol: 'tcp', address: victim.addresses[0]! });
      const reports = async (): Promise<StreamReport[]> =>
        (
          await Promise.all(
            [from, to].map((each) => each.ask<Record<string, StreamReport>>({ do: 'report' })),
          )
        ).flatMap((each) => Object.values(each));
      await until('all streams run', async () => (await reports()).every(({ echoed }) => echoed > 20));
      const before = await kernel(victim.host);
      await reports();
      await victim.host.daemon.kill();
      await answers('the service continues without the daemon', () => second.page(vip, 8000), /^web-/u);
      await victim.host.start();
      await knows(victim.host, 2);
      for (const { ended, longestSilenceMs } of await reports()) {
        assert.equal(ended, undefined);
        assert.ok(longestSilenceMs < silenceMs, `silent for ${longestSilenceMs.toFixed(0)} ms`);
      }
      assert.deepEqual(await kernel(victim.host), before);
      await meetsAll(victim.name, () => victim.page(vip, 8000), pods);
    });

    test('a removed pod is not reached at any of its addresses, and the service continues without it', async () => {
      const [, removed] = pods as [DaemonPod, DaemonPod, DaemonPod];
      streams.pop()?.end();
      await removed.remove();
      pods.splice(1, 1);
      for (const from of pods)
        for (const address of removed.addresses) assert.equal(await from.page(address), undefined);
      for (const from of pods) await meetsAll(from.name, () => from.page(vip, 8000), pods);
      await until('it gets no further requests', async () => {
        for (let time = 0; time < 10; time += 1)
          if ((await pods[0]!.page(vip, 8000)) === undefined) return false;
        return true;
      });
    });

    test('a host cannot leave with pods; after it left, it has nothing of the network, the others do not send to it, and it may return', async () => {
      const [first, leaving, third] = hosts;
      const refused = await first.portcullis('network', 'overlay', 'leave');
      assert.deepEqual([refused.code, /OVERLAY_PODS_LEFT/u.test(refused.output)], [4, true], refused.output);
      const { subnets } = await status(leaving);
      await ok(leaving, 'network', 'overlay', 'leave');
      await nothingLeft(leaving);
      for (const host of [first, third])
        await until(`${host.name} sends nothing to ${leaving.name}`, async () => {
          const { stdout } = await host.inside('ip', 'route');
          return !stdout.includes(subnets.find((subnet) => subnet.includes('.')) ?? '');
        });
      await leaving.daemon.kill();
      await leaving.start();
      for (const host of hosts) await knows(host, 2);
      const back = await leaving.pod('back');
      for (const from of pods)
        await answers(`${from.name} → back`, () => from.page(back.addresses[0] ?? ''), 'back');
      await answers('the service exists again', () => back.page(vip, 8000), /^web-/u);
      await back.remove();
    });

    test('nothing is left when pods, service and network are gone', async () => {
      await ok(hosts[2], 'network', 'overlay', 'rm', 'shop/web');
      for (const pod of pods.splice(0)) await pod.remove();
      for (const host of hosts) {
        await ok(host, 'network', 'overlay', 'leave');
        await nothingLeft(host);
      }
    });
  },
);

/** Checks that all of them answer there, each in its turn. */
async function meetsAll(
  who: string,
  ask: () => Promise<string | undefined>,
  backends: readonly DaemonPod[],
): Promise<void> {
  const met = new Set<string>();
  await until(
    `${who} meets all of them`,
    async () => {
      const said = await ask();
      if (said !== undefined) met.add(said);
      if (!backends.every(({ name }) => met.has(name)))
        throw new Error(`it met ${[...met].join(', ')}, and last ${said ?? 'nobody'}`);
      return true;
    },
    60_000,
  );
}
