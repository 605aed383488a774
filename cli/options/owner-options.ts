import type { Command } from 'commander';
import { openRegistries, processPassphrase } from '../../trust/index.ts';
import type { RegistryAccess } from '../../trust/index.ts';
import { parseDuration } from '../../trust/policy/index.ts';
import type { Owner } from '../../trust/tuf-author/index.ts';
import { ownCollections } from '../environment/user-folders.ts';
import { exitCodes, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { collect, withRegistries } from './registry-options.ts';
import type { RegistryFlags } from './registry-options.ts';

/** The registry options and `key` are absent for a command that signs nothing. */
export interface OwnerFlags extends Partial<RegistryFlags> {
  readonly dir: string;
  readonly key?: readonly string[];
  readonly passphraseFile?: string;
  readonly output: OutputFormat;
}

/** Help text of every command that works on a collection of its owner. */
export const ownerHelp = `
Keys are stored encrypted in DIR/private, in the format of the notary command, which may use the same folder. The passphrase is read from
--passphrase-file, from PORTCULLIS_ROOT_PASSPHRASE, PORTCULLIS_TARGETS_PASSPHRASE, … for the role of the key, from PORTCULLIS_PASSPHRASE,
or from NOTARY_ROOT_PASSPHRASE, …; otherwise the command asks for it.`;

/** Adds the options that locate the owner's collections and keys. */
export function withOwner(command: Command): Command {
  withFolder(command)
    .option(
      '--key <file|uri>',
      'a private key that signs too: PEM, cosign’s file, or pkcs11:…; may be repeated',
      collect,
      [],
    )
    .option('--passphrase-file <file>', 'file whose first line is the passphrase');
  return withOutput(withRegistries(command));
}

/** Adds the option that locates the owner's collections, for a command that signs and fetches nothing. */
export function withUnsignedOwner(command: Command): Command {
  return withOutput(withFolder(command));
}

function withFolder(command: Command): Command {
  return command.option('--dir <folder>', 'collections and keys', ownCollections());
}

/** Runs a command's action on a collection of the owner. */
export function performOwner(
  name: string,
  flags: OwnerFlags,
  action: (owner: Owner, registries: RegistryAccess) => Promise<number>,
): Promise<void> {
  return run(flags.output, async () => {
    const registries = await openRegistries({
      mirrors: flags.registryMirror ?? [],
      insecureHosts: flags.insecureRegistry ?? [],
    });
    try {
      const { openOwner } = await import('../../trust/tuf-author/index.ts');
      const owner = await openOwner({
        folder: flags.dir,
        name,
        passphrase: processPassphrase(flags.passphraseFile),
        signers: flags.key ?? [],
        registries,
        now: new Date(),
      });
      try {
        return await action(owner, registries);
      } finally {
        await owner.close();
      }
    } finally {
      await registries.close();
    }
  });
}

/** Parses `ROLE=VALUE`, repeatable. */
export function byRole(
  text: string,
  before: readonly (readonly [string, string])[] = [],
): readonly (readonly [string, string])[] {
  const [, role, value] = /^([^=\s]+)=(.+)$/su.exec(text) ?? [];
  return [...before, [role ?? '', value ?? text]];
}

/** Parses `--expiry ROLE=DURATION` into seconds by role. Ends the command for any other form. */
export function expiryOf(
  command: Command,
  given: readonly (readonly [string, string])[],
): Record<string, number> {
  return Object.fromEntries(
    given.map(([role, text]) => {
      const seconds = role === '' ? undefined : parseDuration(text);
      return seconds === undefined
        ? command.error(
            `error: --expiry ${role === '' ? text : `${role}=${text}`}: write ROLE=DURATION, such as timestamp=24h`,
            {
              exitCode: exitCodes.usage,
            },
          )
        : [role, seconds];
    }),
  );
}

/** Parses a number of keys. Ends the command for any other form. */
export function thresholdOf(command: Command, text: string): number {
  return /^[1-9]\d{0,3}$/u.test(text)
    ? Number(text)
    : command.error(`error: threshold ${text}: write a whole number, at least 1`, {
        exitCode: exitCodes.usage,
      });
}
