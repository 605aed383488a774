import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { MNT_DETACH, umount } from '../../base/kernel/index.ts';
import type { Any } from './contract.types.ts';
import { fileOptions, runcOptions } from './start-messages.ts';
import { shimNamespace } from './task-api.ts';

/** The configuration of a handler whose program is a shim. */
export interface ShimConfig {
  /** Absolute path of the shim's program. */
  readonly path: string;
  /** Absolute path of the OCI runtime that the shim runs. */
  readonly runtimePath?: string;
  /** Absolute path of a configuration file of the shim. */
  readonly configPath?: string;
}

/** Whether a program is gVisor's shim. */
export function isRunscShim(path: string): boolean {
  return basename(path).startsWith('containerd-shim-runsc-');
}

/**
 * Returns the options that a shim gets with each task. containerd-shim-runc-v2 takes the program and the
 * state folder of its runtime as fields. gVisor's shim takes them from a file, which is written here unless
 * the configuration names one. Any other shim gets the configured file.
 * @param stateDir a folder for the state of this handler alone
 */
export async function shimOptions(
  { path, runtimePath, configPath }: ShimConfig,
  stateDir: string,
): Promise<(systemdCgroup: boolean) => Any | undefined> {
  const name = basename(path);
  if (name.startsWith('containerd-shim-runc-'))
    return (systemdCgroup) => ({
      typeUrl: 'containerd.runc.v1.Options',
      value: runcOptions.encode({ binaryName: runtimePath ?? 'runc', root: stateDir, systemdCgroup }),
    });
  if (configPath === undefined && !isRunscShim(path)) return () => undefined;
  const file = configPath ?? (await writeRunscFile(stateDir, runtimePath ?? 'runsc'));
  const value = fileOptions.encode({ typeUrl: 'io.containerd.runsc.v1.options', configPath: file });
  return () => ({ typeUrl: 'runtimeoptions.v1.Options', value });
}

/** gVisor's shim reads TOML (gvisor.dev, "Containerd advanced configuration"). */
async function writeRunscFile(stateDir: string, runtimePath: string): Promise<string> {
  const file = join(stateDir, 'runsc.toml');
  const text = `binary_name = ${JSON.stringify(runtimePath)}\nroot = ${JSON.stringify(join(stateDir, 'root'))}\n[runsc_config]\noci-seccomp = "true"\n`;
  await writeFile(file, text, { mode: 0o600 });
  return file;
}

/** Unmounts the empty network namespace that runsc keeps below its state folder. It makes another one. */
export function releaseRunsc(stateDir: string): void {
  const pin = join(stateDir, 'root', shimNamespace, 'null-netns');
  try {
    if (existsSync(pin)) umount(pin, MNT_DETACH);
  } catch {
    // It is not mounted.
  }
}
