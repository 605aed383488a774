import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { decode, encode } from 'dns-packet';
import { podConfig, runContainer, runPod } from '../../fixtures/pod.ts';
import type { Pod, PodConfig } from '../../fixtures/pod.ts';
import { openStage, policyOf, registryName } from '../../fixtures/stage.ts';
import type { Stage } from '../../fixtures/stage.ts';
import { startProber } from './probes.ts';
import type { Prober } from './probes.ts';

export type Ceiling = 'baseline' | 'restricted';

/** Namespaces of the two tenants. */
export const [tenantNamespace, victimNamespace] = ['tenant', 'victim'] as const;
/** The address of the host's link, at which its name server and its sockets answer. */
export const hostAddress = '192.0.2.1';
export const gateway = { four: '10.231.0.1', six: 'fd00:231::1' } as const;
export const clusterAddress = '10.96.0.10';
/** Ports of the host: those of programs of the host, and those that lead to the victim. */
export const ports = { ssh: 22, agent: 10_250, ingress: 30_080, hostPort: 18_080 } as const;
/** Content of the host's files that no tenant may read. */
export const secret = 'CANARY-of-the-host';

/** A pod of the victim, and its location. */
export interface VictimPod extends Pod {
  readonly address: string;
  readonly containerId: string;
  readonly pid: number;
  /** Correct lines of its neighbours and of bridges' tables: the locations of its addresses. */
  readonly neighbours: readonly string[];
}

export interface Scene {
  readonly stage: Stage;
  readonly ceiling: Ceiling;
  /**
   * The tenant runs `tenant`; the victim's and the node agent's images are admitted in their own namespaces
   * only.
   */
  readonly images: { readonly tenant: string; readonly victim: string; readonly infra: string };
  readonly victim: { readonly web: VictimPod; readonly vault: VictimPod; readonly client: VictimPod };
  /** A folder of the host with files that no pod may read or change. */
  readonly host: string;
  readonly kubeletRoot: string;
  readonly logsOfVictim: string;
  readonly askers: { readonly host: Prober; readonly victim: Prober };
  close(): Promise<void>;
}

const network = (
  name: string,
  net: number,
  more: Readonly<Record<string, unknown>>,
  plugins: readonly object[] = [],
): string =>
  JSON.stringify({
    cniVersion: '1.0.0',
    name,
    ...more,
    plugins: [
      {
        type: 'portcullis-bridge',
        bridge: `net${net}`,
        isDefaultGateway: true,
        ipMasq: true,
        capabilities: { aliases: true, services: true, ips: true, mac: true },
        ingress: { namespaces: [victimNamespace], ports: ['30000-30999'] },
        ipam: {
          type: 'portcullis-ipam',
          ranges: [[{ subnet: `10.${net}.0.0/24` }], [{ subnet: `fd00:${net}::/64` }]],
        },
      },
      ...plugins,
    ],
  });

/** The pods' network: every pod that may have host ports and bandwidth limits can use them here. */
const podNetwork = network('pods', 231, {}, [
  { type: 'portcullis-portmap', capabilities: { portMappings: true }, snat: true },
  { type: 'portcullis-bandwidth', capabilities: { bandwidth: true } },
]);

const policyFor = (ceiling: Ceiling): string => `${policyOf(
  (
    [
      ['tenant', `"*"`, ceiling],
      ['victim', victimNamespace, 'privileged'],
      ['infra', 'kube-system', 'privileged'],
    ] as const
  )
    .map(
      ([image, namespace, most]) =>
        `  - images: ["${registryName}/${image}/**"]\n    namespaces: [${namespace}]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: ${most} }\n`,
    )
    .join(''),
)}---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: wide }
entitlements: [network.admin, security.admin, host.paths, host.ports, host.devices.admin, kernel.sysctls]
---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: hostly }
entitlements: [network.host]
`;

/**
 * Answers of the host's own resolver: every name has the address of its length, except one name that does not
 * exist.
 */
const upstream = (name: string): string | undefined =>
  /(^|\.)(missing|invalid)(\.|$)|portcullis\.internal$/u.test(name) ? undefined : `198.51.100.${name.length}`;

async function hostSockets(): Promise<() => void> {
  const servers = [ports.ssh, ports.agent].map((port) => {
    const server = createServer((socket) =>
      socket
        .on('error', () => undefined)
        .resume()
        .end(`host ${port}\n`),
    );
    server.listen(port, '0.0.0.0');
    return server;
  });
  const resolver = createSocket('udp4').on('message', (bytes, from) => {
    const { id, questions = [] } = decode(bytes);
    const [question] = questions;
    const found = question === undefined ? undefined : upstream(question.name.toLowerCase());
    const answers =
      question?.type === 'A' && found !== undefined
        ? [{ type: 'A' as const, class: 'IN' as const, name: question.name, ttl: 0, data: found }]
        : [];
    const code = found === undefined ? 3 : 0;
    resolver.send(
      encode({ type: 'response', id: id ?? 0, flags: 0x0180 | code, questions, answers }),
      from.port,
      from.address,
    );
  });
  await new Promise<void>((resolve) => resolver.bind(53, hostAddress, resolve));
  return () => {
    for (const server of servers) server.close();
    resolver.close();
  };
}

/**
 * The default folders of the daemon and its plugins are the suite's own, because other daemons may run on the
 * machine. So is /etc: no other program changes a copy.
 */
function ownFolders(folder: string): void {
  execFileSync('sh', ['-c', `cp -a /etc ${folder}/etc && mount --bind ${folder}/etc /etc`]);
  for (const path of ['/var/lib/kubelet', '/var/lib/cni', '/etc/portcullis', '/etc/cni'])
    execFileSync('sh', ['-c', `mkdir -p ${path} && mount -t tmpfs -o mode=755 tenant ${path}`]);
}

function plantHostFiles(host: string): void {
  mkdirSync(join(host, 'etc/manifests'), { recursive: true });
  mkdirSync(join(host, 'run'));
  writeFileSync(join(host, 'etc/shadow'), `root:${secret}:\n`, { mode: 0o600 });
  writeFileSync(join(host, 'etc/hosts'), '127.0.0.1 localhost\n');
  writeFileSync(join(host, 'etc/manifests/pod.yaml'), `${secret}\n`);
  symlinkSync('/', join(host, 'root'));
}

const cdiSpec = JSON.stringify({
  cdiVersion: '0.6.0',
  kind: 'vendor.example/disk',
  devices: [
    {
      name: 'whole',
      containerEdits: { env: ['CDI=1'], deviceNodes: [{ path: '/dev/null', hostPath: '/dev/kmsg' }] },
    },
  ],
});

const namespaceLabels = [tenantNamespace, victimNamespace]
  .map(
    (name) =>
      `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name}, labels: { kubernetes.io/metadata.name: ${name} } }\n`,
  )
  .join('---\n');

/** The vault answers only the victim's client. */
const networkPolicy = `${namespaceLabels}---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: vault, namespace: ${victimNamespace} }
spec:
  podSelector: { matchLabels: { app: vault } }
  policyTypes: [Ingress]
  ingress: [{ from: [{ podSelector: { matchLabels: { app: client } } }] }]
`;

const serving = (page: string): string[] => [
  'sh',
  '-c',
  `mkdir -p /tmp/w && echo '${page}' > /tmp/w/index.html && exec httpd -f -p 8080 -h /tmp/w`,
];

/** Returns the neighbours of each address of its interfaces, read in its own network namespace. */
function neighboursOf(pid: number): string[] {
  const text = execFileSync('nsenter', [`--net=/proc/${pid}/ns/net`, 'ip', '-j', 'addr'], {
    encoding: 'utf8',
  });
  const links = JSON.parse(text) as readonly {
    readonly address: string;
    readonly link_index?: number;
    readonly addr_info: readonly { readonly local: string }[];
  }[];
  const ends = JSON.parse(execFileSync('ip', ['-j', 'link'], { encoding: 'utf8' })) as readonly {
    readonly ifindex: number;
    readonly ifname: string;
  }[];
  const bridges = ['net231', 'net232', 'net233'];
  return links.flatMap(({ address, link_index: peer, addr_info: all }) => [
    ...all.flatMap(({ local }) => bridges.map((link) => `neighbour ${local} dev ${link} lladdr ${address}`)),
    // The bridge learned these at the pod's own port.
    ...ends
      .filter(({ ifindex }) => ifindex === peer)
      .flatMap(({ ifname }) => bridges.map((bridge) => `fdb ${address} dev ${ifname} master ${bridge}`)),
  ]);
}

async function runVictim(
  stage: Stage,
  image: string,
  name: string,
  more: Partial<PodConfig>,
): Promise<VictimPod> {
  const metadata = { name, uid: `uid-of-${name}`, namespace: victimNamespace, attempt: 0 };
  const labels = { app: name, 'io.kubernetes.pod.namespace': victimNamespace };
  const pod = await runPod(stage, name, { ...podConfig(stage, name), metadata, labels, ...more });
  const containerId = await runContainer(stage, pod, { image, command: serving(`victim ${name}`) });
  const { runtime } = stage.daemon.cri;
  const { status } = await runtime.podSandboxStatus({ podSandboxId: pod.id });
  const { info } = await runtime.containerStatus({ containerId, verbose: true });
  const pid = Number(/"pid":\s*(\d+)/u.exec(info['info'] ?? JSON.stringify(info))?.[1]);
  return { ...pod, address: status?.network?.ip ?? '', containerId, pid, neighbours: neighboursOf(pid) };
}

/**
 * With the first user namespace on a node, the daemon opens its state folder for traversal (0711), and leaves
 * it so: this is not a tenant's change.
 */
async function mappedOnce(stage: Stage): Promise<void> {
  const ids = [{ hostId: 300_000, containerId: 0, length: 65_536 }];
  const namespaceOptions = {
    network: 0,
    pid: 1,
    ipc: 0,
    usernsOptions: { mode: 0, uids: ids, gids: ids },
  } as const;
  const pod = await runPod(stage, 'mapped', { linux: { securityContext: { namespaceOptions } } });
  await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: pod.id });
}

const services = [
  { name: 'shop', ports: ['80:8080'], ingressPorts: [`${ports.ingress}:8080`], aliases: ['store'] },
];

/** Opens the host, the daemon and the victim. Import pid-namespace.ts and private-namespaces.ts first. */
export async function openScene(ceiling: Ceiling): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'pc-tenant-'));
  const inside = (name: string): string => join(folder, name);
  ownFolders(folder);
  execFileSync('sh', [
    '-c',
    `ip link add uplink0 type bridge && ip addr add ${hostAddress}/24 dev uplink0 && ip link set uplink0 up`,
  ]);
  execFileSync('ip', ['route', 'add', 'default', 'via', '192.0.2.254']);
  const closeSockets = await hostSockets();
  for (const name of ['network-policies', 'services', 'cdi']) mkdirSync(inside(name));
  plantHostFiles(inside('host'));
  writeFileSync(inside('cdi/vendor.json'), cdiSpec);
  writeFileSync(inside('network-policies/victim.yaml'), networkPolicy);
  writeFileSync(
    inside('config.yaml'),
    `network: { policies: network-policies, services: { folder: services }, dns: { upstreams: [${hostAddress}] } }\ncdi: { specDirs: [cdi] }\n`,
  );
  const stage = await openStage({
    policy: policyFor(ceiling),
    conflist: podNetwork,
    flags: ['--config', inside('config.yaml')],
    cgroupParent: `/tenant-suite-${randomUUID().slice(0, 8)}`,
  });
  const further = (file: string, text: string): void =>
    writeFileSync(join(stage.folders.cniConf, file), text);
  further('50-shared.conflist', network('shared', 232, { podNamespaces: ['*'] }));
  further('51-private.conflist', network('private', 233, { podNamespaces: [victimNamespace] }));
  const pulled = async (name: string, namespace: string): Promise<string> =>
    stage.pull((await stage.publish(`${name}/app:1`)).reference, namespace);
  const images = {
    tenant: await pulled('tenant', tenantNamespace),
    victim: await pulled('victim', victimNamespace),
    infra: await pulled('infra', 'kube-system'),
  };
  const kubeletRoot = '/var/lib/kubelet';
  mkdirSync(join(kubeletRoot, 'pods/uid-of-web/volumes/secret'), { recursive: true });
  writeFileSync(join(kubeletRoot, 'pods/uid-of-web/volumes/secret/token'), `${secret}\n`);
  await mappedOnce(stage);
  const web = await runVictim(stage, images.victim, 'web', {
    annotations: {
      'portcullis.dev/services': JSON.stringify(services),
      'k8s.v1.cni.cncf.io/networks': 'shared,private',
    },
    portMappings: [{ protocol: 0, containerPort: 8080, hostPort: ports.hostPort, hostIp: '' }],
  });
  const vault = await runVictim(stage, images.victim, 'vault', {});
  const client = await runVictim(stage, images.victim, 'client', {
    annotations: { 'k8s.v1.cni.cncf.io/networks': 'shared' },
  });
  const service = `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: victim/front }\naddresses: [${clusterAddress}]\nports: [80:8080]\nbackends: [${web.address}]\n`;
  writeFileSync(inside('services/front.yaml'), service);
  const askers = { host: startProber(), victim: startProber(`/proc/${client.pid}/ns/net`) };
  const scene: Scene = {
    stage,
    ceiling,
    images,
    victim: { web, vault, client },
    host: inside('host'),
    kubeletRoot,
    logsOfVictim: join(stage.logs, 'web'),
    askers,
    async close() {
      await Promise.all([askers.host.close(), askers.victim.close()]);
      closeSockets();
      execFileSync('ip', ['link', 'del', 'uplink0']);
      await stage.close();
      execFileSync('umount', ['-l', '/etc']);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await settled(scene);
  return scene;
}

/**
 * Waits until the victim's services are in their final state: services and policies are read a moment after
 * they are written.
 */
async function settled({ askers, victim }: Scene): Promise<void> {
  const until = performance.now() + 30_000;
  const listeners = [
    ['host', clusterAddress, 80],
    ['host', hostAddress, ports.ingress],
    ['host', hostAddress, ports.hostPort],
    ['victim', clusterAddress, 80],
    ['victim', victim.vault.address, 8080],
  ] as const;
  for (const [who, host, port] of listeners)
    for (;;) {
      const said = await askers[who].ask({ kind: 'tcp', host, port });
      if (said.startsWith('victim ')) break;
      if (performance.now() > until)
        throw new Error(`the victim is not served at ${host}:${port} for the ${who}: ${said}`);
      await pause(100);
    }
}
