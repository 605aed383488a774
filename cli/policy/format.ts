import type { Command } from 'commander';
import { PortcullisError } from '../../base/errors/index.ts';
import { describeProblems } from '../../base/schema/index.ts';
import { writeFileAtomic } from '../../base/storage/index.ts';
import { formatPolicy } from '../../trust/policy/index.ts';
import { readInputFile, readStandardInput } from '../files/input-file.ts';
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
  const changed: string[] = [];
  const written: (readonly [string, string])[] = [];
  let printed: string | undefined;
  for (const file of files) {
    const bytes = file === '-' ? await readStandardInput(mostBytes) : await readInputFile(file, mostBytes);
    const before = bytes.toString('utf8');
    const { text, problems } = formatPolicy(before, file);
    if (problems.length > 0) throw unreadable(file, describeProblems(problems));
    if (file === '-') printed = text;
    if (text === before) continue;
    changed.push(file);
    if (file !== '-') written.push([file, text]);
  }
  // Read every file before writing the first: one invalid file leaves all files unchanged.
  if (!flags.check) for (const [file, text] of written) await writeFileAtomic(file, text, { mode: 0o644 });
  const word = flags.check ? 'not in canonical form' : 'formatted';
  const lines = changed.filter((file) => flags.check || file !== '-').map((file) => `${word}: ${file}\n`);
  const text = flags.check ? undefined : printed;
  print(
    flags.output,
    { changed, check: flags.check, ...(text === undefined ? {} : { text }) },
    [...lines, text ?? ''].join(''),
  );
  return flags.check && changed.length > 0 ? exitCodes.no : exitCodes.yes;
}

/** More than any policy has. */
const mostBytes = 4 * 2 ** 20;

function unreadable(file: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'CLI_FORMAT_UNREADABLE',
    kind: 'invalid',
    attempted: 'format policy',
    on: file,
    why,
    fix: 'correct the lines named',
  });
}
