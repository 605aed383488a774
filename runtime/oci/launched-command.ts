import { launcherArguments } from '../../base/elf/index.ts';
import type { OciSpec } from './spec.types.ts';

/** Where a container that Landlock confines finds what sets its rules up: in its root, as nothing hides that. */
export const launcherPath = '/.portcullis-launcher';

/** The arguments of a container's process that goes through its launcher. */
export function launchedArguments(args: readonly string[], env: readonly string[]): readonly string[] {
  return launcherArguments(launcherPath, args, pathOf(env));
}

/** The arguments of another command in a container: through the launcher where the container has one mounted. */
export function commandArguments(own: Pick<OciSpec, 'mounts' | 'process'>, command: readonly string[]): readonly string[] {
  const launched = own.mounts.some(({ destination }) => destination === launcherPath);
  return launched ? launchedArguments(command, own.process.env) : command;
}

function pathOf(env: readonly string[]): string | undefined {
  return env.findLast((entry) => entry.startsWith('PATH='))?.slice('PATH='.length);
}
