import type { Command } from 'commander';
import { exitCodes, print } from '../output/output.ts';
import { ownerHelp, performOwner, withOwner } from '../options/owner-options.ts';
import type { OwnerFlags } from '../options/owner-options.ts';

const examples = `
Examples:
  $ portcullis trust witness registry.example.com/pay/app targets/releases
  $ portcullis trust witness pay targets/tools --key bob.pem       adds bob's signature to the waiting draft

A role whose draft waits for more signatures is signed with the local keys, if the draft matches the collection with its staged changes
(trust list, trust inspect); any other role is signed again at the next publish, even if unchanged. Exit status 1: signatures are still missing.
${ownerHelp}`;

export function registerWitness(trust: Command): void {
  const command = trust
    .command('witness')
    .description('sign a role that waits for signatures, or have it signed again at the next publish')
    .argument('<name>', 'name of the collection')
    .argument('<role>', 'such as targets/releases')
    .addHelpText('after', examples);
  withOwner(command).action((name: string, role: string, flags: OwnerFlags) =>
    performOwner(name, flags, async (owner) => {
      const waiting = await owner.witness(role);
      const lines =
        waiting === undefined
          ? [`${role} will be signed again at the next publish`]
          : waiting.map(
              ({ dialect, version, expires, have, threshold }) =>
                `${role} (${dialect}), version ${version}, valid until ${expires}: ${have} of ${threshold} signatures`,
            );
      const wanting = waiting?.some(({ have, threshold }) => have < threshold) === true;
      if (waiting !== undefined && !wanting) lines.push('portcullis trust publish sends it');
      print(flags.output, { name, role, waiting: waiting ?? null }, `${lines.join('\n')}\n`);
      return wanting ? exitCodes.no : exitCodes.yes;
    }),
  );
}
