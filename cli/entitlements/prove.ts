import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { Option } from 'commander';
import type { Command } from 'commander';
import { seccompFilters } from '../../base/kernel/index.ts';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { attestFilters, detectKernel, enforcedPolicy, parseSeccompJson } from '../../entitlements/index.ts';
import type { Attestation, Expected } from '../../entitlements/index.ts';
import type { CriClient } from '../../runtime/index.ts';
import { withClient, withSocket } from '../options/endpoint.ts';
import { readInputFile } from '../files/input-file.ts';
import { proofAnswers } from '../output/exit-codes.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { operand, operandHelp, withOperands } from './operands.ts';
import type { OperandFlags } from './operands.ts';
import { requireNodeKernel } from './separate-kernel.ts';
import type { ReportedHandlers } from './separate-kernel.ts';

interface Flags extends OperandFlags {
  readonly container?: string;
  readonly bpf?: string;
  readonly profile?: string;
  readonly runtime?: 'crun' | 'runc' | 'none';
  readonly socket: string;
  readonly output: OutputFormat;
}

const examples = `${operandHelp}

A container's filter is compared with the OCI seccomp object that its profile was compiled to at creation, or
with --profile. The filter is read back from the kernel, which stops its first process for less than a
millisecond. The system calls that the runtime itself needs to start a container are granted in addition to
the profile: use --runtime none if no runtime is involved. The rules of the profile on files and mounts are
read as this kernel enforces them: Landlock needs system calls of its own, and some mount calls are denied.

Examples:
  $ portcullis entitlements prove --container web
  $ portcullis entitlements prove --container web --profile web --policy /etc/portcullis/policy.d
  $ portcullis entitlements prove --bpf filter.bpf --profile default --runtime none

Exit status: 0 the filter allows nothing that the profile denies; 1 it allows more, with a call that shows it;
2 wrong use, or a program that the kernel would not load; 3 too complex to prove; 4 the filter could not be
read.`;

/**
 * `portcullis entitlements prove`: proves a compiled filter, or the filter of a running container, against a
 * profile.
 */
export function registerProve(entitlements: Command): void {
  withSocket(
    withOutput(
      withOperands(
        entitlements
          .command('prove')
          .description('prove what a compiled filter, or the filter of a running container, allows'),
      ),
    ),
  )
    .option(
      '--container <id>',
      'a running container: its id, the beginning of its id, or its name; needs root',
    )
    .option('--bpf <file>', 'a compiled seccomp program: struct sock_filter[], little-endian')
    .option('--profile <profile>', 'profile to compare with')
    .addOption(
      new Option(
        '--runtime <name>',
        'runtime whose own system calls are granted, too (default: the runtime of the container, else crun)',
      ).choices(['crun', 'runc', 'none']),
    )
    .addHelpText('after', examples)
    .allowExcessArguments()
    .action((flags: Flags, command: Command) => {
      const [word] = command.args;
      if (word !== undefined)
        command.error(
          `error: prove takes no argument: name a container by --container ${word}, or a compiled program by --bpf and its profile by --profile ${word}`,
        );
      return run(flags.output, () => prove(flags), proofAnswers);
    });
}

/** The subject of a proof: the filters, oldest first, and the expected system calls. */
interface Question {
  readonly subject: string;
  readonly against: string;
  readonly filters: readonly Uint8Array[];
  readonly expected: Expected;
}

async function prove(flags: Flags): Promise<number> {
  const { subject, against, filters, expected } = await questionOf(flags);
  const attestation = attestFilters(expected, flags.arch, filters);
  const { verdict, witness, instructions } = attestation;
  const shown = {
    subject,
    against,
    ...attestation,
    ...(witness !== undefined && { witness: { ...witness, args: witness.args.map(hex) } }),
  };
  const sentence = `${verdict}: ${subject} (${instructions} instructions) ${SENTENCES[verdict]} ${against}`;
  print(flags.output, shown, `${sentence}${witness === undefined ? '' : `\n  ${witness.sentence}`}\n`);
  return verdict === 'looser' ? exitCodes.no : exitCodes.yes;
}

const SENTENCES: Readonly<Record<Attestation['verdict'], string>> = {
  equal: 'gives every call the same answer as',
  narrower: 'allows no call that is denied by, and gives some calls another answer than,',
  looser: 'allows a call that is denied by',
};

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

async function questionOf(flags: Flags): Promise<Question> {
  const { container, bpf, profile } = flags;
  if ((container === undefined) === (bpf === undefined)) throw usage('give either --container or --bpf');
  if (container !== undefined)
    return withClient(flags.socket, (client) => ofContainer(client, container, flags));
  if (bpf === undefined || profile === undefined)
    throw usage('--bpf needs --profile, the profile to compare with');
  const filters = [await readInputFile(bpf)];
  return { subject: bpf, against: profile, filters, expected: await expectedOf(profile, flags, 'crun') };
}

async function expectedOf(profile: string, flags: Flags, runtime: string): Promise<Expected> {
  const name = flags.runtime ?? runtime;
  const { profile: found } = await operand(profile, flags);
  return enforcedPolicy(found, {
    architecture: flags.arch,
    runtime: name === 'none' ? undefined : name,
    kernel: detectKernel(),
  });
}

async function ofContainer(client: CriClient, named: string, flags: Flags): Promise<Question> {
  const { ContainerState, findContainer } = await import('../../runtime/index.ts');
  const { id, state } = await findContainer(client, named);
  if (state !== ContainerState.CONTAINER_RUNNING)
    throw unprovable(named, 'it is not running', 'name a running container');
  const { info } = await client.runtime.containerStatus({ containerId: id, verbose: true });
  const { pid, runtimeHandler } = parseJson(info['info'] ?? '{}') as {
    pid?: number;
    runtimeHandler?: string;
  };
  if (pid === undefined || pid === 0)
    throw unprovable(
      named,
      'the daemon does not know its process',
      'give the socket of portcullisd with --socket',
    );
  const config = await configOf(client);
  const { runtimeKinds = {} } = config;
  requireNodeKernel('prove filter of container', named, runtimeHandler, config);
  const filters = seccompFilters(pid);
  const subject = `the filter of container ${named}`;
  if (flags.profile !== undefined) {
    // A daemon of an earlier version does not report the kinds.
    const assumed = runtimeHandler?.includes('runc') === true ? 'runc' : 'crun';
    const runtime = runtimeKinds[runtimeHandler ?? ''] ?? assumed;
    return {
      subject,
      against: flags.profile,
      filters,
      expected: await expectedOf(flags.profile, flags, runtime),
    };
  }
  return {
    subject,
    against: 'the filter to which its profile was compiled',
    filters,
    expected: await compiledFor(client, id),
  };
}

/** The configuration that the daemon reports. */
interface DaemonConfig extends ReportedHandlers {
  readonly state?: string;
  /** The type of each handler's program, whatever the name of the handler: `crun`, `runc` or `other`. */
  readonly runtimeKinds?: Readonly<Record<string, string>>;
}

async function configOf(client: CriClient): Promise<DaemonConfig> {
  const { info } = await client.runtime.status({ verbose: true });
  return parseJson(info['config'] ?? '{}') as DaemonConfig;
}

/**
 * Reads the OCI seccomp object in the container's bundle. It was proved equal to the container's profile at
 * creation.
 */
async function compiledFor(client: CriClient, id: string): Promise<Expected> {
  const { state = '/run/portcullis' } = await configOf(client);
  const file = join(state, 'containers', id, 'config.json');
  try {
    const spec = parseSeccompJson(await readFile(file, 'utf8')) as {
      readonly linux?: { readonly seccomp?: unknown };
    };
    const oci = spec.linux?.seccomp;
    return oci === undefined ? { policy: { filtered: false } } : { oci };
  } catch (error) {
    throw unprovable(
      id,
      `its bundle cannot be read: ${fileReason(error, file)}`,
      'run as root on the machine of the daemon, or name the profile to compare with by --profile',
    );
  }
}

function usage(why: string): PortcullisError {
  return new PortcullisError({
    code: 'CLI_USAGE',
    kind: 'invalid',
    attempted: 'prove filter',
    on: '',
    why,
    fix: 'see --help',
  });
}

function unprovable(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'CLI_UNPROVABLE',
    kind: 'precondition',
    attempted: 'prove filter of container',
    on,
    why,
    fix,
  });
}
