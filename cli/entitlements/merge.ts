import type { Command } from 'commander';
import { exactProfile, join, meet, writeExactProfile } from '../../entitlements/index.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { operand, operandHelp, readName, withOperands } from './operands.ts';
import type { OperandFlags } from './operands.ts';

interface Flags extends OperandFlags {
  readonly output: OutputFormat;
  readonly meet?: true;
  readonly join?: true;
  readonly name: string;
}

const examples = `${operandHelp}

--meet grants what all profiles grant, --join what any profile grants. Both are exact, including system call arguments and file patterns; the order of
the profiles does not matter. The result is a document of kind ExactProfile, which can be used like any other profile.

Examples:
  $ portcullis entitlements merge --meet /etc/docker/seccomp.json baseline > both.yaml
  $ portcullis entitlements merge --join web.yaml#front web.yaml#back --name pod

Exit status: 0 done; 2 wrong use; 4 the profiles cannot be merged exactly.`;

export function registerMerge(entitlements: Command): void {
  withOperands(
    withOutput(
      entitlements
        .command('merge')
        .description('print the union (--join) or the intersection (--meet) of profiles')
        .argument('<profile...>', 'profiles')
        .option('--meet', 'what all profiles grant (intersection)')
        .option('--join', 'what any profile grants (union)')
        .option('--name <name>', 'name of the result', readName, 'merged'),
    ),
  )
    .addHelpText('after', examples)
    .action((profiles: readonly string[], flags: Flags, command: Command) => {
      if ((flags.meet === true) === (flags.join === true))
        command.error('error: give one of --meet and --join', { exitCode: exitCodes.usage });
      return run(flags.output, () => merge(profiles, flags));
    });
}

async function merge(texts: readonly string[], flags: Flags): Promise<number> {
  const operands = [];
  for (const text of texts) operands.push(await operand(text, flags));
  const profile = operands.map((one) => one.profile).reduce(flags.meet === true ? meet : join);
  const labels = operands.map(({ label }) => label).join(', ');
  const description =
    `Permissions that ${flags.meet === true ? 'all' : 'any'} of these grant${flags.meet === true ? '' : 's'}: ${labels}`.slice(
      0,
      4096,
    );
  print(
    flags.output,
    exactProfile(flags.name, profile, description),
    writeExactProfile(flags.name, profile, description),
  );
  return exitCodes.yes;
}
