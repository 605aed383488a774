/**
 * `npm run test:cluster-e2e [-- --name-server daemon|coredns] [--focus REGEX] [--skip REGEX] [--nodes N]
 * [--processes N] [--keep-logs DIR]`: the specs of Kubernetes for clusters, in their own namespaces and
 * cgroups (README.md).
 */
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPrograms } from '../cluster/programs.ts';
import { runApart } from '../node-conformance/apart.ts';

/** The name servers that a cluster can have, with the specs that run on it by default. */
const runs = {
  daemon: {
    // Also specs of the first two groups that are not required for conformance.
    focus: String.raw`Netpol|\[sig-network\] (Services|DNS) |\[Conformance\]`,
    // These specs change the configuration of CoreDNS.
    skip: ['DNS configMap nameserver'],
  },
  coredns: { focus: String.raw`\[sig-network\] DNS `, skip: [] },
} as const;

const { values } = parseArgs({
  options: {
    'name-server': { type: 'string' },
    focus: { type: 'string' },
    skip: { type: 'string', default: String.raw`\[Flaky\]|\[Disruptive\]` },
    nodes: { type: 'string', default: '3' },
    processes: { type: 'string', default: '6' },
    'keep-logs': { type: 'string' },
  },
});
const { 'name-server': chosen, 'keep-logs': kept, focus, skip, nodes, processes } = values;
const names = Object.keys(runs) as (keyof typeof runs)[];
// Specs that somebody selected run once.
const wanted = chosen ?? (focus === undefined ? undefined : 'daemon');
const selected = names.filter((name) => wanted === undefined || name === wanted);
if (selected.length === 0) {
  console.error(`test:cluster-e2e: --name-server ${chosen}: expected ${names.join(' or ')}`);
  process.exit(2);
}
buildPrograms([
  ...['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet'],
  ...['agnhost', 'agnhost-tools', 'coredns', 'nonewprivs', 'pause', 'busybox-sh'],
  ...['e2e-cluster', 'sample-apiserver', 'kubectl', 'ginkgo'],
]);
let worst = 0;
for (const name of selected) {
  const run = runs[name];
  const status = await runApart({
    name: 'cluster-e2e',
    script: join(import.meta.dirname, 'inside.ts'),
    args: [name, nodes, processes, focus ?? run.focus, [skip, ...run.skip].join('|')],
    keepLogs: kept === undefined ? undefined : join(kept, name),
    logsOf: (folder) => globSync(['*.log', 'node-*/{kubelet,daemon}.log', 'reports'], { cwd: folder }),
  });
  worst = Math.max(worst, status);
  if (status === 130) break;
}
process.exit(worst);
