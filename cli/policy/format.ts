import type { Command } from 'commander';
import { formatPolicy } from '../../trust/policy/index.ts';
import { formatFiles, formattedText } from '../files/format-files.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';

interface Flags {
  readonly output: OutputFormat;
  readonly check: boolean;
}

const examples = `
Comments and meaning do not change; keys, spaces and line breaks get a uniform format.

Examples:
  $ portcullis policy fmt policy.yaml
  $ portcullis policy fmt --check policy.yaml tests.yaml    for CI: changes nothing
  $ portcullis policy fmt - <policy.yaml                    prints the canonical form

Exit status: 0 done, or nothing to do; 1 with --check: a file is not in canonical form; 2 a file is not
YAML.`;

export function registerFormat(policy: Command): void {
  withOutput(
    policy
      .command('fmt')
      .description('write policies and their tests in the canonical form')
      .argument('<file...>', 'files; -: standard input, whose canonical form is printed')
      .option('--check', 'change nothing, and report the files that are not in canonical form', false),
  )
    .addHelpText('after', examples)
    .action((files: readonly string[], flags: Flags) => run(flags.output, () => format(files, flags)));
}

async function format(files: readonly string[], flags: Flags): Promise<number> {
  const { check: onlyCheck } = flags;
  const attempted = 'format policy';
  const result = await formatFiles(files, { check: onlyCheck, attempted, format: formatPolicy });
  print(flags.output, { ...result, check: onlyCheck }, formattedText(result, onlyCheck));
  return onlyCheck && result.changed.length > 0 ? exitCodes.no : exitCodes.yes;
}
