/** Runs in its own namespaces and cgroups (run.ts): a cluster with signed images, and the specs. */
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { coreDnsAddress, switchAddress } from '../cluster/nodes/addresses.ts';
import { addRoutesToPods, openCluster } from '../cluster/nodes/cluster.ts';
import { findTool } from '../fixtures/tools.ts';
import { runSpecs } from '../node-conformance/ginkgo.ts';
import { publishImages } from '../node-conformance/images.ts';
import { mirroredHost, policyRules } from '../node-conformance/names.ts';
import { prepareNamespaces } from '../node-conformance/namespaces.ts';
import { countsOf, format, judge } from '../node-conformance/report.ts';
import type { Spec } from '../node-conformance/report.ts';
import { secondHandler } from '../node-conformance/runtimes.ts';
import { aggregatorFlags } from './aggregator.ts';
import { deployCoreDns } from './coredns.ts';
import { exclusions } from './exclusions.ts';
import { publishAggregatedServer } from './images.ts';

const [folder = '', nameServer = '', nodes = '', processes = '', focus = '', skip = ''] =
  process.argv.slice(2);
const isCoreDns = nameServer === 'coredns';
const reports = join(folder, 'reports');

prepareNamespaces(folder, switchAddress[4]);
const cluster = await openCluster(folder, Number(nodes), {
  imageHost: mirroredHost,
  policyRules,
  networkPolicies: true,
  ...(isCoreDns ? { nameServer: coreDnsAddress } : {}),
  daemonFlags: secondHandler(),
  apiServerFlags: aggregatorFlags,
});
const { publisher, controlPlane } = cluster;
const images = await publishImages(publisher, folder);
await addRoutesToPods(cluster);
if (isCoreDns) await deployCoreDns(cluster);
console.log(`${images} signed images; ${nodes} nodes are ready; names by ${nameServer}`);

const { pki, url } = controlPlane.api;
const user = 'administrator';
const kubeconfig = pki.kubeconfig(user, url, pki.client(user, user, ['system:masters']));
const specs = await runClusterSpecs();
const verdict = judge(specs, exclusions);
console.log(format(specs, verdict));
const complaints = cluster.nodes
  .filter(({ daemon }) => !daemon.isAlive())
  .map(({ name }) => `the daemon of ${name} has ended`);
if (specs.length === 0) complaints.push('no spec ran: see the folder reports (--keep-logs DIR)');
await cluster.close();
for (const one of complaints) console.log(`✖ ${one}`);
console.log(`specs on a cluster of ${nodes} nodes, names by ${nameServer}: ${countsOf(specs, verdict)}`);
process.exit(verdict.unexplained.length === 0 && complaints.length === 0 ? 0 : 1);

async function runClusterSpecs(): Promise<Spec[]> {
  await publishAggregatedServer(publisher);
  const work = join(folder, 'work');
  mkdirSync(work);
  const program = join(work, 'e2e.test');
  symlinkSync(findTool('e2e-cluster').path, program);
  return runSpecs({
    ...{ program, work, reports, processes, focus, skip },
    limit: '6h',
    args: [
      ...[`--kubeconfig=${kubeconfig}`, `--kubectl-path=${findTool('kubectl').path}`],
      ...[`--report-dir=${reports}`, `--e2e-output-dir=${reports}`, '--provider=skeleton'],
      `--num-nodes=${nodes}`,
    ],
  });
}
