import type { Exclusion } from '../node-conformance/report.ts';

/** Specs that are expected to fail, with the reasons. A run reports those that pass. */
export const exclusions: readonly Exclusion[] = [
  {
    specs: /Netpol \[Feature:SCTPConnectivity\]/,
    reason: 'needs sockets of SCTP, which the kernel of this machine lacks',
  },
  {
    specs: /DNS should support configurable pod resolv\.conf/,
    reason: 'starts CoreDNS from the image of agnhost, which does not contain it here',
  },
  {
    specs: /DNS configMap nameserver/,
    reason: 'configures the pods of CoreDNS in kube-system. The daemons answer in their place',
  },
  {
    specs: /Services should preserve source pod IP for traffic thru service cluster IP/,
    reason:
      'a connection that leaves by the link of its client is masqueraded (docs/services.md), so that a backend on the node of its client sees the address of the bridge',
  },
];
