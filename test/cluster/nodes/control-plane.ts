import { startApiServer } from '../../fixtures/kubernetes/api-server.ts';
import type { ApiServer } from '../../fixtures/kubernetes/api-server.ts';
import type { Pki } from '../../fixtures/kubernetes/pki.ts';
import { programOf } from '../../fixtures/kubernetes/processes.ts';
import type { Program } from '../../fixtures/kubernetes/processes.ts';
import { podRanges, serviceRange, switchAddress } from './addresses.ts';

/** A whole control plane, in the network namespace of this process. */
export interface ControlPlane {
  readonly api: ApiServer;
  /** Programs beside the API server, by name. */
  readonly programs: Readonly<Record<'controllerManager' | 'scheduler', Program>>;
  stop(): Promise<void>;
}

/** Starts etcd, kube-apiserver, kube-controller-manager and kube-scheduler. */
export async function startControlPlane(
  folder: string,
  moreFlags: (pki: Pki) => readonly string[] = () => [],
): Promise<ControlPlane> {
  const api = await startApiServer({
    folder,
    address: switchAddress[4],
    serviceRange,
    flags: (pki) => {
      // The API server opens streams to kubelets as this user.
      const { cert, key } = pki.client('kubelet-client', 'kube-apiserver-kubelet-client', ['system:masters']);
      return [
        ...['--authorization-mode', 'Node,RBAC', '--enable-admission-plugins', 'NodeRestriction'],
        ...['--kubelet-client-certificate', cert, '--kubelet-client-key', key],
        ...['--kubelet-certificate-authority', pki.ca, '--kubelet-preferred-address-types', 'InternalIP'],
        ...['--advertise-address', switchAddress[4], '--allow-privileged=true'],
        ...moreFlags(pki),
      ];
    },
  });
  const { pki, url } = api;
  const kubeconfigOf = (name: string): string =>
    pki.kubeconfig(name, url, pki.client(name, `system:${name}`));
  const controllerManager = programOf(
    'kube-controller-manager',
    [
      ...['--kubeconfig', kubeconfigOf('kube-controller-manager'), '--leader-elect=false'],
      ...['--allocate-node-cidrs', '--cluster-cidr', podRanges.join(',')],
      ...['--node-cidr-mask-size-ipv4', '24', '--node-cidr-mask-size-ipv6', '64'],
      ...['--service-cluster-ip-range', serviceRange, '--use-service-account-credentials'],
      ...['--service-account-private-key-file', pki.accountsKey, '--root-ca-file', pki.ca],
      ...['--cluster-signing-cert-file', pki.ca, '--cluster-signing-key-file', pki.caKey],
      // A kubelet reports every ten seconds. One that was killed is back before this.
      ...['--node-monitor-grace-period', '40s', '--bind-address', '127.0.0.1', '--v', '2'],
    ],
    folder,
  );
  const scheduler = programOf(
    'kube-scheduler',
    [
      ...['--kubeconfig', kubeconfigOf('kube-scheduler'), '--leader-elect=false'],
      ...['--bind-address', '127.0.0.1', '--v', '2'],
    ],
    folder,
  );
  const programs = { controllerManager, scheduler };
  for (const program of Object.values(programs)) program.start();
  return {
    api,
    programs,
    async stop() {
      for (const program of Object.values(programs)) await program.end('SIGTERM');
      await api.stop();
    },
  };
}
