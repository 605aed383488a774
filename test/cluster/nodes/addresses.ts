/** Addresses of the cluster. All of it is in its own namespaces. */

/** The control plane, which is also the router of the nodes. */
export const switchAddress = { 4: '192.168.100.1', 6: 'fd00:100::1' } as const;
/** An address outside of the cluster: a server there sees the address of its client. */
export const outsideAddress = { 4: '198.51.100.1', 6: 'fd00:51::1' } as const;
export const nodeAddress = (index: number): { readonly 4: string; readonly 6: string } => ({
  4: `192.168.100.${10 + index}`,
  6: `fd00:100::${10 + index}`,
});
export const podRanges = ['10.244.0.0/16', 'fd00:10:244::/48'];
export const serviceRange = '10.96.0.0/16,fd00:10:96::/112';
/** The address of the name server for pods, on each node. */
export const clusterDns = '169.254.20.10';
/** The address of the Service of CoreDNS, on a cluster that runs it. */
export const coreDnsAddress = '10.96.0.10';
