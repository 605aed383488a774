/**
 * `npm run test:cluster [-- --nodes N] [--focus REGEX] [--keep-logs DIR]`: a Kubernetes cluster on this
 * machine, in its own namespaces (README.md).
 */
import '../fixtures/private-namespaces.ts';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { lasting, leftovers } from '../house/leftovers.ts';
import type { Context } from './checks/check.ts';
import { faultChecks } from './checks/faults.ts';
import { podChecks } from './checks/pods.ts';
import { routeChecks } from './checks/routes.ts';
import { serviceChecks } from './checks/services.ts';
import { keepLogs, openCluster, untilNodesReady } from './nodes/cluster.ts';
import { cgroups, createNamespace, publishImages } from './prepare.ts';
import { buildPrograms } from './programs.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '3' },
    focus: { type: 'string' },
    'keep-logs': { type: 'string' },
  },
});
buildPrograms(['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet']);

const allChecks = [...podChecks, ...serviceChecks, ...routeChecks, ...faultChecks];
const atFirst = leftovers();
const folder = mkdtempSync(join(tmpdir(), 'portcullis-cluster-'));
const cluster = await openCluster(folder, Number(values.nodes));
const counts = { passed: 0, failed: 0 };
const focus = values.focus === undefined ? undefined : new RegExp(values.focus);
const left: string[] = [];
try {
  await report('every node is Ready, and no conflist was written by hand', async () => {
    await untilNodesReady(cluster);
  });
  const context: Context = { cluster, images: await publishImages(cluster) };
  await createNamespace(cluster);
  // The first check creates what the others use.
  for (const check of allChecks.filter(({ name }, index) => index === 0 || (focus?.test(name) ?? true)))
    await report(check.name, () => check.run(context));
} finally {
  if (values['keep-logs'] !== undefined) keepLogs(cluster, folder, values['keep-logs']);
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
}
left.push(
  // Other runs on this machine have monitors as well.
  ...(await lasting(atFirst)).filter((line) => !line.startsWith('process') || line.includes(folder)),
  ...cgroups(),
);
for (const one of left) console.log(`left behind: ${one}`);
console.log(
  `cluster of ${values.nodes} nodes: ${counts.passed} passed, ${counts.failed} failed; ${left.length} left behind`,
);
process.exit(counts.failed === 0 && left.length === 0 ? 0 : 1);

async function report(name: string, act: () => Promise<void>): Promise<void> {
  const start = performance.now();
  const seconds = (): string => `${((performance.now() - start) / 1000).toFixed(1)} s`;
  try {
    await act();
    counts.passed += 1;
    console.log(`✔ ${name} (${seconds()})`);
  } catch (cause) {
    counts.failed += 1;
    console.log(`✖ ${name} (${seconds()})\n    ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}
