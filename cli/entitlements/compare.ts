import type { Command } from 'commander';
import { compareProfiles, compareToSarif, describeDifferences } from '../../entitlements/index.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { operand, operandHelp, withOperands } from './operands.ts';
import type { OperandFlags } from './operands.ts';

interface Flags extends OperandFlags {
  readonly output: OutputFormat | 'sarif';
  readonly within: boolean;
}

const examples = `${operandHelp}

Each difference is something that one profile grants and the other does not, with a witness: a capability, a
system call with its arguments, a path, a peer. Files are compared by the meaning of their rules, never by
their text.

Examples:
  $ portcullis entitlements compare default web.yaml
  $ portcullis entitlements compare --within web.yaml baseline               may the policy's ceiling be baseline?
  $ portcullis entitlements compare old.json new.json --output sarif > new-access.sarif

Exit status: 0 the same (with --within: the first grants no more than the second); 1 different (with
--within: the first grants more); 2 wrong use; 4 the comparison failed.`;

export function registerCompare(entitlements: Command): void {
  withOperands(
    withOutput(entitlements.command('compare'), ['sarif'])
      .description('show what one profile grants and another does not')
      .argument('<first>', 'profile')
      .argument('<second>', 'profile')
      .option('--within', 'check only whether the first grants no more than the second', false),
  )
    .addHelpText('after', examples)
    .action((first: string, second: string, flags: Flags) =>
      run(flags.output === 'sarif' ? 'json' : flags.output, () => compare(first, second, flags)),
    );
}

async function compare(first: string, second: string, flags: Flags): Promise<number> {
  const [a, b] = [await operand(first, flags), await operand(second, flags)];
  const comparison = compareProfiles(a, b, { within: flags.within });
  if (flags.output === 'sarif') print('json', compareToSarif(comparison), '');
  else print(flags.output, comparison, describeDifferences(comparison));
  return comparison.holds ? exitCodes.yes : exitCodes.no;
}
