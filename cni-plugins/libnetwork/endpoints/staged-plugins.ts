import { join } from 'node:path';
import type { Caller } from '../../calls/plugin-call.ts';
import type { RunStep } from '../../cni/index.ts';
import type { ActsApart } from '../acts/act-thread.ts';
import { stepsIn } from './engine-host.ts';
import type { StepOptions } from './engine-host.ts';
import { holding, withPluginLock } from './plugin-lock.ts';
import type { CnmNetwork } from '../acts/records.ts';

/**
 * Runs plugins on an endpoint in its staging namespace. Plugins that a killed driver started have ended
 * before.
 */
export type StagedPlugins = <T>(
  id: string,
  network: CnmNetwork,
  caller: Caller,
  act: (run: RunStep, netns: string) => Promise<T>,
  kept?: 'kept when it fails',
) => Promise<T>;

export interface StagedPluginsDeps extends StepOptions {
  readonly acts: Pick<ActsApart, 'stage' | 'unstage'>;
  /** The folder of the staging namespaces and of the locks. */
  readonly stagingDir: string;
}

/** Returns the function that runs plugins in staging namespaces. */
export function createStagedPlugins({ acts, stagingDir, ...options }: StagedPluginsDeps): StagedPlugins {
  return <T>(
    id: string,
    network: CnmNetwork,
    caller: Caller,
    act: (run: RunStep, netns: string) => Promise<T>,
    kept?: 'kept when it fails',
  ): Promise<T> => {
    const inStage = async (run: RunStep): Promise<T> => {
      const netns = await acts.stage(id);
      let done = false;
      try {
        const value = await act(run, netns);
        done = true;
        return value;
      } finally {
        if (done || kept === undefined) await acts.unstage(id);
      }
    };
    if (network.way === 'in-process') return inStage(stepsIn(caller, network.way, options));
    const { programs } = options;
    return withPluginLock(join(stagingDir, `${id}.lock`), id, programs.timeoutMs, (fd) =>
      inStage(
        stepsIn(caller, network.way, {
          ...options,
          programs: { ...programs, startProgram: holding(programs.startProgram, fd) },
        }),
      ),
    );
  };
}
