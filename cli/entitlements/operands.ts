import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { builtinProfile, entitlementsGiving, readOperand } from '../../entitlements/index.ts';
import type { Architecture, Operand, SeccompTarget } from '../../entitlements/index.ts';
import { collect } from '../options/registry-options.ts';
import { printNote } from '../output/output.ts';

/** Flags of every command that takes profiles as arguments. */
export interface OperandFlags {
  readonly policy?: readonly string[];
  readonly arch: Architecture;
  readonly capabilities?: readonly string[];
  readonly kernel?: string;
}

export const operandHelp = `
A profile is: a built-in name (default, privileged, baseline, restricted); a name from --policy; a file with one profile, or FILE#name; a
seccomp JSON of docker, containerd, CRI-O or the OCI specification, which stands for a default container with that filter.`;

/** Adds the options of every command that takes profiles. */
export function withOperands(command: Command): Command {
  return command
    .option('--policy <path...>', 'files or folders with more profiles')
    .addOption(
      new Option('--arch <architecture>', 'architecture of the machine, for sources that depend on it')
        .choices(['x86_64', 'aarch64'])
        .default(process.arch === 'arm64' ? 'aarch64' : 'x86_64'),
    )
    .option(
      '--capabilities <name...>',
      "capabilities of the container, for seccomp sources that depend on them (default: docker's 14)",
      collectCapability,
    )
    .option(
      '--kernel <version>',
      'version of the kernel, such as 6.1, for seccomp sources that depend on it (default: newer than every version that they name)',
      kernelVersion,
    );
}

/** Collects the values of an option that names capabilities. A misspelled name would count for nothing. */
export function collectCapability(name: string, before: readonly string[] = []): readonly string[] {
  if (entitlementsGiving(name) === undefined)
    throw new InvalidArgumentError('there is no such capability; write one such as CAP_NET_ADMIN.');
  return collect(name, before);
}

function kernelVersion(text: string): string {
  if (/^\d{1,4}\.\d{1,4}/u.test(text)) return text;
  throw new InvalidArgumentError('write a version such as 6.1.');
}

const profileName = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/u;

export const isProfileName = (text: string): boolean => profileName.test(text);

/** Reads the value of an option that names a profile: objects of Kubernetes and files get this name. */
export function readName(text: string): string {
  if (isProfileName(text)) return text;
  throw new InvalidArgumentError('write 1 to 63 lower-case letters, digits, dots and dashes.');
}

export function targetOf(flags: OperandFlags): SeccompTarget {
  return {
    architecture: flags.arch,
    capabilities: (flags.capabilities ?? builtinProfile('default')?.capabilities ?? []).map((name) =>
      name.toUpperCase().replace(/^CAP_/, ''),
    ),
    ...(flags.kernel === undefined ? {} : { kernel: flags.kernel }),
  };
}

/**
 * Reads the profile that an argument names. Parts of its source that could not be mapped are reported on
 * standard error.
 */
export async function operand(text: string, flags: OperandFlags): Promise<Operand> {
  const found = await readOperand(text, { target: targetOf(flags), policy: flags.policy ?? [] });
  for (const { part, why } of found.unmapped)
    printNote(`portcullis: ${found.label}: not mapped: ${part}: ${why}\n`);
  return found;
}
