import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { dirname, resolve } from 'node:path';
import { PortcullisError } from '../base/errors/index.ts';
import { boundingCapabilities } from '../base/kernel/index.ts';
import { formatProblems } from '../base/schema/index.ts';
import { compile, detectKernel, loadProfiles } from '../entitlements/index.ts';
import { serialiseSpec, standaloneSpec, tryRuntime, validateOciConfig } from '../runtime/index.ts';
import { readInputFile, readStandardInput } from './files/input-file.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface GenerateFlags {
  readonly output: OutputFormat;
  readonly profile: string;
  readonly policy?: readonly string[];
  readonly runtime: string;
  readonly rootfs: string;
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: { readonly uid: number; readonly gid: number };
  readonly hostname: string;
  readonly tty: boolean;
}

interface ValidateFlags {
  readonly output: OutputFormat;
  readonly runtime: readonly string[];
}

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export function register(program: Command): void {
  const spec = program
    .command('spec')
    .description('generate and validate OCI runtime configurations (config.json)');
  withOutput(
    spec
      .command('generate')
      .description('print the config.json of a container that is confined by an entitlement profile')
      .argument('<command...>', 'the program and its arguments; put -- before them')
      .option(
        '--profile <name>',
        'default, privileged, baseline, restricted, or a name from --policy',
        'default',
      )
      .option('--policy <path...>', 'files or folders with profiles')
      .addOption(
        new Option('--runtime <name>', 'the OCI runtime that will run it')
          .choices(['crun', 'runc'])
          .default('crun'),
      )
      .option('--rootfs <path>', 'the root file system, relative to the bundle', 'rootfs')
      .option('--env <name=value>', 'a variable of the environment; may be repeated', collect, [defaultPath])
      .option('--cwd <path>', 'the working folder', '/')
      .addOption(
        new Option('--user <uid[:gid]>', 'numeric user id, and group id, which is otherwise the user id')
          .argParser(readUser)
          .default({ uid: 0, gid: 0 }, '"0:0"'),
      )
      .option('--hostname <name>', 'the host name', 'portcullis')
      .option('--tty', 'with a terminal', false),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis spec generate --profile restricted --user 1000 -- /bin/server > config.json\n  $ portcullis spec generate --policy web.yaml --profile web --runtime runc -- nginx | portcullis spec validate - --runtime runc',
    )
    .action((command: readonly string[], flags: GenerateFlags) =>
      run(flags.output, () => generate(command, flags)),
    );
  withOutput(
    spec
      .command('validate')
      .description('validate a config.json against the runtime-spec, and by creating it with runtimes')
      .argument('<file>', 'the file, or - for standard input')
      .option(
        '--runtime <program>',
        'create it with this runtime and remove it before it runs; needs root; may be repeated',
        collect,
        [],
      ),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis spec validate config.json\n  $ sudo portcullis spec validate bundle/config.json --runtime crun --runtime runc\n\nExit status: 0 valid; 1 not.',
    )
    .action((file: string, flags: ValidateFlags) => run(flags.output, () => judge(file, flags)));
}

/**
 * Prints a config.json. Capabilities outside the bounding set of this process are left out, because no
 * runtime could set them.
 */
async function generate(args: readonly string[], flags: GenerateFlags): Promise<number> {
  const profiles = await loadProfiles({ paths: flags.policy ?? [] });
  const profile = profiles.resolve(flags.profile);
  if (profile === undefined) throw unknownProfile(flags.profile, profiles.names());
  const architecture = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const settings = compile(
    { ...profile, ambient: [] },
    {
      architecture,
      runtime: flags.runtime,
      kernel: detectKernel(),
      heldCapabilities: boundingCapabilities(),
    },
  );
  const { runtime, rootfs, env, cwd, hostname, tty: terminal } = flags;
  const user = { ...flags.user, additionalGids: [] };
  const made = standaloneSpec({ settings, runtime, rootfs, args, env, cwd, user, terminal, hostname });
  process.stdout.write(`${serialiseSpec(made)}\n`);
  return exitCodes.yes;
}

async function judge(file: string, flags: ValidateFlags): Promise<number> {
  const bytes = await (file === '-' ? readStandardInput(mostBytes) : readInputFile(file, mostBytes));
  const text = bytes.toString('utf8');
  const problems = validateOciConfig(text, file);
  const bundle = file === '-' ? process.cwd() : dirname(resolve(file));
  const trials = [];
  if (problems.length === 0)
    for (const runtime of flags.runtime) trials.push(await tryRuntime({ runtime, config: text, bundle }));
  const refused = trials.filter(({ accepted }) => !accepted);
  const lines = [
    ...(problems.length === 0 ? ['valid by the runtime-spec'] : [formatProblems(problems)]),
    ...trials.map(({ runtime, accepted, said }) =>
      accepted ? `${runtime} accepts it` : `${runtime} refuses it: ${said}`,
    ),
  ];
  const valid = problems.length === 0 && refused.length === 0;
  print(flags.output, { valid, problems, runtimes: trials }, `${lines.join('\n')}\n`);
  return valid ? exitCodes.yes : exitCodes.no;
}

/** More than any specification has. */
const mostBytes = 16 * 2 ** 20;

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

function readUser(text: string): { uid: number; gid: number } {
  const match = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(text);
  const [uid, gid] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  if (match === null || uid > 0xffff_fffe || gid > 0xffff_fffe)
    throw new InvalidArgumentError('give UID or UID:GID, as numbers.');
  return { uid, gid };
}

function unknownProfile(name: string, known: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'CLI_UNKNOWN_PROFILE',
    kind: 'invalid',
    attempted: 'find entitlement profile',
    on: name,
    why: 'there is no such profile',
    fix: `use one of: ${known.join(', ')}; or name the file that defines it with --policy`,
  });
}
