import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Heard } from './peer.ts';

/** A small range: addresses are used again within a second, by pods with and without policies. */
export const networkConfig = JSON.stringify({
  cniVersion: '1.0.0',
  name: 'window',
  plugins: [
    {
      type: 'bridge',
      bridge: 'e2e0',
      isGateway: true,
      ipMasq: true,
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: '10.211.0.0/27' }], [{ subnet: 'fd00:211::/123' }]],
        routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
      },
    },
    { type: 'portmap', capabilities: { portMappings: true }, snat: true },
  ],
});
/** Every address that a pod may have. */
const podAddresses = Array.from({ length: 29 }, (_, index) => [
  `10.211.0.${index + 2}`,
  `fd00:211::${(index + 2).toString(16)}`,
]).flat();

export const shutLabels = { app: 'shut' };
/** Pods with the label may neither send nor receive anything. No policy selects other pods. */
export const policies = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: shut, namespace: shop }
spec: { podSelector: { matchLabels: { app: shut } }, policyTypes: [Ingress, Egress] }
`;

const run = (...[program = '', ...words]: readonly string[]): void =>
  void execFileSync(program, words, { stdio: 'ignore' });

/** Hosts that pods send to, and that send to all pods. */
export interface Peers {
  /** Addresses of all peers. */
  readonly addresses: readonly string[];
  /** Returns the words that each peer has heard, without their senders. */
  heard(): Promise<Readonly<Record<string, readonly string[]>>>;
  close(): void;
}

/**
 * Opens a peer in the namespace of a pod and another one behind the host. The host itself is none: traffic
 * between a pod and its node is always allowed.
 * @param beside the network namespace and the addresses of the pod
 */
export async function openPeers(beside: {
  readonly namespace: string;
  readonly addresses: readonly string[];
}): Promise<Peers> {
  const outside = 'window-outside';
  run('sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1');
  // The name of the namespace exists only in this mount namespace, so that nothing is left of a killed run.
  mkdirSync('/run/netns', { recursive: true });
  run('mount', '-t', 'tmpfs', 'netns', '/run/netns');
  run('ip', 'netns', 'add', outside);
  run('ip', 'link', 'add', 'out0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside);
  run('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'out0');
  run('ip', '-6', 'address', 'add', '2001:db8:77::1/64', 'dev', 'out0', 'nodad');
  run('ip', 'link', 'set', 'out0', 'up');
  const there = (...words: string[]): void => run('ip', '-n', outside, ...words);
  there('address', 'add', '192.0.2.2/24', 'dev', 'eth0');
  there('-6', 'address', 'add', '2001:db8:77::2/64', 'dev', 'eth0', 'nodad');
  for (const link of ['lo', 'eth0']) there('link', 'set', link, 'up');
  there('route', 'add', '10.211.0.0/27', 'via', '192.0.2.1');
  there('-6', 'route', 'add', 'fd00:211::/123', 'via', '2001:db8:77::1');
  const others = podAddresses.filter((address) => !beside.addresses.includes(address));
  const peers = new Map<string, ChildProcess>([
    ['beside', start(['nsenter', `--net=${beside.namespace}`], others)],
    ['outside', start(['ip', 'netns', 'exec', outside], others)],
  ]);
  const close = (): void => {
    for (const child of peers.values()) child.kill('SIGKILL');
    run('ip', 'link', 'delete', 'out0');
    run('ip', 'netns', 'delete', outside);
    run('umount', '/run/netns');
  };
  for (const child of peers.values()) await once(child, 'message');
  return {
    addresses: [...beside.addresses, '192.0.2.2', '2001:db8:77::2'],
    async heard() {
      const all: Record<string, readonly string[]> = {};
      for (const [name, child] of peers) {
        const answered = once(child, 'message');
        child.send('report');
        const [heard] = (await answered) as [Heard];
        all[name] = [...new Set(Object.values(heard).flat())];
      }
      return all;
    },
    close,
  };
}

function start(within: readonly string[], addresses: readonly string[]): ChildProcess {
  const [program = '', ...words] = [
    ...within,
    process.execPath,
    join(import.meta.dirname, 'peer.ts'),
    ...addresses,
  ];
  return spawn(program, words, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}
