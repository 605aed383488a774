import type { Command } from 'commander';
import { exitCodes, print } from '../output/output.ts';
import { collect } from '../options/registry-options.ts';
import { byRole, expiryOf, ownerHelp, performOwner, withOwner } from '../options/owner-options.ts';
import type { OwnerFlags } from '../options/owner-options.ts';

interface PublishFlags extends OwnerFlags {
  readonly to: readonly string[];
  readonly countersign: boolean;
  readonly expiry: readonly (readonly [string, string])[];
}

const examples = `
Examples:
  $ portcullis trust publish registry.example.com/pay/app
  $ portcullis trust publish registry.example.com/pay/app --to oci://registry.example.com/pay/app
  $ portcullis trust publish registry.example.com/pay/app --countersign       signs what Notary's clients published in the TUF dialect too

Reads what is published, applies what is staged, signs both dialects, and sends each place the files that it
lacks. Also renews metadata that will expire soon: run it from a timer if snapshot and timestamp are signed
with local keys. A delegated role that has expired does not keep the rest from being published.

Exit status 1: signatures of other owners are missing. Nothing was sent, unless only delegated roles that have
expired lack them.
${ownerHelp}`;

export function registerPublish(trust: Command): void {
  const command = trust
    .command('publish')
    .description('sign and publish what is staged, and renew what expires soon')
    .argument('<name>', 'name of the collection')
    .option('--to <place>', 'also publish to this place, now and later; may be repeated', collect, [])
    .option('--countersign', 'sign in the TUF dialect what Notary’s clients have published', false)
    .option('--expiry <role=duration>', 'how long files of the role are valid, from now on', byRole, [])
    .addHelpText('after', examples);
  withOwner(command).action((name: string, flags: PublishFlags) => {
    const expiry = expiryOf(command, flags.expiry);
    return performOwner(name, flags, async (owner) => {
      const published = await owner.publish({ to: flags.to, countersign: flags.countersign, expiry });
      const lines = [
        ...published.missing.map((one) => `${one.role} (${one.dialect}): ${lackingOf(one)}`),
        ...published.expired.map(
          (one) =>
            `${one.role} (${one.dialect}) has expired, and clients refuse its names: ${lackingOf(one)}`,
        ),
        ...published.signed.map(
          ({ dialect, role, version }) => `signed ${role} version ${version} (${dialect})`,
        ),
        ...published.sooner
          .filter((one) => !flags.expiry.some(([role]) => role === one.role))
          .map(
            ({ dialect, role, expires, before }) =>
              `${role} (${dialect}) expires ${expires}, sooner than the version before it (${before}): if nobody shortened its lifetime, check the clock of this machine`,
          ),
        ...published.sent.map(
          ({ address, dialect, files }) =>
            `sent ${files} file${files === 1 ? '' : 's'} to ${address} (${dialect})`,
        ),
      ];
      if (published.missing.length > 0)
        lines.push(
          'nothing was published: sign with the missing keys (--key), or run trust witness on the machines that have them',
        );
      else if (lines.length === 0) lines.push('everything is published already');
      print(flags.output, { name, ...published }, `${lines.join('\n')}\n`);
      return published.missing.length + published.expired.length > 0 ? exitCodes.no : exitCodes.yes;
    });
  });
}

interface Lacking {
  readonly by: string;
  readonly have: number;
  readonly threshold: number;
  readonly keyids: readonly string[];
}

function lackingOf({ by, have, threshold, keyids }: Lacking): string {
  const keys = keyids.map((id) => id.slice(0, 12)).join(', ');
  return `${have} of ${threshold} signatures that ${by} demands; keys that may sign: ${keys}`;
}
