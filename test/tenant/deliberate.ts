import { execFileSync } from 'node:child_process';
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { runContainer, runPod } from '../fixtures/pod.ts';
import type { Scene } from './scene/scene.ts';
import { hostAddress, victimNamespace } from './scene/scene.ts';

/** A change that an attacker might make, and the lines that must show it. */
export interface Deliberate {
  readonly name: string;
  readonly found: RegExp;
  make(scene: Scene): Promise<void> | void;
  takeBack(scene: Scene): Promise<void> | void;
}

const run = (words: string): string =>
  execFileSync('sh', ['-c', words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const commands = (
  name: string,
  found: RegExp,
  make: string | ((scene: Scene) => string),
  takeBack: string | ((scene: Scene) => string),
): Deliberate => ({
  name,
  found,
  make: (scene) => void run(typeof make === 'string' ? make : make(scene)),
  takeBack: (scene) => void run(typeof takeBack === 'string' ? takeBack : takeBack(scene)),
});

const servers = new Map<number, Server>();

const listen = (port: number, host: string): Promise<void> =>
  new Promise((resolve) => {
    servers.set(
      port,
      createServer((socket) => socket.resume().end('stranger\n')).listen(port, host, resolve),
    );
  });
const close = (port: number): Promise<void> =>
  new Promise((resolve) => void servers.get(port)?.close(() => resolve()));

let taker = '';
let second = '';

const serviceFile = (scene: Scene): string => join(scene.host, '../services/deliberate.yaml');
const service =
  'apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: stranger }\naddresses: [10.96.0.99]\nports: [80]\nbackends: [10.231.0.2]\n';

export const deliberate: readonly Deliberate[] = [
  commands(
    'a table of nf_tables',
    /nft table inet  stranger /u,
    'nft add table inet stranger',
    'nft delete table inet stranger',
  ),
  commands(
    'a rule among ours',
    /nft rule ip portcullis host_ports_of/u,
    'nft add rule ip portcullis host_ports_of tcp dport 4444 counter',
    "nft delete rule ip portcullis host_ports_of handle $(nft -a list chain ip portcullis host_ports_of | sed -n 's/.*4444.*handle //p')",
  ),
  commands(
    'a host port',
    /nft element ip portcullis any_host_ports .*4445/u,
    'nft add element ip portcullis any_host_ports "{ tcp . 4445 : 10.231.0.2 . 8080 }"',
    'nft delete element ip portcullis any_host_ports "{ tcp . 4445 }" || true',
  ),
  {
    name: 'a socket that listens',
    found: /socket tcp LISTEN .*:30081/u,
    make: () => listen(30_081, '0.0.0.0'),
    takeBack: () => close(30_081),
  },
  {
    name: 'who answers at a port',
    found: /tcp the victim asks 192\.0\.2\.1:31000: stranger/u,
    make: () => listen(31_000, hostAddress),
    takeBack: () => close(31_000),
  },
  commands(
    'a route',
    /route 203\.0\.113\.0\/24 /u,
    'ip route add 203.0.113.0/24 via 192.0.2.9',
    'ip route del 203.0.113.0/24',
  ),
  commands(
    'a route of another table',
    /route 203\.0\.113\.0\/24 .*table 77/u,
    'ip route add 203.0.113.0/24 via 192.0.2.9 table 77',
    'ip route del 203.0.113.0/24 table 77',
  ),
  commands('a rule of routing', /route 77:\s+from/u, 'ip rule add pref 77 lookup 77', 'ip rule del pref 77'),
  commands('a link', /link stranger0 /u, 'ip link add stranger0 type bridge', 'ip link del stranger0'),
  commands(
    'an address',
    /address 192\.0\.2\.77\/32 on uplink0/u,
    'ip addr add 192.0.2.77/32 dev uplink0',
    'ip addr del 192.0.2.77/32 dev uplink0',
  ),
  commands(
    'a neighbour that lies',
    /neighbour 192\.0\.2\.9 dev uplink0 lladdr 02:00:00:00:00:09/u,
    'ip neigh replace 192.0.2.9 lladdr 02:00:00:00:00:09 dev uplink0 nud permanent',
    'ip neigh del 192.0.2.9 dev uplink0',
  ),
  commands(
    'a frame’s way',
    /fdb 02:00:00:00:00:09 dev net231/u,
    'bridge fdb add 02:00:00:00:00:09 dev net231 self local',
    'bridge fdb del 02:00:00:00:00:09 dev net231 self',
  ),
  commands(
    'a queue',
    /qdisc .*tbf .*dev uplink0/u,
    'tc qdisc add dev uplink0 root tbf rate 1mbit burst 10kb latency 50ms',
    'tc qdisc del dev uplink0 root',
  ),
  commands(
    'a sysctl',
    /sysctl net\/ipv4\/tcp_fin_timeout = 77/u,
    'sysctl -qw net.ipv4.tcp_fin_timeout=77',
    'sysctl -qw net.ipv4.tcp_fin_timeout=60',
  ),
  commands(
    'a mount',
    /mount of the host .*host\/run from/u,
    (scene) => `mount -t tmpfs stranger ${scene.host}/run`,
    (scene) => `umount ${scene.host}/run`,
  ),
  {
    name: 'a file that is added',
    found: /file f .*host\/etc\/stranger/u,
    make: (scene) => writeFileSync(join(scene.host, 'etc/stranger'), 'x'),
    takeBack: (scene) => rmSync(join(scene.host, 'etc/stranger')),
  },
  {
    name: 'a file of the same size',
    found: /content .*host\/etc\/hosts/u,
    make: (scene) => writeFileSync(join(scene.host, 'etc/hosts'), '127.0.0.2 localhost\n'),
    takeBack: (scene) => writeFileSync(join(scene.host, 'etc/hosts'), '127.0.0.1 localhost\n'),
  },
  commands(
    'who may read a file',
    /file f 644 .*host\/etc\/shadow/u,
    (scene) => `chmod 644 ${scene.host}/etc/shadow`,
    (scene) => `chmod 600 ${scene.host}/etc/shadow`,
  ),
  {
    name: 'the victim’s hosts',
    found: /content .*state\/pods\/[0-9a-f]{64}\/hosts/u,
    make: (scene) =>
      appendFileSync(join(scene.stage.folders.state, 'pods', scene.victim.web.id, 'hosts'), '6.6.6.6 db\n'),
    takeBack: (scene) => {
      const file = join(scene.stage.folders.state, 'pods', scene.victim.web.id, 'hosts');
      writeFileSync(file, readFileSync(file, 'utf8').replace('6.6.6.6 db\n', ''));
    },
  },
  {
    name: 'a line in the victim’s log',
    found: /content .*logs\/web\/main\/0\.log/u,
    make: (scene) => appendFileSync(join(scene.logsOfVictim, 'main/0.log'), 'stranger\n'),
    takeBack: (scene) => writeFileSync(join(scene.logsOfVictim, 'main/0.log'), ''),
  },
  {
    name: 'a limit of the victim’s',
    found: /cgroup .*pids\.max = 77/u,
    make: (scene) =>
      void run(
        `echo 77 > $(find /sys/fs/cgroup -path '*${scene.victim.web.containerId}*' -name pids.max | head -1)`,
      ),
    takeBack: (scene) =>
      void run(
        `echo max > $(find /sys/fs/cgroup -path '*${scene.victim.web.containerId}*' -name pids.max | head -1)`,
      ),
  },
  {
    name: 'a service',
    found: /service stranger /u,
    make: (scene) => writeFileSync(serviceFile(scene), service),
    takeBack: (scene) => rmSync(serviceFile(scene)),
  },
  {
    name: 'a name',
    found: /dns the victim asks missing A of .*: NOERROR A "10\.231\./u,
    make: async (scene) =>
      void (taker = (
        await runPod(scene.stage, 'missing', {
          metadata: { name: 'missing', uid: 'u', namespace: victimNamespace, attempt: 0 },
        })
      ).id),
    takeBack: async (scene) =>
      void (await scene.stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: taker })),
  },
  {
    name: 'a process',
    found: /process \d+ in .*: sleep 77/u,
    make: () => void run('sleep 77 >/dev/null 2>&1 & echo $! > /dev/shm/stranger.pid'),
    takeBack: () => void run('kill $(cat /dev/shm/stranger.pid); rm /dev/shm/stranger.pid'),
  },
  commands(
    'the host’s name',
    /host name stranger/u,
    'hostname > /dev/shm/name; hostname stranger',
    'hostname $(cat /dev/shm/name); rm /dev/shm/name',
  ),
  {
    name: 'another container of the victim',
    found: /container [0-9a-f]{64} of/u,
    make: async (scene) =>
      void (second = await runContainer(scene.stage, scene.victim.client, {
        name: 'second',
        image: scene.images.victim,
        command: ['sleep', '600'],
      })),
    takeBack: async (scene) => {
      await scene.stage.daemon.cri.runtime.removeContainer({ containerId: second });
      rmSync(join(scene.stage.logs, 'client/second'), { recursive: true, force: true });
    },
  },
];
