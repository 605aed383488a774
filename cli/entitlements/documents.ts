import type { Command } from 'commander';
import { PortcullisError } from '../../base/errors/index.ts';
import { listProblems } from '../../base/schema/index.ts';
import type { Problem } from '../../base/schema/index.ts';
import { checkFiles, formatProfile, problemsToSarif, starterProfile } from '../../entitlements/index.ts';
import type { CheckedFiles } from '../../entitlements/index.ts';
import { formatFiles, formattedText } from '../files/format-files.ts';
import { readStandardInput } from '../files/input-file.ts';
import { writeNewFile } from '../files/output-file.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { readName } from './operands.ts';

interface CheckFlags {
  readonly output: OutputFormat | 'sarif';
  readonly strict: boolean;
}

interface FormatFlags {
  readonly output: OutputFormat;
  readonly check: boolean;
}

const checkExamples = `
Reports every problem at once, as file:line:column, each with its fix, and what is allowed but probably not intended (lint). Documents of other kinds are
skipped. A seccomp JSON of docker, containerd or CRI-O is checked, too.

Examples:
  $ portcullis entitlements check web.yaml
  $ portcullis entitlements check /etc/portcullis/policy.d --output sarif > profiles.sarif
  $ portcullis entitlements check --strict profiles/

Exit status: 0 valid; 1 not (with --strict also: a finding of the lint); 2 wrong use, a file cannot be read, or there is nothing to check.`;

export function registerDocuments(entitlements: Command): void {
  withOutput(
    entitlements
      .command('init')
      .description('print or write a commented starter profile')
      .argument('[file]', 'file to write; it must not exist')
      .option('--name <name>', 'name of the profile', readName, 'app'),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis entitlements init\n  $ portcullis entitlements init web.yaml --name web\n\nExit status: 0 done; 2 the file exists; 4 it cannot be written.',
    )
    .action((file: string | undefined, flags: { readonly output: OutputFormat; readonly name: string }) =>
      run(flags.output, () => init(file, flags)),
    );
  withOutput(entitlements.command('check'), ['sarif'])
    .description('check profiles: every problem at once, as file:line:column, and lint findings')
    .argument('<path...>', 'files or folders; -: standard input')
    .option('--strict', 'fail on lint findings too', false)
    .addHelpText('after', checkExamples)
    .action((paths: readonly string[], flags: CheckFlags) =>
      run(flags.output === 'sarif' ? 'json' : flags.output, () => check(paths, flags)),
    );
  withOutput(
    entitlements
      .command('fmt')
      .description('write profiles in the canonical form')
      .argument('<file...>', 'files; -: standard input, whose canonical form is printed')
      .option('--check', 'change nothing, and report the files that are not in canonical form', false),
  )
    .addHelpText(
      'after',
      '\nComments and meaning do not change; keys, lists and line breaks get a uniform format.\n\nExamples:\n  $ portcullis entitlements fmt web.yaml\n  $ portcullis entitlements fmt --check profiles/*.yaml    for CI: changes nothing\n\nExit status: 0 done, or nothing to do; 1 with --check: a file is not in canonical form; 2 a file is not YAML.',
    )
    .action((files: readonly string[], flags: FormatFlags) => run(flags.output, () => format(files, flags)));
}

/** More than any profile has. */
const mostBytes = 4 * 2 ** 20;

async function init(
  file: string | undefined,
  flags: { readonly output: OutputFormat; readonly name: string },
): Promise<number> {
  const text = starterProfile(flags.name);
  if (file === undefined) {
    print(flags.output, { profile: text }, text);
    return exitCodes.yes;
  }
  await writeNewFile(file, text, { fix: 'name another file' });
  print(flags.output, { file }, `wrote ${file}\n`);
  return exitCodes.yes;
}

async function check(paths: readonly string[], flags: CheckFlags): Promise<number> {
  const input = paths.includes('-') ? await readStandardInput(mostBytes) : undefined;
  const checked = await checkFiles(paths, input);
  const { problems, findings, profiles } = checked;
  if (problems.length + profiles.length + checked.filters === 0)
    throw new PortcullisError({
      code: 'CLI_MISUSE',
      kind: 'invalid',
      attempted: 'check profiles',
      on: paths.join(', '),
      why: 'it contains no entitlement profile and no seccomp JSON, so nothing was checked',
      fix: 'name files of the kind EntitlementProfile or ExactProfile, or folders with .yaml, .yml or .json files',
    });
  if (flags.output === 'sarif') {
    const lint = findings.map((finding) => ({ ...finding, rule: finding.code, level: 'warning' as const }));
    print('json', problemsToSarif([...problems, ...lint]), '');
  } else {
    print(
      flags.output,
      {
        valid: problems.length === 0,
        profiles,
        problems: problems.map(plain),
        moreMayFollow: problems.some(({ hidesOthers }) => hidesOthers === true),
        findings,
      },
      text(checked),
    );
  }
  if (problems.length > 0)
    return problems.every(({ unread }) => unread === true) ? exitCodes.usage : exitCodes.no;
  return flags.strict && findings.length > 0 ? exitCodes.no : exitCodes.yes;
}

function plain({ position, path, message, fix }: Problem): unknown {
  return { position, path, message, ...(fix === undefined ? {} : { fix }) };
}

/** The maximum number of findings in the text. JSON and SARIF contain all of them. */
const mostFindings = 50;

function text({ problems, findings, profiles }: CheckedFiles): string {
  const lint = findings
    .slice(0, mostFindings)
    .map(
      ({ code, position: { file, line, column }, path, message, fix }) =>
        `${file}:${line}:${column}: ${code}: ${path}: ${message}; ${fix}\n`,
    );
  if (findings.length > mostFindings)
    lint.push(`${findings.length - mostFindings} more findings are not listed\n`);
  const names = profiles.map(({ name }) => name).join(', ');
  const summary =
    problems.length > 0
      ? `not valid: ${problems.length} problem${problems.length === 1 ? '' : 's'}\n`
      : `valid: ${names === '' ? 'seccomp JSON' : names}\n`;
  return [listProblems(problems), ...lint, summary].join('');
}

async function format(files: readonly string[], flags: FormatFlags): Promise<number> {
  const { check: onlyCheck } = flags;
  const attempted = 'format profile';
  const result = await formatFiles(files, { check: onlyCheck, attempted, format: formatProfile });
  print(flags.output, { ...result, check: onlyCheck }, formattedText(result, onlyCheck));
  return onlyCheck && result.changed.length > 0 ? exitCodes.no : exitCodes.yes;
}
