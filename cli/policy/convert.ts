import { join } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import {
  describeUnmapped,
  exportFormats,
  exportPolicy,
  importFormats,
  importPolicy,
  importedText,
  writeImported,
} from '../../trust/import/index.ts';
import type { ExportFormat, ImportFormat, Unmapped } from '../../trust/import/index.ts';
import { readStandardInput } from '../files/input-file.ts';
import { writeNewFile } from '../files/output-file.ts';
import { exitCodes, print, printNote, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';

interface Flags {
  readonly output: OutputFormat;
  readonly out?: string;
  readonly allowUnmapped: boolean;
}

const importExamples = `
Parts that cannot be mapped are listed on standard error with their place. Images that depend on them are denied, never admitted more easily.

Examples:
  $ portcullis policy import --from containers /etc/containers/policy.json /etc/containers/registries.d --out imported
  $ portcullis policy import --from cluster-image-policy cip.yaml > policy.yaml
  $ portcullis policy import --from kyverno policies/ --out imported --output json
  $ kubectl get clusterpolicies -o yaml | portcullis policy import --from kyverno - --out imported

Exit status: 0 everything was mapped; 1 something was not mapped (0 with --allow-unmapped); 2 the source
cannot be read.`;

const exportExamples = `
Parts that the other format cannot express are listed on standard error, each with its effect in the exported policy.

Examples:
  $ portcullis policy export --to notation policy.yaml > trustpolicy.json
  $ portcullis policy export --to containers policy.yaml --out exported     policy.json, registries.d/portcullis.yaml
  $ portcullis policy export --to cluster-image-policy policy.yaml --out exported

Exit status: 0 everything was expressed; 1 something could not be expressed (0 with --allow-unmapped); 2 the
policy is not valid.`;

/** More than any cluster's policies have. */
const mostBytes = 16 * 2 ** 20;

export function registerConvert(policy: Command): void {
  withOutput(
    policy
      .command('import')
      .description('convert the policy of another tool to a policy for Portcullis')
      .addOption(
        new Option('--from <format>', 'format of the policy; podman and CRI-O use containers')
          .choices(importFormats)
          .makeOptionMandatory(),
      )
      .argument('<path...>', 'files or folders of the other tool; -: standard input')
      .option(
        '--out <folder>',
        'write policy.yaml and the keys it names there, instead of printing the policy',
      )
      .option('--allow-unmapped', 'exit with 0 even if something was not mapped', false),
  )
    .addHelpText('after', importExamples)
    .action((paths: readonly string[], flags: Flags & { readonly from: ImportFormat }) =>
      run(flags.output, () => importFrom(paths, flags)),
    );
  withOutput(
    policy
      .command('export')
      .description('convert a policy to the format of another tool')
      .addOption(
        new Option('--to <tool>', 'tool whose format is written')
          .choices(exportFormats)
          .makeOptionMandatory(),
      )
      .argument('<path...>', 'policy files or folders')
      .option('--out <folder>', 'write the files there, instead of printing them')
      .option('--allow-unmapped', 'exit with 0 even if something could not be expressed', false),
  )
    .addHelpText('after', exportExamples)
    .action((paths: readonly string[], flags: Flags & { readonly to: ExportFormat }) =>
      run(flags.output, () => exportTo(paths, flags)),
    );
}

async function importFrom(
  paths: readonly string[],
  flags: Flags & { readonly from: ImportFormat },
): Promise<number> {
  const input = paths.includes('-') ? await readStandardInput(mostBytes) : undefined;
  const imported = await importPolicy(flags.from, paths, input);
  const source = `${flags.from}: ${paths.join(', ')}`;
  const written = flags.out === undefined ? [] : await writeImported(imported, source, flags.out);
  const text = importedText(imported, source);
  const names = imported.files.map(({ name }) => name);
  print(
    flags.output,
    { policy: text, rules: imported.rules, files: names, unmapped: imported.unmapped, written },
    flags.out === undefined ? text : written.map((file) => `wrote ${file}\n`).join(''),
  );
  if (flags.out === undefined && names.length > 0 && flags.output === 'text')
    process.stderr.write(
      `portcullis: the policy names ${names.join(', ')}: write them too with --out FOLDER\n`,
    );
  return report(imported.unmapped, flags);
}

async function exportTo(
  paths: readonly string[],
  flags: Flags & { readonly to: ExportFormat },
): Promise<number> {
  const { files, unmapped } = await exportPolicy(flags.to, paths);
  const written: string[] = [];
  for (const { name, text } of flags.out === undefined ? [] : files) {
    const file = join(flags.out ?? '', name);
    await writeNewFile(file, text);
    written.push(file);
  }
  print(
    flags.output,
    { files, unmapped, written },
    flags.out === undefined
      ? files.map(({ text }) => text).join('')
      : written.map((file) => `wrote ${file}\n`).join(''),
  );
  return report(unmapped, flags);
}

function report(unmapped: readonly Unmapped[], flags: Flags): number {
  if (flags.output === 'text')
    for (const part of unmapped) printNote(`not mapped: ${describeUnmapped(part)}\n`);
  return unmapped.length === 0 || flags.allowUnmapped ? exitCodes.yes : exitCodes.no;
}
