import { launcherArguments } from '../../base/elf/index.ts';
import { launcherPath } from '../container-mounts/launcher-name.ts';
import type { OciSpec } from './spec.types.ts';

/** Returns the launcher's file on the host, if the container has a launcher. */
export function launcherOf({ mounts }: Pick<OciSpec, 'mounts'>): string | undefined {
  return mounts.find(({ destination }) => destination === launcherPath)?.source;
}

/** Returns the arguments of a container's process that starts through its launcher. */
export function launchedArguments(args: readonly string[], env: readonly string[]): readonly string[] {
  return launcherArguments(launcherPath, args, pathOf(env));
}

/**
 * Returns the arguments of another command in a container. The command starts through the launcher if the
 * container has one mounted.
 */
export function commandArguments(
  own: Pick<OciSpec, 'mounts' | 'process'>,
  command: readonly string[],
): readonly string[] {
  const launched = own.mounts.some(({ destination }) => destination === launcherPath);
  return launched ? launchedArguments(command, own.process.env) : command;
}

function pathOf(env: readonly string[]): string | undefined {
  return env.findLast((entry) => entry.startsWith('PATH='))?.slice('PATH='.length);
}
