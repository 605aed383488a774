import type { Command } from 'commander';
import { Option } from 'commander';
import type { KeysNamed, TufDialect } from '../../trust/tuf-author/index.ts';
import { readInputFile } from '../files/input-file.ts';
import { exitCodes, print } from '../output/output.ts';
import { collect } from '../options/registry-options.ts';
import {
  byRole,
  expiryOf,
  ownerHelp,
  performOwner,
  thresholdOf,
  withOwner,
} from '../options/owner-options.ts';
import type { OwnerFlags } from '../options/owner-options.ts';

type Pairs = readonly (readonly [string, string])[];

interface InitFlags extends OwnerFlags {
  readonly to: readonly string[];
  readonly dialect: 'both' | TufDialect;
  readonly roleKey: Pairs;
  readonly threshold: Pairs;
  readonly expiry: Pairs;
  readonly localKeys: boolean;
  readonly notaryRoot?: string;
}

const examples = `
Examples:
  $ portcullis trust init registry.example.com/pay/app --to https://trust.example.com
  $ portcullis trust init registry.example.com/pay/app --to oci://registry.example.com/pay/app
  $ portcullis trust init pay --to /srv/www/pay --dialect tuf --role-key root=a.pub --role-key root=b.pub --role-key root=c.pub --threshold root=2 --expiry timestamp=24h
  $ portcullis trust init registry.example.com/pay/app --to https://trust.example.com --notary-root ~/.notary/tuf/registry.example.com/pay/app/metadata/root.json

A service signs snapshot and timestamp (both dialects) unless --local-keys is given; registries and folders have the TUF dialect only.
${ownerHelp}`;

const roles = ['root', 'targets', 'snapshot', 'timestamp'];

export function registerInit(trust: Command): void {
  const command = trust
    .command('init')
    .description('create a collection: its keys, and where it will be published')
    .argument('<name>', 'name of the collection; for images the reference without its tag')
    .option(
      '--to <place>',
      'https://SERVICE, oci://REGISTRY/REPOSITORY[:TAG] or a folder; may be repeated',
      collect,
      [],
    )
    .addOption(new Option('--dialect <dialect>', 'what is signed').choices(['both', 'tuf', 'notary']))
    .option(
      '--role-key <role=file>',
      'public key, certificate, private key or pkcs11: URI of a role; may be repeated; default: a new key',
      byRole,
      [],
    )
    .option('--threshold <role=count>', 'how many keys of the role must sign', byRole, [])
    .option(
      '--expiry <role=duration>',
      'how long files of the role are valid, such as timestamp=24h',
      byRole,
      [],
    )
    .option(
      '--local-keys',
      'sign snapshot and timestamp with local keys, even if a service could sign them',
      false,
    )
    .option(
      '--notary-root <file>',
      'root of a collection that already exists in Notary’s dialect, as its owner has it',
    )
    .addHelpText('after', examples);
  withOwner(command).action((name: string, flags: InitFlags) => {
    const keys: Record<string, KeysNamed> = {};
    for (const role of [...flags.roleKey, ...flags.threshold].map(([one]) => one)) {
      if (!roles.includes(role))
        return command.error(`error: ${role}: roles are ${roles.join(', ')}`, { exitCode: exitCodes.usage });
      const threshold = flags.threshold.findLast(([one]) => one === role)?.[1] ?? '1';
      keys[role] = {
        files: flags.roleKey.filter(([one]) => one === role).map(([, file]) => file),
        threshold: thresholdOf(command, threshold),
      };
    }
    // Only a service supports Notary's dialect.
    const served = flags.to.some((place) => /^https?:/u.test(place));
    const dialect = (flags.dialect as InitFlags['dialect'] | undefined) ?? (served ? 'both' : 'tuf');
    const expiry = expiryOf(command, flags.expiry);
    const other = Object.keys(expiry).find((role) => !roles.includes(role));
    if (other !== undefined)
      command.error(`error: --expiry ${other}: roles are ${roles.join(', ')}`, { exitCode: exitCodes.usage });
    return performOwner(name, flags, async (owner) => {
      const settings = await owner.init({
        dialects: dialect === 'both' ? ['tuf', 'notary'] : [dialect],
        destinations: flags.to,
        keys,
        expiry,
        localKeys: flags.localKeys,
        ...(flags.notaryRoot === undefined ? {} : { notaryRoot: await readInputFile(flags.notaryRoot) }),
      });
      const { dialects, destinations } = settings;
      const next =
        destinations.length === 0
          ? 'trust publish --to PLACE publishes it'
          : `trust publish publishes it to ${destinations.join(', ')}`;
      print(
        flags.output,
        { name, dialects, destinations },
        `created ${name} (${dialects.join(' and ')}); nothing is published yet: ${next}\n`,
      );
      return exitCodes.yes;
    });
  });
}
