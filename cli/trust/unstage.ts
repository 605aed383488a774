import type { Command } from 'commander';
import { exitCodes, print } from '../output/output.ts';
import { performOwner, withUnsignedOwner } from '../options/owner-options.ts';
import type { OwnerFlags } from '../options/owner-options.ts';

const examples = `
Examples:
  $ portcullis trust unstage registry.example.com/pay/app
  $ portcullis trust unstage registry.example.com/pay/app --role targets/stable     only what is staged in this role

New keys of root, targets, snapshot and timestamp stay staged: to replace them, rotate the role again.`;

interface UnstageFlags extends OwnerFlags {
  readonly role?: string;
}

/** `portcullis trust unstage`: takes back staged changes, such as those for a role that was revoked. */
export function registerUnstage(trust: Command): void {
  const command = trust
    .command('unstage')
    .description('take back staged targets and delegations, and roles that are to be signed again')
    .argument('<name>', 'name of the collection')
    .option('--role <role>', 'only changes of this role, and of the delegation to it')
    .addHelpText('after', examples);
  withUnsignedOwner(command).action((name: string, flags: UnstageFlags) =>
    performOwner(name, flags, async (owner) => {
      const taken: { readonly kind: string; readonly subject: string }[] = [];
      await owner.unstage((change) => {
        if (change.kind === 'rotate' || change.kind === 'server-key') return false;
        const role = 'name' in change ? change.name : change.role;
        if (flags.role !== undefined && role !== flags.role) return false;
        taken.push({ kind: change.kind, subject: 'path' in change ? change.path : role });
        return true;
      });
      const lines = taken.map(({ kind, subject }) => `taken back: ${kind} ${subject}\n`).join('');
      print(flags.output, { name, taken }, lines === '' ? 'nothing of this is staged\n' : lines);
      return exitCodes.yes;
    }),
  );
}
