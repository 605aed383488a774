/** Runs in its own namespaces and cgroups (run.ts): registry, images, runtime, kubelet and specs. */
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { kubeletConfiguration, writeKubeletFiles } from '../fixtures/kubelet/configuration.ts';
import { makeKey, openPublisher } from '../fixtures/publisher.ts';
import { startRegistry } from '../fixtures/registry.ts';
import { findTool } from '../fixtures/tools.ts';
import { nodeAddress, nodeName, prepareNode } from '../kubelet/node/node.ts';
import { exclusionsOn } from './exclusions.ts';
import { runSpecs } from './ginkgo.ts';
import { publishImages } from './images.ts';
import { isRuntimeName } from './names.ts';
import { prepareNamespaces } from './namespaces.ts';
import { countsOf, format, judge } from './report.ts';
import type { Spec } from './report.ts';
import { startRuntime } from './runtimes.ts';

const [folder = '', runtimeName = '', processes = '', focus = '', labels = ''] = process.argv.slice(2);
if (!isRuntimeName(runtimeName)) throw new Error(`no runtime is called ${runtimeName}`);
const gates = { PodAndContainerStatsFromCRI: true };

prepareNamespaces(folder, nodeAddress);
const node = prepareNode(folder);
const policies = join(folder, 'policy');
mkdirSync(policies, { recursive: true });
const key = await makeKey(join(folder, 'k.key'), join(policies, 'k.pub'));
const registry = await startRegistry();
const publisher = openPublisher(registry, key);
const images = await publishImages(publisher, folder);
await publisher.close();
const runtime = await startRuntime(runtimeName, folder, registry.url);
console.log(`${images} signed images; ${runtimeName} answers`);

const specs = await runNodeSpecs();
const verdict = judge(specs, exclusionsOn(runtimeName));
console.log(format(specs, verdict));
const complaints: string[] = [];
if (specs.length === 0) complaints.push('no spec ran: see ginkgo.log (--keep-logs DIR)');
if (!runtime.isAlive()) complaints.push('the runtime has ended');
else
  await runtime.close().catch((cause: unknown) => {
    complaints.push(cause instanceof Error ? cause.message : String(cause));
  });
node.close();
await registry.close();
for (const one of complaints) console.log(`✖ ${one}`);
console.log(`node conformance on ${runtimeName}: ${countsOf(specs, verdict)}`);
process.exit(verdict.unexplained.length === 0 && complaints.length === 0 ? 0 : 1);

/** Runs the specs. The test program starts etcd, kube-apiserver and the kubelet, and ends them. */
async function runNodeSpecs(): Promise<Spec[]> {
  const configuration = writeKubeletFiles(folder, {
    ...kubeletConfiguration({ folder, socket: runtime.socket, cgroupRoot: '/' }),
    // The test program writes the configuration again, and loses an empty list.
    enforceNodeAllocatable: ['none'],
    // No name server is there: a question is refused at once.
    resolvConf: '/etc/resolv.conf',
    fileCheckFrequency: '10s',
    volumeStatsAggPeriod: '10s',
    serializeImagePulls: false,
  });
  // The programs write to the folder of the test program.
  const work = join(folder, 'work');
  mkdirSync(work);
  const program = join(work, 'e2e_node.test');
  symlinkSync(findTool('e2e-node').path, program);
  symlinkSync(findTool('kubelet').path, join(work, 'kubelet'));
  const reports = join(folder, 'reports');
  return runSpecs({
    ...{ program, work, reports, processes, focus },
    limit: '90m',
    skip: String.raw`\[Flaky\]|\[Slow\]|\[Serial\]`,
    // A second --focus would add specs. A label filter restricts them.
    flags: ['--label-filter', labels],
    args: [
      ...[`--container-runtime-endpoint=unix://${runtime.socket}`, `--k8s-bin-dir=${work}`],
      ...[`--report-dir=${reports}`, '--prepull-images=false'],
      ...[`--kubelet-config-file=${configuration}`, `--node-name=${nodeName}`],
      `--kubelet-flags=--node-ip=${nodeAddress} --system-cgroups= --kubelet-cgroups= --runtime-cgroups=`,
      `--feature-gates=${Object.entries(gates)
        .map(([name, value]) => `${name}=${String(value)}`)
        .join(',')}`,
    ],
  });
}
