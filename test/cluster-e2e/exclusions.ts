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
];
