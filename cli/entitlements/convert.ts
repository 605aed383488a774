import { join } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import {
  exactProfile,
  exportFormats,
  exportProfile,
  importFrom,
  importSources,
  loadProfiles,
  writeExactProfile,
} from '../../entitlements/index.ts';
import type { ExportFormat, ImportSource, Remark } from '../../entitlements/index.ts';
import { writeNewFile } from '../files/output-file.ts';
import { exitCodes, print, printNote, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { isProfileName, operand, operandHelp, readName, targetOf, withOperands } from './operands.ts';
import type { OperandFlags } from './operands.ts';

interface Flags extends OperandFlags {
  readonly output: OutputFormat;
  readonly name?: string;
  readonly out?: string;
  readonly allowUnmapped: boolean;
  readonly seccompRoot?: string;
}

const importExamples = `
Sources: seccomp (JSON of docker, containerd, CRI-O, OCI), security-context (a Pod or an object with a pod
template; each container becomes a profile), pod-security (privileged, baseline, restricted), spo
(SeccompProfile, AppArmorProfile of the security-profiles-operator), oci-artifact (the folder of an OCI image
layout, KEP-6061), apparmor (text), apparmor-json (its structured form). Without --from, the type of the
source is detected from its content. Parts that cannot be mapped are listed on standard error; the profile
never grants more because of them, except where a Localhost profile cannot be read: the default is used.

Examples:
  $ portcullis entitlements import /usr/share/containers/seccomp.json --name crio > crio.yaml
  $ portcullis entitlements import deployment.yaml --seccomp-root /var/lib/kubelet/seccomp
  $ portcullis entitlements import --from pod-security restricted

Exit status: 0 everything was mapped; 1 something was not mapped (0 with --allow-unmapped); 2 the source
cannot be read.`;

const exportExamples = `${operandHelp}

The written files are read back and compared, so the list of parts that could not be expressed is exact. A
file that grants more than the profile is always listed.

Examples:
  $ portcullis entitlements export --to seccomp web.yaml > seccomp.json
  $ portcullis entitlements export --to security-context web.yaml --out manifests
  $ portcullis entitlements export --to oci-artifact web.yaml --out layout      an OCI image layout, to push

Exit status: 0 everything was expressed; 1 something could not be expressed (0 with --allow-unmapped); 2
wrong use; 4 the format cannot express the profile.`;

export function registerConvert(entitlements: Command): void {
  withOperands(
    withOutput(
      entitlements
        .command('import')
        .description('convert a profile of another tool to an entitlement profile')
        .addOption(
          new Option('--from <source>', 'format of the source').choices(importSources).default('auto'),
        )
        .argument('<source>', 'file or folder; with --from pod-security, a level')
        .option('--name <name>', 'name of the profile', readName)
        .option('--seccomp-root <folder>', "the kubelet's seccomp folder, for Localhost profiles")
        .option('--out <file>', 'file to write instead of printing; it must not exist')
        .option('--allow-unmapped', 'exit with 0 even if something was not mapped', false),
    ),
  )
    .addHelpText('after', importExamples)
    .action((source: string, flags: Flags & { readonly from: ImportSource }) =>
      run(flags.output, () => importSource(source, flags)),
    );
  withOperands(
    withOutput(
      entitlements
        .command('export')
        .description('convert a profile to the format of another tool')
        .addOption(
          new Option('--to <format>', 'format to write').choices(exportFormats).makeOptionMandatory(),
        )
        .argument('<profile>', 'profile')
        .option('--name <name>', 'name of the objects and files', readName)
        .option('--out <folder>', 'write the files there, instead of printing the first')
        .option('--allow-unmapped', 'exit with 0 even if something could not be expressed', false),
    ),
  )
    .addHelpText('after', exportExamples)
    .action((profile: string, flags: Flags & { readonly to: ExportFormat }) =>
      run(flags.output, () => exportTo(profile, flags)),
    );
}

async function importSource(source: string, flags: Flags & { readonly from: ImportSource }): Promise<number> {
  const known = await loadProfiles({ paths: flags.policy ?? [] });
  const found = await importFrom(flags.from, source, {
    target: targetOf(flags),
    profile: (name) => known.resolve(name),
    ...(flags.seccompRoot === undefined ? {} : { seccompRoot: flags.seccompRoot }),
  });
  const description = `Imported from ${source}`.slice(0, 4096);
  const names = namesOf(
    found.map(({ name }) => name),
    flags.name,
  );
  const text = found
    .map(({ profile }, at) => writeExactProfile(names[at] ?? '', profile, description))
    .join('---\n');
  if (flags.out !== undefined) await writeNewFile(flags.out, text);
  const unmapped = found.flatMap((one) => one.unmapped);
  print(
    flags.output,
    {
      profiles: found.map((one, at) => ({
        profile: exactProfile(names[at] ?? '', one.profile, description),
        unmapped: one.unmapped,
        notes: one.notes,
      })),
      ...(flags.out === undefined ? {} : { written: [flags.out] }),
    },
    flags.out === undefined ? text : `wrote ${flags.out}\n`,
  );
  report(
    flags,
    unmapped,
    found.flatMap((one) => one.notes),
  );
  return unmapped.length === 0 || flags.allowUnmapped ? exitCodes.yes : exitCodes.no;
}

/** Chooses one name for each profile. Names of built-in profiles and repeated names get a number. */
function namesOf(own: readonly string[], wanted: string | undefined): string[] {
  const taken = new Set(['default', 'privileged', 'baseline', 'restricted']);
  return own.map((name) => {
    const base = wanted === undefined ? name : own.length === 1 ? wanted : `${wanted}-${name}`;
    let chosen = base;
    for (let count = 2; taken.has(chosen); count++) chosen = `${base}-${count}`;
    taken.add(chosen);
    return chosen;
  });
}

async function exportTo(text: string, flags: Flags & { readonly to: ExportFormat }): Promise<number> {
  const found = await operand(text, flags);
  const name = flags.name ?? (isProfileName(found.label) ? found.label : 'profile');
  const { files, unmapped, notes } = exportProfile(flags.to, name, found.profile, targetOf(flags));
  const written: string[] = [];
  for (const file of flags.out === undefined ? [] : files) {
    const path = join(flags.out ?? '', file.name);
    await writeNewFile(path, file.text);
    written.push(path);
  }
  print(
    flags.output,
    { files, unmapped, notes, written },
    flags.out === undefined ? (files[0]?.text ?? '') : written.map((path) => `wrote ${path}\n`).join(''),
  );
  const more = files.slice(1).map((file) => ({
    part: file.name,
    why: 'this file belongs to the export: write all files with --out FOLDER',
  }));
  report(flags, unmapped, [...notes, ...(flags.out === undefined ? more : [])]);
  return unmapped.length === 0 || flags.allowUnmapped ? exitCodes.yes : exitCodes.no;
}

function report(flags: Flags, unmapped: readonly Remark[], notes: readonly Remark[]): void {
  if (flags.output !== 'text') return;
  for (const { part, why } of unmapped) printNote(`not mapped: ${part}: ${why}\n`);
  for (const { part, why } of notes) printNote(`note: ${part}: ${why}\n`);
}
