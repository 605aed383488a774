import { Option } from 'commander';
import type { Command } from 'commander';
import { compile, describeSettings, detectKernel, settingsToJson } from '../entitlements/index.ts';
import type { Architecture } from '../entitlements/index.ts';
import { registerCatalog } from './entitlements/catalog.ts';
import { registerConvert } from './entitlements/convert.ts';
import { registerCompare } from './entitlements/compare.ts';
import { registerDocuments } from './entitlements/documents.ts';
import { registerExplain } from './entitlements/explain.ts';
import { registerInspect } from './entitlements/inspect.ts';
import { registerMerge } from './entitlements/merge.ts';
import { operand } from './entitlements/operands.ts';
import { registerProve } from './entitlements/prove.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface Flags {
  readonly output: OutputFormat;
}

interface CompileFlags extends Flags {
  readonly policy?: readonly string[];
  readonly runtime: string;
  readonly arch: Architecture;
}

export function register(program: Command): void {
  const entitlements = program
    .command('entitlements')
    .description('write, check, explain, compare, merge, import and export profiles: what a workload may do');
  registerDocuments(entitlements);
  withOutput(
    entitlements
      .command('compile')
      .description('show the kernel settings that a profile compiles to')
      .argument(
        '<profile>',
        'default, privileged, baseline, restricted, a name from --policy, a file, or FILE#name',
      )
      .option('--policy <path...>', 'files or folders with profiles')
      .addOption(
        new Option('--runtime <name>', 'the OCI runtime that starts the container')
          .choices(['crun', 'runc'])
          .default('crun'),
      )
      .addOption(
        new Option('--arch <architecture>', 'the machine')
          .choices(['x86_64', 'aarch64'])
          .default(process.arch === 'arm64' ? 'aarch64' : 'x86_64'),
      ),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis entitlements compile default\n  $ portcullis entitlements compile web.yaml --runtime runc --output json | jq .seccomp.oci\n\nExit status: 0 done; 2 wrong use; 4 the profile cannot be enforced on this machine.',
    )
    .action((name: string, flags: CompileFlags) => run(flags.output, () => show(name, flags)));
  registerExplain(entitlements);
  registerMerge(entitlements);
  registerCompare(entitlements);
  registerConvert(entitlements);
  registerCatalog(entitlements);
  registerProve(entitlements);
  registerInspect(entitlements);
}

async function show(text: string, flags: CompileFlags): Promise<number> {
  const { label, profile } = await operand(text, flags);
  // The ceiling allows every capability to be ambient. Only the capabilities that a container asks for become
  // ambient in it.
  const settings = compile(
    { ...profile, ambient: [] },
    { architecture: flags.arch, runtime: flags.runtime, kernel: detectKernel() },
  );
  print(flags.output, settingsToJson(settings), describeSettings(label, profile, settings));
  return exitCodes.yes;
}
