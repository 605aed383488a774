import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, leavesUnknown, reasonOf } from '../../../base/errors/index.ts';
import { writeNewFile } from '../../../base/files/index.ts';
import { findAppArmorParser } from '../../../base/process/index.ts';
import type { StartProgram } from '../../../base/reactor/index.ts';
import type { AppArmorProfile } from '../../../entitlements/index.ts';
import { runCommand } from '../../processes/command.ts';
import type { AppArmorRequest } from './apparmor-request.ts';

/** The kernel's AppArmor, as far as containers need it. */
export interface AppArmor {
  /**
   * Whether our own profiles can be loaded: this needs AppArmor in the kernel, its files in securityfs, and
   * `apparmor_parser`.
   */
  readonly usable: boolean;
  /**
   * Loads the requested profiles and returns the label for a process; undefined: no label. When both a
   * profile of the node and our own are required, the kernel enforces both (a stack: apparmor.d(5),
   * aa_stack_profile(2)).
   * @throws PortcullisError RUNTIME_BAD_APPARMOR when the node has no such profile;
   * RUNTIME_APPARMOR_NOT_LOADED
   */
  label(asked: AppArmorRequest | undefined, own: AppArmorProfile | undefined): Promise<string | undefined>;
}

const loadedList = '/sys/kernel/security/apparmor/profiles';
/**
 * The oldest ABI that the parsers of the supported distributions support. Without an `abi` line, a parser
 * chooses its own (apparmor.d(5)).
 */
const abi = 'abi/3.0';

/** @param parts.stateDir the folder for the text of a profile while it is loaded */
export async function openAppArmor(parts: {
  readonly enabled: boolean;
  readonly stateDir: string;
  readonly startProgram: StartProgram;
}): Promise<AppArmor> {
  const parser = parts.enabled ? findAppArmorParser() : undefined;
  const usable = parser !== undefined && (await loadedProfiles()) !== undefined;
  const preamble = parser === undefined || !existsSync(join(parser.base, abi)) ? '' : `abi <${abi}>,\n`;
  /** Profile texts that this run has loaded. A profile of an older version with the same name is replaced. */
  const loaded = new Map<string, string>();
  const loading = new Map<string, Promise<void>>();

  const load = async (profile: AppArmorProfile): Promise<void> => {
    const file = join(parts.stateDir, `.apparmor-${process.hrtime.bigint()}`);
    await writeNewFile(file, preamble + profile.text, { mode: 0o600, flag: 'wx' });
    try {
      const said = await runCommand(parts.startProgram, parser?.program ?? '', [
        '--replace',
        '--skip-cache',
        '--base',
        parser?.base ?? '',
        file,
      ]);
      if (said.exitCode !== 0) throw notLoaded(profile, said.stderr.trim().slice(0, 2_000));
      if ((await loadedProfiles())?.has(profile.name) !== true)
        throw notLoaded(profile, 'the kernel does not list it after it was loaded');
      loaded.set(profile.name, profile.text);
    } catch (cause) {
      throw cause instanceof PortcullisError && cause.code === 'RUNTIME_APPARMOR_NOT_LOADED'
        ? cause
        : notLoaded(profile, reasonOf(cause));
    } finally {
      await rm(file, { force: true });
    }
  };
  const provide = async (profile: AppArmorProfile, existing: ReadonlySet<string>): Promise<void> => {
    // An administrator may unload profiles at any time, so the kernel is asked each time.
    if (existing.has(profile.name) && loaded.get(profile.name) === profile.text) return;
    const underWay = loading.get(profile.name) ?? load(profile).finally(() => loading.delete(profile.name));
    loading.set(profile.name, underWay);
    await underWay;
  };

  return {
    usable,
    label: async (asked, own) => {
      const ours = usable ? own : undefined;
      const theirs = asked?.type === 'Localhost' ? asked.name : undefined;
      if (theirs === undefined && ours === undefined) return undefined;
      const existing = parts.enabled ? await loadedProfiles() : undefined;
      if (theirs !== undefined && existing?.has(theirs) !== true)
        throw unknown(theirs, parts.enabled, existing !== undefined);
      if (ours !== undefined) await provide(ours, existing ?? new Set());
      return [ours?.name, theirs].filter((name) => name !== undefined).join(stacked);
    },
  };
}

/** Between the profiles of a label that the kernel enforces together: aa_stack_profile(2). */
const stacked = '//&';

/** Returns the profiles of a label, without the mode that the kernel adds. Pure. */
export function profilesOf(label: string): readonly string[] {
  return label
    .trim()
    .replace(/ \([a-z]+\)$/u, '')
    .split(stacked);
}

/**
 * Checks that every profile of a label is loaded, before a container with it starts. Its process has the
 * label for its next exec. If the profile is unloaded in the meantime, the kernel runs the program
 * unconfined.
 * @throws PortcullisError RUNTIME_APPARMOR_NOT_LOADED; a system error when the profiles cannot be listed for
 * now
 */
export async function requireLoaded(label: string, container: string): Promise<void> {
  const loaded = await loadedProfiles();
  const missing = profilesOf(label).filter((name) => loaded?.has(name) !== true);
  if (missing.length > 0) throw unloaded(container, missing.join(' and '));
}

/** Returns the error for a container whose profile was unloaded after its creation. */
export function unloaded(container: string, profile: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_APPARMOR_NOT_LOADED',
    kind: 'precondition',
    attempted: 'start container',
    on: container.slice(0, 13),
    why: `its AppArmor profile ${profile} was unloaded after the container was created`,
    fix: 'create the container again, and find the program that unloads profiles on this node, such as aa-remove-unknown or aa-teardown',
  });
}

/**
 * Returns the names of all profiles in the kernel; undefined if the kernel does not list them. A line is
 * `NAME (MODE)`.
 */
async function loadedProfiles(): Promise<ReadonlySet<string> | undefined> {
  try {
    const text = await readFile(loadedList, 'utf8');
    return new Set(text.split('\n').flatMap((line) => /^(.+) \([a-z]+\)$/.exec(line)?.[1] ?? []));
  } catch (cause) {
    // A label must not be omitted because no descriptor is free.
    if (leavesUnknown(cause)) throw cause;
    return undefined;
  }
}

function unknown(name: string, enabled: boolean, reported: boolean): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_APPARMOR',
    kind: enabled ? 'invalid' : 'precondition',
    attempted: 'use AppArmor profile',
    on: name,
    why: !enabled
      ? 'this kernel has no AppArmor'
      : reported
        ? 'no such profile is loaded'
        : `${loadedList} cannot be read`,
    fix: !enabled
      ? 'remove the profile, or use a node with AppArmor'
      : reported
        ? 'load it on this node (apparmor_parser -r FILE)'
        : 'mount securityfs at /sys/kernel/security',
  });
}

function notLoaded(profile: AppArmorProfile, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_APPARMOR_NOT_LOADED',
    kind: 'precondition',
    attempted: 'load AppArmor profile',
    on: profile.name,
    why,
    fix: 'see the output of apparmor_parser; `portcullis doctor` shows what this node supports',
  });
}
