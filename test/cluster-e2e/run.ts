/**
 * `npm run test:cluster-e2e [-- --focus REGEX] [--skip REGEX] [--nodes N] [--processes N] [--keep-logs
 * DIR]`: the specs of Kubernetes for clusters, in their own namespaces and cgroups (README.md).
 */
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPrograms } from '../cluster/programs.ts';
import { runApart } from '../node-conformance/apart.ts';

const { values } = parseArgs({
  options: {
    // Also those of the first two groups that are not required for conformance.
    focus: { type: 'string', default: String.raw`Netpol|\[sig-network\] (Services|DNS) |\[Conformance\]` },
    skip: { type: 'string', default: String.raw`\[Flaky\]|\[Disruptive\]` },
    nodes: { type: 'string', default: '3' },
    processes: { type: 'string', default: '6' },
    'keep-logs': { type: 'string' },
  },
});
buildPrograms([
  ...['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet'],
  ...['agnhost', 'agnhost-tools', 'nonewprivs', 'pause', 'busybox-sh'],
  ...['e2e-cluster', 'sample-apiserver', 'kubectl', 'ginkgo'],
]);
process.exit(
  await runApart({
    name: 'cluster-e2e',
    script: join(import.meta.dirname, 'inside.ts'),
    args: [values.nodes, values.processes, values.focus, values.skip],
    keepLogs: values['keep-logs'],
    logsOf: (folder) => globSync(['*.log', 'node-*/{kubelet,daemon}.log', 'reports'], { cwd: folder }),
  }),
);
