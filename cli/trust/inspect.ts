import type { Command } from 'commander';
import { exitCodes, print } from '../output/output.ts';
import { table } from '../output/table.ts';
import { performOwner, withUnsignedOwner } from '../options/owner-options.ts';
import type { OwnerFlags } from '../options/owner-options.ts';
import { withWide } from '../output/terminal.ts';

export function registerInspect(trust: Command): void {
  const command = trust
    .command('inspect')
    .description('show the roles of a collection: versions, expiry, keys, thresholds, and what is staged')
    .argument('<name>', 'name of the collection')
    .addHelpText(
      'after',
      `\nExamples:\n  $ portcullis trust inspect registry.example.com/pay/app --output json\n`,
    );
  withUnsignedOwner(withWide(command)).action((name: string, flags: OwnerFlags) =>
    performOwner(name, flags, async (owner) => {
      const [settings, roles, staged] = await Promise.all([owner.settings(), owner.roles(), owner.staged()]);
      const rows = roles.map((role) => [
        role.role,
        role.dialect,
        role.version === undefined ? '-' : String(role.version),
        role.expires ?? '-',
        `${role.threshold} of ${role.keyids.length}`,
        role.managed ? 'service' : role.keyids.map((id) => id.slice(0, 12)).join(' '),
        role.scope === undefined ? '' : scopeText(role.scope),
      ]);
      const changes = staged.map(
        (change) =>
          `staged: ${change.kind} ${'path' in change ? change.path : 'name' in change ? change.name : change.role}\n`,
      );
      print(
        flags.output,
        { name, dialects: settings.dialects, destinations: settings.destinations, roles, staged },
        `${table(['ROLE', 'DIALECT', 'VERSION', 'EXPIRES', 'KEYS', 'IDS', 'PATHS'], rows)}${changes.join('')}`,
      );
      return exitCodes.yes;
    }),
  );
}

function scopeText(scope: {
  readonly kind: string;
  readonly patterns?: readonly string[];
  readonly prefixes?: readonly string[];
}): string {
  if (scope.kind === 'patterns') return (scope.patterns ?? []).join(' ');
  const prefixes = scope.prefixes ?? [];
  if (scope.kind === 'prefixes')
    return prefixes.map((prefix) => (prefix === '' ? 'all paths' : `${prefix}…`)).join(' ');
  return prefixes.length === 16 ? 'all paths' : `sha256 ${prefixes.join(' ')}`;
}
