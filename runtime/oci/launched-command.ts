import { launcherArguments } from '../../base/elf/index.ts';
import type { OciSpec } from './spec.types.ts';

/**
 * The path of the launcher, which sets up the rules of a container that Landlock confines. It is in the root
 * folder, because no mount hides that.
 */
export const launcherPath = '/.portcullis-launcher';

/** Returns the arguments of a container's process that starts through its launcher. */
export function launchedArguments(args: readonly string[], env: readonly string[]): readonly string[] {
  return launcherArguments(launcherPath, args, pathOf(env));
}

/**
 * Returns the arguments of another command in a container. The command starts through the launcher if the
 * container has one mounted.
 */
export function commandArguments(own: Pick<OciSpec, 'mounts' | 'process'>, command: readonly string[]): readonly string[] {
  const launched = own.mounts.some(({ destination }) => destination === launcherPath);
  return launched ? launchedArguments(command, own.process.env) : command;
}

function pathOf(env: readonly string[]): string | undefined {
  return env.findLast((entry) => entry.startsWith('PATH='))?.slice('PATH='.length);
}
