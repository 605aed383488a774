import type { CallPlugin, Caller, CheckPlugins, PluginCall } from '../../calls/plugin-call.ts';
import { bareType } from '../../calls/plugin-type.ts';
import { argumentsOf } from './step.ts';
import type { Command, RunStep, RunSteps, Step } from './step.ts';

const verbs = {
  ADD: 'add',
  DEL: 'del',
  CHECK: 'check',
  GC: 'gc',
  STATUS: 'status',
} as const satisfies Readonly<Record<Command, string>>;

/**
 * Calls our plugins without starting a program.
 * @param binDirs folders of third-party IPAM plugins
 * @param caller in whose namespaces they act
 */
export function inProcessStep(
  callPlugin: CallPlugin,
  binDirs: readonly string[],
  caller: Caller = {},
): RunStep {
  return (step) => callPlugin(callOf(step, binDirs, caller));
}

/** Runs CHECK of our plugins, all at once. */
export function inProcessCheck(checkPlugins: CheckPlugins, binDirs: readonly string[]): RunSteps {
  return (steps) => checkPlugins(steps.map((step) => callOf(step, binDirs, {})));
}

function callOf(
  { command, plugin, network, config, prevResult, of, valid }: Step,
  binDirs: readonly string[],
  caller: Caller,
): PluginCall {
  return {
    verb: verbs[command],
    type: bareType(plugin.type),
    caller,
    key: { network, containerId: of?.pod.id ?? '', interface: of?.interface ?? '' },
    netns: of?.pod.netns ?? '',
    args: of === undefined ? {} : argumentsOf(of.pod),
    path: binDirs,
    config,
    ...(prevResult !== undefined && { prevResult }),
    ...(valid !== undefined && { valid }),
  };
}
