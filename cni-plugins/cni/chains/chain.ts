import { isPortcullisError } from '../../../base/errors/index.ts';
import { isAtLeast, parseVersion } from '../../spec/cni-version.ts';
import type { PluginList } from '../../spec/plugin-list.ts';
import type { CniResult } from '../../spec/result.ts';
import type { ChainLink, ChainPod } from '../../calls/chain.types.ts';
import { stepOf } from './step.ts';
import type { RunStep, RunSteps, ValidAttachment } from './step.ts';

/**
 * Runs the plugins of one list in their order (CNI specification 1.1, section 3, "Lifecycle & Ordering";
 * libcni's api.go).
 */

const atLeast = ({ cniVersion }: PluginList, version: readonly [number, number, number]): boolean => {
  const parsed = parseVersion(cniVersion);
  return typeof parsed !== 'string' && isAtLeast(parsed, version);
};

/**
 * Runs ADD. Each plugin receives the result of the previous one. The last result is the result of the
 * network.
 * @throws the first failure; what was created until then stays
 */
export async function addChain(run: RunStep, link: ChainLink, pod: ChainPod): Promise<CniResult> {
  let result: CniResult | undefined;
  for (const plugin of link.list.plugins)
    result = await run(stepOf('ADD', link, plugin, pod, result === undefined ? {} : { prevResult: result }));
  return result ?? { interfaces: [], ips: [], routes: [], dns: {} };
}

/**
 * Runs DEL in reverse order. If a plugin fails, the others still run; the first failure is thrown at the end.
 */
export async function deleteChain(run: RunStep, link: ChainLink, pod: ChainPod): Promise<void> {
  const before =
    link.result !== undefined && atLeast(link.list, [0, 4, 0]) ? { prevResult: link.result } : {};
  const failures: unknown[] = [];
  // A requested address or MAC that cannot be parsed made ADD fail, and must not make DEL fail. Our plugins
  // need neither to remove a link.
  const { ips: _ips, mac: _mac, ...capabilityArgs } = link.capabilityArgs;
  const removed = link.way === 'in-process' ? { ...link, capabilityArgs } : link;
  for (const plugin of link.list.plugins.toReversed()) {
    try {
      await run(stepOf('DEL', removed, plugin, pod, before));
    } catch (thrown) {
      // If the ADD never reached this plugin, the plugin left nothing.
      const neverRan =
        link.result === undefined && isPortcullisError(thrown) && thrown.code === 'NETWORK_PLUGIN_MISSING';
      if (!neverRan) failures.push(thrown);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/**
 * Runs CHECK. Does nothing for a list that disables it or is older than the command.
 * @throws the error of the first plugin that finds a difference
 */
export async function checkChain(run: RunSteps, link: ChainLink, pod: ChainPod): Promise<void> {
  const { list, result } = link;
  if (list.disableCheck || result === undefined || !atLeast(list, [0, 4, 0])) return;
  await run(list.plugins.map((plugin) => stepOf('CHECK', link, plugin, pod, { prevResult: result })));
}

/** Runs STATUS. @throws the error of the first plugin that cannot add (50, 51 and others) */
export async function statusOfChain(run: RunStep, list: PluginList): Promise<void> {
  if (!atLeast(list, [1, 1, 0])) return;
  for (const plugin of list.plugins) await run(stepOf('STATUS', bare(list), plugin, undefined));
}

/** Runs GC: passes the valid attachments to each plugin, which removes all others that it has. */
export async function collectChain(
  run: RunStep,
  list: PluginList,
  valid: readonly ValidAttachment[],
): Promise<void> {
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
