import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { StartProgram } from '../../../base/reactor/index.ts';
import type { NetworkEngine } from '../../../cni-plugins/index.ts';
import type { MonitorFolders } from '../../monitor/conmon.ts';
import type { ExitWatch } from '../../monitor/exits.ts';
import { tracedConfinement, tracedContainerEffects, tracedRootfs } from './traced-effects.ts';
import type { CgroupDriver } from '../../cgroups/cgroup-driver.ts';
import type { ExecScopes } from '../../oci/exec-scope.ts';
import { detectResourceSupport } from '../../cgroups/resource-support.ts';
import type { RuntimeHandler } from '../../oci/runtime-handler.ts';
import { digest, now } from '../../state/identity.ts';
import type { ContainerEffects } from '../container-effects.ts';
import { restoreInput } from './restore-input.ts';
import { creationEffects } from './creation.ts';
import type { CreationEffectDeps } from './creation.ts';
import { exitEffects } from './exits.ts';
import { createMonitors } from './monitors.ts';
import { createSlots } from '../../processes/slots.ts';
import { createPlaces } from './container-locations.ts';
import { processEffects } from './processes.ts';
import { runningEffects } from './running.ts';
import { linkPolicyFor } from '../link-class.ts';
import { containerLogPath } from '../logs/log-path.ts';
import type { ContainerRecord } from '../record.ts';

export interface ContainerEffectDeps extends Omit<
  CreationEffectDeps,
  'monitors' | 'places' | 'resourceSupport'
> {
  readonly startProgram: StartProgram;
  readonly conmon: string;
  readonly folders: MonitorFolders;
  readonly network: NetworkEngine;
  /** By name; the empty name is the default handler. */
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly exits: ExitWatch;
  readonly cgroupDriver: CgroupDriver;
  readonly execScopes: ExecScopes;
  /** How long the runtime may take to restore a container, if this is longer than for a creation. */
  readonly restoreSeconds: number;
}

/** Returns the folder of one container: bundle, pid files, attach socket. */
export function bundleIn(stateDir: string, id: string): string {
  return join(stateDir, 'containers', id);
}

/** Creates the real effects, each a part of the trace of its call. */
export function createContainerEffects(deps: ContainerEffectDeps): ContainerEffects {
  const { images, confinement } = deps;
  return tracedContainerEffects(
    realEffects({ ...deps, images: tracedRootfs(images), confinement: tracedConfinement(confinement) }),
  );
}

function realEffects(input: ContainerEffectDeps): ContainerEffects {
  const slots = createSlots(availableParallelism());
  const resourceSupport = detectResourceSupport(input.cgroups);
  const places = createPlaces({ ...input, bundle: (id) => bundleIn(input.stateDir, id) });
  const deps = {
    ...input,
    slots,
    resourceSupport,
    places,
    restoreInput: (record: ContainerRecord) =>
      restoreInput(
        record,
        input.sandbox(record.sandboxId),
        input.restoreFolder(record.id),
        input.restoreSeconds,
      ),
  };
  const monitors = createMonitors(deps);
  return {
    ...creationEffects({ ...deps, monitors }),
    ...processEffects(deps),
    ...exitEffects(deps),
    ...runningEffects(deps),
    raiseNetwork: async (sandbox, containers) => {
      if (sandbox.attachment === undefined) return;
      const { class: linkClass, ...rules } = linkPolicyFor(containers);
      await input.network.setClass(sandbox.id, linkClass, rules);
    },
    logPath: (config, sandbox) => containerLogPath(sandbox.config.logDirectory, config.logPath),
    digest,
    newId: monitors.newId,
    forgetId: monitors.forget,
    expect: (sandbox) => {
      input.confinement.warm();
      monitors.expect(sandbox);
    },
    close: monitors.close,
    now,
    clock: {
      now: () => performance.now(),
      // A longer timer would fire at once; the waiter checks the clock again.
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, Math.min(ms, 2 ** 31 - 1)).unref()),
    },
  };
}
