import type { Command } from 'commander';
import type { DelegationScope } from '../../trust/tuf-author/index.ts';
import { exitCodes, print } from '../output/output.ts';
import { collect } from '../options/registry-options.ts';
import { ownerHelp, performOwner, thresholdOf, withOwner } from '../options/owner-options.ts';
import type { OwnerFlags } from '../options/owner-options.ts';

interface DelegateFlags extends OwnerFlags {
  readonly by?: string;
  readonly roleKey: readonly string[];
  readonly threshold: string;
  readonly path: readonly string[];
  readonly prefix: readonly string[];
  readonly hashPrefix: readonly string[];
  readonly allPaths: boolean;
  readonly terminating: boolean;
}

const examples = `
Examples:
  $ portcullis trust delegate add registry.example.com/pay/app targets/releases --role-key alice.pub --all-paths
  $ portcullis trust delegate add pay targets/tools --role-key a.pub --role-key b.pub --role-key c.pub --threshold 2 --path 'tools/*' --terminating
  $ portcullis trust delegate remove registry.example.com/pay/app targets/releases

The delegating role is the part of the role's name before its last "/", else targets, or --by. A wildcard of --path never crosses "/". Notary's dialect
supports only --all-paths and --prefix, the TUF dialect everything but --prefix. A delegation that a dialect of the collection cannot express is refused.
${ownerHelp}`;

const byOf = (role: string, by: string | undefined): string =>
  by ?? (role.includes('/') ? role.slice(0, role.lastIndexOf('/')) : 'targets');

export function registerDelegate(trust: Command): void {
  const delegate = trust.command('delegate').description('let others sign for some paths, or revoke that');
  const add = delegate
    .command('add')
    .description('stage a delegation; replaces one of that name')
    .argument('<name>', 'name of the collection')
    .argument('<role>', 'role that gets the delegation, such as targets/releases')
    .option('--role-key <file>', 'public key or certificate of a signer; may be repeated', collect, [])
    .option('--threshold <count>', 'how many of the keys must sign', '1')
    .option('--path <pattern>', 'paths that it may sign, such as tools/*; may be repeated', collect, [])
    .option('--prefix <prefix>', 'beginnings of paths that it may sign; may be repeated', collect, [])
    .option('--hash-prefix <hex>', "beginnings of the sha256 of paths' names; may be repeated", collect, [])
    .option('--all-paths', 'it may sign every path', false)
    .option('--terminating', 'no later delegation is consulted for these paths', false)
    .option('--by <role>', 'who delegates')
    .addHelpText('after', examples);
  withOwner(add).action((name: string, role: string, flags: DelegateFlags) => {
    const scopes: DelegationScope[] = [
      ...(flags.path.length > 0 ? [{ kind: 'patterns' as const, patterns: flags.path }] : []),
      ...(flags.prefix.length > 0 ? [{ kind: 'prefixes' as const, prefixes: flags.prefix }] : []),
      ...(flags.hashPrefix.length > 0
        ? [{ kind: 'hash-prefixes' as const, prefixes: flags.hashPrefix }]
        : []),
      ...(flags.allPaths ? [{ kind: 'prefixes' as const, prefixes: [''] }] : []),
    ];
    const [scope] = scopes;
    if (scope === undefined || scopes.length > 1)
      return add.error('error: name paths in one way: --path, --prefix, --hash-prefix or --all-paths', {
        exitCode: exitCodes.usage,
      });
    if (flags.hashPrefix.some((prefix) => !/^[0-9a-f]{1,64}$/u.test(prefix)))
      return add.error('error: --hash-prefix: write small hexadecimal digits', { exitCode: exitCodes.usage });
    if (flags.roleKey.length === 0)
      return add.error('error: name the signers: --role-key FILE', { exitCode: exitCodes.usage });
    const threshold = thresholdOf(add, flags.threshold);
    return performOwner(name, flags, async (owner) => {
      const delegator = byOf(role, flags.by);
      await owner.delegate({
        delegator,
        name: role,
        terminating: flags.terminating,
        scope,
        files: flags.roleKey,
        threshold,
      });
      print(
        flags.output,
        { name, role, by: delegator, threshold },
        `staged: ${delegator} delegates to ${role}, ${threshold} of ${flags.roleKey.length} keys\n`,
      );
      return exitCodes.yes;
    });
  });

  const remove = delegate
    .command('remove')
    .description('stage the removal of a delegation, and of its own delegations')
    .argument('<name>', 'name of the collection')
    .argument('<role>', 'role that has the delegation')
    .option('--by <role>', 'who delegates')
    .addHelpText(
      'after',
      `\nExamples:\n  $ portcullis trust delegate remove registry.example.com/pay/app targets/releases\n`,
    );
  withOwner(remove).action((name: string, role: string, flags: DelegateFlags) =>
    performOwner(name, flags, async (owner) => {
      await owner.stage({ kind: 'undelegate', delegator: byOf(role, flags.by), name: role });
      print(flags.output, { name, role }, `staged the removal of ${role}\n`);
      return exitCodes.yes;
    }),
  );
}
