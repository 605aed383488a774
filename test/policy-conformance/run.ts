/**
 * `npm run test:policy-conformance [-- --run REGEX] [--nodes N] [--keep-logs DIR]`: the conformance suite of
 * ClusterNetworkPolicies, in its own namespaces and cgroups (README.md).
 */
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPrograms } from '../cluster/programs.ts';
import { runApart } from '../node-conformance/apart.ts';

const { values } = parseArgs({
  options: {
    run: { type: 'string', default: '.' },
    nodes: { type: 'string', default: '2' },
    'keep-logs': { type: 'string' },
  },
});
buildPrograms([
  ...['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet'],
  ...['agnhost', 'pause', 'policy-conformance'],
]);
process.exit(
  await runApart({
    name: 'policy-conformance',
    script: join(import.meta.dirname, 'inside.ts'),
    args: [values.nodes, values.run],
    keepLogs: values['keep-logs'],
    logsOf: (folder) => globSync(['*.log', 'node-*/{kubelet,daemon}.log'], { cwd: folder }),
  }),
);
