import { Option } from 'commander';
import type { Command } from 'commander';
import { PortcullisError } from '../base/errors/index.ts';
import { compile, describeSettings, detectKernel, loadProfiles, settingsToJson } from '../entitlements/index.ts';
import type { Architecture } from '../entitlements/index.ts';
import { registerCatalog } from './entitlements/catalog.ts';
import { registerConvert } from './entitlements/convert.ts';
import { registerCompare } from './entitlements/compare.ts';
import { registerExplain } from './entitlements/explain.ts';
import { registerMerge } from './entitlements/merge.ts';
import { registerProve } from './entitlements/prove.ts';
import { exitCodes, print, run, withOutput } from './output.ts';
import type { OutputFormat } from './output.ts';

interface Flags {
  readonly output: OutputFormat;
}

interface CompileFlags extends Flags {
  readonly policy?: readonly string[];
  readonly runtime: string;
  readonly arch: Architecture;
}

export function register(program: Command): void {
  const entitlements = program.command('entitlements').description('check and compile entitlement profiles: what a workload may do');
  withOutput(
    entitlements
      .command('check')
      .description('check the profiles in files: every problem at once, as file:line:column')
      .argument('<path...>', 'files or folders; documents of other kinds are skipped'),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis entitlements check web.yaml\n  $ portcullis entitlements check /etc/portcullis/policy.d --output json\n\nExit status: 0 valid, 1 not.',
    )
    .action((paths: readonly string[], flags: Flags) =>
      run(
        flags.output,
        () => check(paths, flags),
        (error) => (error.code === 'ENTITLEMENTS_BAD_PROFILE' ? exitCodes.no : undefined),
      ),
    );
  withOutput(
    entitlements
      .command('compile')
      .description('show what the kernel is told for a profile')
      .argument('<profile>', 'default, privileged, baseline, restricted, or a name from --policy')
      .option('--policy <path...>', 'files or folders with profiles')
      .addOption(new Option('--runtime <name>', 'the OCI runtime that starts the container').choices(['crun', 'runc']).default('crun'))
      .addOption(
        new Option('--arch <architecture>', 'the machine')
          .choices(['x86_64', 'aarch64'])
          .default(process.arch === 'arm64' ? 'aarch64' : 'x86_64'),
      ),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis entitlements compile default\n  $ portcullis entitlements compile web --policy web.yaml --runtime runc --output json | jq .seccomp.oci',
    )
    .action((name: string, flags: CompileFlags) => run(flags.output, () => show(name, flags)));
  registerExplain(entitlements);
  registerMerge(entitlements);
  registerCompare(entitlements);
  registerConvert(entitlements);
  registerCatalog(entitlements);
  registerProve(entitlements);
}

async function check(paths: readonly string[], flags: Flags): Promise<number> {
  const { defined } = await loadProfiles({ paths });
  const names = defined.map((profile) => profile.name);
  print(
    flags.output,
    { valid: true, profiles: defined.map(({ name, entitlements }) => ({ name, entitlements })) },
    names.length === 0 ? 'valid: no entitlement profile in it\n' : `valid: ${names.join(', ')}\n`,
  );
  return exitCodes.yes;
}

async function show(name: string, flags: CompileFlags): Promise<number> {
  const profiles = await loadProfiles({ paths: flags.policy ?? [] });
  const profile = profiles.resolve(name);
  if (profile === undefined) throw unknown(name, profiles.names());
  // A ceiling allows every capability to be ambient; a container has those ambient that it asks for.
  const settings = compile({ ...profile, ambient: [] }, { architecture: flags.arch, runtime: flags.runtime, kernel: detectKernel() });
  print(flags.output, settingsToJson(settings), describeSettings(name, profile, settings));
  return exitCodes.yes;
}

function unknown(name: string, known: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'ENTITLEMENTS_UNKNOWN_PROFILE',
    kind: 'invalid',
    attempted: 'find entitlement profile',
    on: name,
    why: 'there is no such profile',
    fix: `use one of: ${known.join(', ')}; or name the files that define it by --policy`,
  });
}
