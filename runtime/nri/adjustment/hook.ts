import type { AdjustedHook } from '../../containers/adjusted.ts';
import type { KindedHook } from './change.ts';
import type { OwnedChange } from './merge.ts';
import { badAdjustment, notAllowed } from './refusal.ts';

/** Seconds. The container waits for a hook. */
const longestHook = 300;

/**
 * Variables by which a loader, a shell or an interpreter runs other code than the allowed program (glibc,
 * sysdeps/generic/unsecvars.h; bash(1); environ(7)).
 */
const redirecting =
  /^(LD_.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|NLSPATH|MALLOC_.*|BASH_.*|ENV|SHELLOPTS|BASHOPTS|IFS|CDPATH|PYTHON.*|PERL.*|RUBY.*|NODE_.*|OPENSSL_.*|GIT_.*)$/;

/** Folders that only root can change. */
const searched = /^(?:\/(?:usr\/(?:local\/)?)?s?bin(?::(?=.)|$))+$/;

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
  const variable = env.find(redirects);
  if (variable !== undefined)
    throw notAllowed(
      change,
      `the variable ${JSON.stringify(variable.split('=', 1)[0]?.slice(0, 64))} of a hook can make the host run another program`,
      'remove the variable, or add a program to nri.allowHooks that sets it',
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

/** Whether a variable changes which code the allowed program runs. */
function redirects(variable: string): boolean {
  const [name = '', ...rest] = variable.split('=');
  return name === 'PATH' ? !searched.test(rest.join('=')) : redirecting.test(name);
}
