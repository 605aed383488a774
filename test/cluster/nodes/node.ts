import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startDaemon } from '../../fixtures/daemon.ts';
import type { DaemonFolders, TestDaemon } from '../../fixtures/daemon.ts';
import { makeCgroupRoot } from '../../fixtures/kubelet/cgroup-root.ts';
import { kubeletConfiguration, writeKubeletFiles } from '../../fixtures/kubelet/configuration.ts';
import { programOf } from '../../fixtures/kubernetes/processes.ts';
import type { Program } from '../../fixtures/kubernetes/processes.ts';
import type { ApiServer } from '../../fixtures/kubernetes/api-server.ts';
import { clusterDns, podRanges, switchAddress } from './addresses.ts';
import { openNodeNamespaces } from './namespaces.ts';

const launcher = join(import.meta.dirname, '../../../packaging/bin/portcullisd');

/** One node of the cluster: namespaces with a daemon and a kubelet, and nothing else. */
export interface ClusterNode {
  readonly name: string;
  readonly address: { readonly 4: string; readonly 6: string };
  readonly folders: DaemonFolders;
  readonly kubelet: Program;
  readonly daemon: TestDaemon;
  /** Runs a program in the namespaces of the node, and returns its output. @throws if it fails */
  run(program: string, ...args: string[]): string;
  startDaemon(): Promise<void>;
  /** Ends the processes and the namespaces. */
  close(): Promise<void>;
}

export interface NodeOptions {
  readonly index: number;
  readonly folder: string;
  readonly api: ApiServer;
  /** The folder with the policy and its keys, to copy. */
  readonly policyFiles: readonly string[];
  readonly registryPort: number;
  /** Host of the images in that registry. */
  readonly imageHost: string;
  readonly networkPolicies: boolean;
  /** The address of the cluster's own name server, if it has one. */
  readonly nameServer: string | undefined;
  /** Additional flags of the daemon. */
  readonly daemonFlags: readonly string[];
}

export async function openNode(options: NodeOptions): Promise<ClusterNode> {
  const { index, api, nameServer = clusterDns } = options;
  const name = `node-${index}`;
  const namespaces = await openNodeNamespaces({ ...options, name });
  const { folder, folders, address, within, run } = namespaces;
  const cgroup = makeCgroupRoot('cgroupfs', `portcullis-cluster-${process.pid}-${index}`);
  const configFile = join(folder, 'config.json');
  writeFileSync(configFile, JSON.stringify(daemonConfiguration(name, options)));
  const flags = [
    ...['--config', configFile, '--cgroup-driver', 'cgroupfs'],
    ...['--registry-mirror', `${options.imageHost}=http://${switchAddress[4]}:${options.registryPort}`],
    ...options.daemonFlags,
  ];
  const start = (): Promise<TestDaemon> => startDaemon(folders, flags, [...within, launcher]);
  let daemon = await start();
  const kubelet = kubeletOf({
    name,
    folder,
    folders,
    address,
    api,
    cgroupRoot: cgroup.path,
    within,
    nameServer,
  });
  kubelet.start();
  return {
    name,
    address,
    folders,
    kubelet,
    get daemon() {
      return daemon;
    },
    run,
    async startDaemon() {
      daemon = await start();
    },
    async close() {
      await kubelet.end('SIGTERM');
      // Removes pods that a failed check left.
      const { runtime } = daemon.cri;
      for (const { id } of (await runtime.listPodSandbox({})).items)
        await runtime.removePodSandbox({ podSandboxId: id });
      await daemon.stop();
      await namespaces.close();
      cgroup.remove();
    },
  };
}

/** The whole network configuration of a node: no conflist is written by hand. */
function daemonConfiguration(name: string, options: NodeOptions): object {
  const {
    api: { pki, url },
    networkPolicies,
    nameServer,
  } = options;
  const kubeconfig = pki.kubeconfig(
    `portcullis-${name}`,
    url,
    pki.client(`portcullis-${name}`, `portcullis:node:${name}`, ['portcullis:nodes']),
  );
  // One node learns its subnet from its kubelet, by UpdateRuntimeConfig.
  const from = name === 'node-3' ? 'runtimeConfig' : 'node';
  const names = nameServer === undefined ? { dns: { address: clusterDns } } : {};
  return {
    network: {
      pods: { from, ranges: podRanges, kubeconfig, nodeName: name },
      kubernetes: { kubeconfig, nodeName: name, policies: networkPolicies, ...names },
      services: { kubernetes: { kubeconfig, nodeName: name } },
    },
  };
}

function kubeletOf({
  name,
  folder,
  folders,
  address,
  api: { pki, url },
  cgroupRoot,
  within,
  nameServer,
}: {
  readonly name: string;
  readonly folder: string;
  readonly folders: DaemonFolders;
  readonly address: ClusterNode['address'];
  readonly api: ApiServer;
  readonly cgroupRoot: string;
  readonly within: readonly string[];
  readonly nameServer: string;
}): Program {
  const client = pki.client(`kubelet-${name}`, `system:node:${name}`, ['system:nodes']);
  const serving = pki.server(`serving-${name}`, [`DNS:${name}`, `IP:${address[4]}`, `IP:${address[6]}`]);
  const configFile = writeKubeletFiles(folder, {
    ...kubeletConfiguration({ folder, socket: folders.socket, cgroupRoot }),
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: pki.ca },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: serving.cert,
    tlsPrivateKeyFile: serving.key,
    clusterDNS: [nameServer],
    clusterDomain: 'cluster.local',
    // A node that was away is noticed at once.
    nodeStatusUpdateFrequency: '2s',
  });
  const nodeIps = `${address[4]},${address[6]}`;
  return programOf(
    'kubelet',
    [
      ...['--config', configFile, '--cert-dir', join(folder, 'kubelet/certificates'), '--v', '2'],
      ...['--kubeconfig', pki.kubeconfig(`kubelet-${name}`, url, client)],
      ...['--hostname-override', name, '--node-ip', nodeIps],
    ],
    folder,
    { within },
  );
}
