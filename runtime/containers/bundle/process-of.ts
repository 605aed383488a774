import { attempt, PortcullisError } from '../../../base/errors/index.ts';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import type { ImageConfig } from '../../images/types.ts';
import { isAtOrBelow } from '../../container-mounts/at-or-below.ts';
import { cleanContainerPath } from '../../oci/container-path.ts';

/**
 * Returns the argument vector: `command` replaces the image's Entrypoint and Cmd, `args` replaces its Cmd
 * (Kubernetes; image-spec config.md).
 * @throws PortcullisError RUNTIME_NO_COMMAND when neither the container nor the image names a program
 */
export function argumentsOf(config: ContainerConfig, image: ImageConfig): string[] {
  const { command, args } = config;
  const head = command.length > 0 ? command : image.entrypoint;
  const tail = command.length > 0 || args.length > 0 ? args : image.cmd;
  const all = [...head, ...tail];
  if (all.length === 0) {
    throw invalid(
      'RUNTIME_NO_COMMAND',
      'neither the container nor the image names a program to run',
      'set `command`, or build the image with an entrypoint',
    );
  }
  return all;
}

const environmentName = /^[^=\0\n]+$/;

/**
 * Returns the variables of the image, then those of the container; a later variable replaces an earlier one
 * of the same name. Adds PATH and HOSTNAME when neither sets them.
 * @throws PortcullisError RUNTIME_BAD_ENVIRONMENT
 */
export function environmentOf(config: ContainerConfig, image: ImageConfig, hostname: string): string[] {
  const values = new Map<string, string>([
    ['PATH', '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    ['HOSTNAME', hostname],
  ]);
  if (config.tty) values.set('TERM', 'xterm');
  for (const entry of image.env) {
    const split = entry.indexOf('=');
    if (split > 0) values.set(entry.slice(0, split), entry.slice(split + 1));
  }
  for (const { key, value } of config.envs) {
    const text = utf8(value);
    if (!environmentName.test(key) || text === undefined || text.includes('\0')) {
      throw invalid(
        'RUNTIME_BAD_ENVIRONMENT',
        `the variable name ${JSON.stringify(key)} or its value contains a character that cannot be passed on`,
        'use a name without "=", NUL or line feed, and a value in UTF-8',
      );
    }
    values.set(key, text);
  }
  return [...values].map(([key, value]) => `${key}=${value}`);
}

/** Returns the variables without those of these names. */
export function withoutVariables(env: readonly string[], removed: readonly string[] = []): readonly string[] {
  const names = new Set(removed);
  return names.size === 0 ? env : env.filter((entry) => !names.has(entry.slice(0, entry.indexOf('='))));
}

/**
 * Returns the working folder, normalized: `..` does not lead above the root of the container. Refuses a path
 * under /proc, through which a leaked descriptor becomes an escape (CVE-2024-21626).
 * @throws PortcullisError RUNTIME_BAD_WORKING_DIR; RUNTIME_CREATE_FAILED (kind precondition) for a relative
 * path, which no OCI runtime accepts: like a command that cannot be run, it makes the start of its container
 * fail
 */
export function workingDirOf(config: ContainerConfig, image: ImageConfig): string {
  const asked = config.workingDir || image.workingDir || '/';
  const path = cleanContainerPath(asked);
  const fix = 'give an absolute path of the image or of a volume';
  if (asked.includes('\0') || isAtOrBelow(path, '/proc'))
    throw invalid(
      'RUNTIME_BAD_WORKING_DIR',
      `the working folder ${JSON.stringify(asked)} is not a path outside /proc`,
      fix,
    );
  if (!asked.startsWith('/'))
    throw new PortcullisError({
      code: 'RUNTIME_CREATE_FAILED',
      kind: 'precondition',
      attempted: 'create container',
      on: '',
      why: `the working folder ${JSON.stringify(asked)} is not an absolute path`,
      fix,
    });
  return path;
}

function utf8(value: Uint8Array): string | undefined {
  return attempt(() => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value));
}

function invalid(code: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code, kind: 'invalid', attempted: 'create container', on: '', why, fix });
}
