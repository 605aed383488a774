/** Runs in its own namespaces and cgroups (run.ts): a cluster with signed images, and the suite. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';
import { switchAddress } from '../cluster/nodes/addresses.ts';
import { addRoutesToPods, openCluster, until } from '../cluster/nodes/cluster.ts';
import type { ApiServer } from '../fixtures/kubernetes/api-server.ts';
import { findTool } from '../fixtures/tools.ts';
import { mirroredHost, policyRules } from '../node-conformance/names.ts';
import { prepareNamespaces } from '../node-conformance/namespaces.ts';
import { countsOf, format, judge } from '../node-conformance/report.ts';
import { exclusions } from './exclusions.ts';
import { publishAgnhost } from './image.ts';
import { readResults } from './results.ts';

const [folder = '', nodes = '', run = ''] = process.argv.slice(2);
const program = findTool('policy-conformance').path;

prepareNamespaces(folder, switchAddress[4]);
const cluster = await openCluster(folder, Number(nodes), {
  imageHost: mirroredHost,
  policyRules,
  networkPolicies: true,
  // A node takes up to a minute to notice it.
  prepare: installDefinition,
});
await publishAgnhost(cluster.publisher);
await addRoutesToPods(cluster);

const { pki, url } = cluster.controlPlane.api;
const user = 'administrator';
const kubeconfig = pki.kubeconfig(user, url, pki.client(user, user, ['system:masters']));
const log = join(folder, 'suite.log');
const output = openSync(log, 'w');
const suite = spawn(
  program,
  [
    ...['-test.v', '-test.timeout=2h', `-test.run=^TestConformance$/${run}`],
    ...['-all-features', '-cleanup-base-resources=false'],
  ],
  { cwd: folder, stdio: ['ignore', output, output], env: { ...process.env, KUBECONFIG: kubeconfig } },
);
closeSync(output);
await once(suite, 'exit');
const results = readResults(readFileSync(log, 'utf8'));
const verdict = judge(results, exclusions);
console.log(format(results, verdict));
const complaints = cluster.nodes
  .filter(({ daemon }) => !daemon.isAlive())
  .map(({ name }) => `the daemon of ${name} has ended`);
if (results.length === 0) complaints.push('no test ran: see suite.log (--keep-logs DIR)');
await cluster.close();
for (const one of complaints) console.log(`✖ ${one}`);
console.log(`tests of policies on a cluster of ${nodes} nodes: ${countsOf(results, verdict)}`);
process.exit(verdict.unexplained.length === 0 && complaints.length === 0 ? 0 : 1);

/** Installs the CustomResourceDefinition that `test/peers/get` puts beside the programs. */
async function installDefinition({ ask }: ApiServer): Promise<void> {
  const file = join(dirname(dirname(program)), 'clusternetworkpolicies.yaml');
  const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
  await ask('POST', definitions, parse(readFileSync(file, 'utf8')) as object);
  await until(
    'the API server has ClusterNetworkPolicies',
    () => ask('GET', '/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies'),
    () => true,
  );
}
