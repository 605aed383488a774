import { setTimeout } from 'node:timers/promises';
import type { CniResult } from '../spec/result.ts';
import { runAddressProgram } from './address-program.ts';
import type { ProgramCommand } from './address-program.ts';
import type { Host } from '../namespaces/caller.ts';
import type { PluginCall } from '../calls/plugin-call.ts';

/**
 * The steps of a plugin call. The call is interrupted where it runs a third-party IPAM plugin, which is a
 * program, and where it waits for the kernel. Both may take long, and meanwhile the network thread does other
 * work. A call without such a step runs to its end at once.
 */
export type Steps<T> = Generator<Step, T, CniResult | undefined>;

type Step = ProgramStep | Pause | Wait;

interface Pause {
  readonly pauseMs: number;
}

/** Waits for a promise, such as that of a lease. */
interface Wait {
  readonly wait: () => Promise<void>;
}

interface ProgramStep {
  readonly type: string;
  readonly command: ProgramCommand;
}

/** Runs the steps. The error of a program is thrown at the step that asked for it. */
export function runSteps<T>(steps: Steps<T>, call: PluginCall, host: Host): T | Promise<T> {
  const first = steps.next();
  return first.done === true ? first.value : goOn(steps, first.value, call, host);
}

async function goOn<T>(steps: Steps<T>, first: Step, call: PluginCall, host: Host): Promise<T> {
  for (let step = first; ;) {
    const next = await pendingOf(step, call, host).then(
      (result) => steps.next(result),
      (thrown: unknown) => steps.throw(thrown),
    );
    if (next.done === true) return next.value;
    step = next.value;
  }
}

function pendingOf(step: Step, call: PluginCall, host: Host): Promise<CniResult | undefined> {
  if ('pauseMs' in step) return setTimeout(step.pauseMs, undefined);
  if ('wait' in step) return step.wait().then(() => undefined);
  return runAddressProgram(step.type, step.command, call, host);
}

/** Runs an act after all waiting acts that it must not overlap with, such as those of the same attachment. */
export type InTurn = <T>(call: PluginCall, act: () => T | Promise<T>) => T | Promise<T>;

export function createTurns(): InTurn {
  const underWay = new Map<Promise<unknown>, PluginCall>();
  return (call, act) => {
    const before = [...underWay].filter(([, other]) => meet(call, other)).map(([turn]) => turn);
    const result = before.length === 0 ? act() : Promise.allSettled(before).then(act);
    if (!(result instanceof Promise)) return result;
    const turn = Promise.allSettled([result]);
    underWay.set(turn, call);
    void turn.then(() => underWay.delete(turn));
    return result;
  };
}

/**
 * Returns whether two calls must not overlap. A GC would treat an attachment that is being added as a
 * leftover, so no call of the same network runs together with it.
 */
function meet(a: PluginCall, b: PluginCall): boolean {
  if (a.key.network !== b.key.network) return false;
  if (a.verb === 'gc' || b.verb === 'gc') return true;
  return (
    a.key.containerId === b.key.containerId && a.key.interface === b.key.interface && a.key.containerId !== ''
  );
}
