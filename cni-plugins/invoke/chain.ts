import { isPortcullisError } from '../../base/errors/index.ts';
import { isAtLeast, parseVersion } from '../spec/cni-version.ts';
import type { PluginList } from '../spec/plugin-list.ts';
import type { CniResult } from '../spec/result.ts';
import type { ChainLink, ChainPod } from './chain.types.ts';
import { stepOf } from './step.ts';
import type { RunStep, RunSteps, ValidAttachment } from './step.ts';

/** The plugins of one list in their order (CNI specification 1.1, section 3, "Lifecycle & Ordering"; libcni's api.go). */

const atLeast = ({ cniVersion }: PluginList, version: readonly [number, number, number]): boolean => {
  const parsed = parseVersion(cniVersion);
  return typeof parsed !== 'string' && isAtLeast(parsed, version);
};

/** Each plugin is told what the one before it made. The last one's result is the network's. @throws the first failure; what was made stands */
export async function addChain(run: RunStep, link: ChainLink, pod: ChainPod): Promise<CniResult> {
  let result: CniResult | undefined;
  for (const plugin of link.list.plugins)
    result = await run(stepOf('ADD', link, plugin, pod, result === undefined ? {} : { prevResult: result }));
  return result ?? { interfaces: [], ips: [], routes: [], dns: {} };
}

/** The other way round. A plugin that fails does not keep the others from letting go; the first failure is thrown at the end. */
export async function deleteChain(run: RunStep, link: ChainLink, pod: ChainPod): Promise<void> {
  const before = link.result !== undefined && atLeast(link.list, [0, 4, 0]) ? { prevResult: link.result } : {};
  const failures: unknown[] = [];
  // An address or MAC that was asked for and cannot be read is why ADD was refused, and must not be why DEL is; ours need neither to remove a link.
  const { ips: _ips, mac: _mac, ...capabilityArgs } = link.capabilityArgs;
  const removed = link.way === 'in-process' ? { ...link, capabilityArgs } : link;
  for (const plugin of link.list.plugins.toReversed()) {
    try {
      await run(stepOf('DEL', removed, plugin, pod, before));
    } catch (thrown) {
      // An ADD that never came to it has left nothing of it.
      const neverRan = link.result === undefined && isPortcullisError(thrown) && thrown.code === 'NETWORK_PLUGIN_MISSING';
      if (!neverRan) failures.push(thrown);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** Nothing for a list that forbids it, or is older than the command. @throws what the first plugin that finds a difference says */
export async function checkChain(run: RunSteps, link: ChainLink, pod: ChainPod): Promise<void> {
  const { list, result } = link;
  if (list.disableCheck || result === undefined || !atLeast(list, [0, 4, 0])) return;
  await run(list.plugins.map((plugin) => stepOf('CHECK', link, plugin, pod, { prevResult: result })));
}

/** @throws what the first plugin says that can not add (50, 51 and others) */
export async function statusOfChain(run: RunStep, list: PluginList): Promise<void> {
  if (!atLeast(list, [1, 1, 0])) return;
  for (const plugin of list.plugins) await run(stepOf('STATUS', bare(list), plugin, undefined));
}

/** Tells each plugin which attachments there are; it removes what it has of others. */
export async function collectChain(run: RunStep, list: PluginList, valid: readonly ValidAttachment[]): Promise<void> {
  if (list.disableGC || !atLeast(list, [1, 1, 0])) return;
  const failures: unknown[] = [];
  for (const plugin of list.plugins) {
    try {
      await run(stepOf('GC', bare(list), plugin, undefined, { valid }));
    } catch (thrown) {
      failures.push(thrown);
    }
  }
  if (failures.length > 0) throw failures[0];
}

const bare = (list: PluginList): Pick<ChainLink, 'network' | 'list' | 'capabilityArgs' | 'interface'> => ({
  network: list.name,
  list,
  capabilityArgs: {},
  interface: '',
});
