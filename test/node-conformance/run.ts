/**
 * `npm run test:node-conformance [-- --focus REGEX] [--labels FILTER] [--runtime portcullis|containerd]
 * [--processes N] [--keep-logs DIR]`: the specs of Kubernetes for nodes, in their own namespaces and cgroups
 * (README.md).
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPrograms } from '../cluster/programs.ts';
import { runApart } from './apart.ts';
import { isRuntimeName, runtimeNames } from './names.ts';

const { values } = parseArgs({
  options: {
    focus: { type: 'string', default: '.' },
    labels: { type: 'string', default: 'NodeConformance' },
    runtime: { type: 'string', default: 'portcullis' },
    processes: { type: 'string', default: '16' },
    'keep-logs': { type: 'string' },
  },
});
if (!isRuntimeName(values.runtime)) {
  console.error(`node-conformance: --runtime is one of ${runtimeNames.join(', ')}`);
  process.exit(2);
}
buildPrograms([
  ...['e2e-node', 'ginkgo', 'kubelet', 'pause', 'busybox-sh'],
  ...['agnhost', 'agnhost-tools', 'coredns', 'nonewprivs'],
  ...(values.runtime === 'containerd' ? ['containerd', 'runc'] : []),
]);
process.exit(
  await runApart({
    name: 'node-conformance',
    script: join(import.meta.dirname, 'inside.ts'),
    args: [values.runtime, values.processes, values.focus, values.labels],
    keepLogs: values['keep-logs'],
    logsOf: (folder) => readdirSync(folder).filter((name) => name.endsWith('.log') || name === 'reports'),
  }),
);
