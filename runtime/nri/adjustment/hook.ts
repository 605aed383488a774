import type { AdjustedHook } from '../../containers/adjusted.ts';
import type { KindedHook } from './change.ts';
import type { OwnedChange } from './merge.ts';
import { badAdjustment, notAllowed } from './refusal.ts';

/** Seconds. The container waits for a hook. */
const longestHook = 300;

/**
 * Returns the OCI hook that a plugin adds. Pure.
 * @param allowed the programs that the configuration of the node allows
 * @throws PortcullisError NRI_NOT_ALLOWED, NRI_BAD_ADJUSTMENT
 */
export function addedHook(change: OwnedChange, allowed: readonly string[]): AdjustedHook {
  const { kind, hook } = change.value as KindedHook;
  const { path, args, env, timeout } = hook;
  if (!allowed.includes(path))
    throw notAllowed(
      change,
      'a hook is a program that runs on the host, and the configuration does not allow this program',
      'add its path to nri.allowHooks in the configuration',
    );
  if (timeout !== undefined && !(timeout.value > 0 && timeout.value <= longestHook))
    throw badAdjustment(change, `its timeout is ${timeout.value} s`, `use 1 to ${longestHook} seconds`);
  return {
    hookName: kind,
    path,
    ...(args.length > 0 && { args }),
    ...(env.length > 0 && { env }),
    // A hook without a timeout could prevent the start of a container forever.
    timeout: timeout?.value ?? longestHook,
  };
}
