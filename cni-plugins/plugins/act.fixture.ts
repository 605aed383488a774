import { parentPort } from 'node:worker_threads';
import { readConfig } from '../networks/addresses.ts';
import { hostFacts } from '../links/host-facts.ts';
import { withPodNamespace } from '../namespaces/netns.ts';
import { NETLINK_NETFILTER, NETLINK_ROUTE, inNamespaces } from '../../base/kernel/index.ts';
import { errorToJson, isPortcullisError } from '../../base/errors/index.ts';
import { openNetlink } from '../../base/netlink/index.ts';
import type { Problems } from '../spec/fields.ts';
import type { CniResult } from '../spec/result.ts';
import type { PlanInput, Resource, ResourceKernel } from './contract/contract.ts';
import type { AttachmentKey } from '../spec/attachment-key.ts';
import type { Act, Answer } from './pod.fixture.ts';
import { addressPlugins, completion, kindOf, plugins } from './registry.ts';

/** The Worker of pod.fixture.ts: runs a plugin as the engine does, without the engine's database. */

const route = openNetlink(NETLINK_ROUTE);
const filter = openNetlink(NETLINK_NETFILTER);

function withKernel<T>(netns: string, body: (kernel: ResourceKernel) => T): T {
  const host = { route, filter };
  const inHost = <R>(inner: () => R): R => inner();
  const hostPath = (path: string): string => path;
  const gone: ResourceKernel = {
    host,
    inHost,
    hostPath,
    inPod() {
      throw new Error('the namespace is gone');
    },
  };
  if (netns === '') return body(gone);
  return withPodNamespace(netns, {}, (pod) =>
    body({ host, inHost, hostPath, pod, inPod: (inner) => inNamespaces({ net: pod.netnsFd }, inner) }),
  );
}

const sleepCell = new Int32Array(new SharedArrayBuffer(4));
const stored = new Map<string, readonly Resource[]>();
const nameOf = (type: string, key: AttachmentKey): string =>
  [type, key.network, key.containerId, key.interface].join('\0');

function add(act: Act, kernel: ResourceKernel): CniResult {
  const plugin = plugins.find((candidate) => candidate.type === act.type);
  if (plugin === undefined) throw new Error(`no plugin ${act.type}`);
  const problems: Problems = [];
  const config = readConfig(act.config, problems);
  const own = config === undefined ? undefined : plugin.read(config, act.args);
  const ipam = config?.object('ipam')?.text('type');
  const addresses = addressPlugins.find((candidate) => candidate.type === ipam);
  const leased =
    addresses === undefined || config === undefined
      ? undefined
      : addresses.lease(addresses.read(config, act.args));
  if (problems.length > 0 || config === undefined) throw new Error(`problems: ${problems.join('\n')}`);
  const input: PlanInput = {
    key: act.key,
    netns: act.netns,
    hostInterface: 'pc0123456789ab',
    args: act.args,
    ...(act.prevResult === undefined ? {} : { prevResult: act.prevResult }),
    addresses: leased?.addresses ?? [],
    ipamRoutes: leased?.routes ?? [],
    dns: leased?.dns ?? {},
    host: hostFacts(route),
  };
  const observed = plugin.observe?.(own, kernel, input);
  const plan = plugin.plan(
    own,
    observed === undefined ? input : { ...input, observed: JSON.parse(JSON.stringify(observed)) as unknown },
  );
  const resources = JSON.parse(JSON.stringify(plan.resources)) as Resource[];
  stored.set(nameOf(act.type, act.key), resources);
  // Run twice: a second attempt finds what the first one created.
  for (let attempt = 0; attempt < 2; attempt += 1) {
    for (const resource of resources) kindOf(resource).ensure(resource, kernel, act.key);
    complete(resources, kernel);
  }
  return plan.result;
}

function complete(resources: readonly Resource[], kernel: ResourceKernel): void {
  const started = performance.now();
  while (completion(resources, kernel, performance.now() - started) === 'pending')
    Atomics.wait(sleepCell, 0, 0, 20);
}

function run(act: Act): Answer {
  const resources = stored.get(nameOf(act.type, act.key)) ?? [];
  return withKernel(act.netns, (kernel): Answer => {
    if (act.verb === 'add') return { result: add(act, kernel) };
    if (act.verb === 'check')
      return {
        differences: resources.flatMap((resource) => kindOf(resource).differences(resource, kernel, act.key)),
      };
    for (const resource of resources)
      if (act.verb === 'repair') kindOf(resource).ensure(resource, kernel, act.key);
    if (act.verb === 'repair') complete(resources, kernel);
    if (act.verb === 'del')
      for (let attempt = 0; attempt < 2; attempt += 1)
        for (const resource of resources.toReversed())
          kindOf(resource).remove(resource, kernel, act.key, { has: () => undefined });
    return {};
  });
}

parentPort?.on('message', ({ id, act }: { id: number; act: Act }) => {
  try {
    parentPort?.postMessage({ id, answer: run(act) });
  } catch (thrown) {
    const answer: Answer = isPortcullisError(thrown)
      ? { failure: errorToJson(thrown) }
      : { fault: String(thrown) };
    parentPort?.postMessage({ id, answer });
  }
});
