import { lstat, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { fileReason, isPortcullisError, PortcullisError } from '../../base/errors/index.ts';
import { findPodNetwork } from '../../cni-plugins/index.ts';
import type { ReportSource } from '../../cni-plugins/index.ts';
import { defaultConfigFile, loadDaemonConfig, loadPolicySet } from '../../runtime/index.ts';
import type { DaemonConfig } from '../../runtime/index.ts';
import type { DaemonFlags } from '../options/daemon-flags.ts';

/** The existing configuration, policy and network of the machine, as the daemon would read them. */
export interface Found {
  readonly configFile: string;
  readonly configExists: boolean;
  /** The daemon's flags: settings for a new configuration file. */
  readonly flags: DaemonFlags;
  /**
   * The file of the trust policy. `kept`: policy files exist, and this is the first of them. `invalid`: the
   * daemon does not put them in force.
   */
  readonly policy: { readonly file: string; readonly kept: boolean; readonly invalid?: true };
  /** The network that pods get already. */
  readonly network?: { readonly name: string; readonly file: string };
  readonly networks: ReportSource;
}

/**
 * Reads the configuration of the daemon, and which policy and network it would use.
 * @throws PortcullisError CONFIG_INVALID, CLI_SETUP_CONFIG_DIFFERS, and why a folder of networks cannot be
 * used
 */
export async function readFound(config: string | undefined, flags: DaemonFlags): Promise<Found> {
  const configFile = resolve(config ?? defaultConfigFile);
  const configExists = await exists(configFile);
  const settings = await loadDaemonConfig({ file: configFile, mayBeMissing: true, flags });
  if (configExists && !isDeepStrictEqual(await loadDaemonConfig({ file: configFile }), settings))
    throw configDiffers(configFile, flags);
  const networks: ReportSource = {
    databasePath: join(settings.root, 'network.db'),
    confDir: settings.cni.confDir,
    choice: { plugins: settings.network.plugins, maxConfigs: 1 },
  };
  const network = networkOf(settings, networks, configFile);
  return {
    configFile,
    configExists,
    flags,
    policy: await findPolicy(settings.policy),
    ...(network !== undefined && { network }),
    networks,
  };
}

/**
 * Returns whether a file of that name exists. @throws PortcullisError CLI_SETUP_NOT_A_FILE: something else
 * has that name
 */
export async function exists(path: string): Promise<boolean> {
  const found = await lstat(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw notAFile(path, fileReason(error, path));
  });
  if (found === undefined) return false;
  const target = await stat(path).catch(() => undefined);
  if (target?.isFile() === true) return true;
  throw notAFile(path, 'it is not a regular file, or it is a symbolic link to a file that does not exist');
}

function notAFile(path: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'CLI_SETUP_NOT_A_FILE',
    kind: 'precondition',
    attempted: 'prepare this machine',
    on: path,
    why,
    fix: 'move it away, or name another path; nothing was written',
  });
}

function networkOf(settings: DaemonConfig, source: ReportSource, configFile: string): Found['network'] {
  const { overlay } = settings.network;
  return overlay === undefined
    ? findPodNetwork(source)
    : { name: overlay.name ?? 'overlay', file: configFile };
}

/** Returns the first policy file that the daemon reads, or the file to write where there is none. */
async function findPolicy(paths: readonly string[]): Promise<Found['policy']> {
  const { files, invalid } = await policyFiles(paths);
  const [file] = files;
  if (file !== undefined) return { file, kept: true, ...(invalid && { invalid: true }) };
  const [path = ''] = paths;
  return { file: /\.(ya?ml|json)$/u.test(path) ? path : join(path, 'policy.yaml'), kept: false };
}

async function policyFiles(
  paths: readonly string[],
): Promise<{ readonly files: readonly string[]; readonly invalid: boolean }> {
  try {
    return { files: (await loadPolicySet({ paths })).files, invalid: false };
  } catch (error) {
    // An invalid policy is the user's all the same: its files are kept.
    if (!isPortcullisError(error) || error.code !== 'TRUST_POLICY_INVALID') throw error;
    return {
      files: (error.failure.details?.['files'] as readonly string[] | undefined) ?? [],
      invalid: true,
    };
  }
}

function configDiffers(file: string, flags: DaemonFlags): PortcullisError {
  return new PortcullisError({
    code: 'CLI_SETUP_CONFIG_DIFFERS',
    kind: 'precondition',
    attempted: 'set what these flags give',
    on: file,
    why: `it exists with other values than ${Object.keys(flags).join(', ')} give, and nothing is overwritten`,
    fix: 'edit the file, or leave these flags out',
  });
}
