import { Option } from 'commander';
import type { Command } from 'commander';
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { kernelFindings } from './doctor/kernel.ts';
import { machineFindings } from './doctor/machine.ts';
import { nodeChapters } from './doctor/node/node.ts';
import { formatFindings, verdictOf } from './doctor/print.ts';
import { programFindings } from './doctor/programs.ts';
import { seedFindings } from './doctor/seeds.ts';
import { sigstoreSeeds } from '../trust/sigstore/index.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { paperFor } from './output/terminal.ts';
import { packageRoot } from './environment/package-root.ts';
import { fromVariable, socketPath } from './options/endpoint.ts';

interface DoctorFlags {
  readonly fix: boolean;
  readonly config?: string;
  readonly socket?: string;
  readonly output: OutputFormat;
}

const examples = `
Checks the OCI runtimes that the daemon's configuration names. On a node, it also checks the running daemon,
lost links of pods, the service, the kubelet and crictl (docs/kubelet.md).

Exit status: 0 pods can start, perhaps with restrictions; 1 no pod can start, or no pod of one handler can
start; 2 wrong use; 4 the repair failed. The last line says what prevents it: for example a missing runtime,
no policy, no network, a broken configuration, or a daemon that does not answer.

Examples:
  $ portcullis doctor
  $ portcullis doctor --fix               installs what is missing (Debian and its derivatives, as root)
  $ portcullis doctor --output json | jq '.chapters[].findings[] | select(.open)'`;

export function register(program: Command): void {
  withOutput(program.command('doctor'))
    .description('check this machine, and report what is missing or degraded, and why')
    .option('--fix', 'install what is missing first', false)
    .option('--config <file>', 'configuration file of the daemon (default: /etc/portcullis/config.yaml)')
    .addOption(
      fromVariable(
        new Option(
          '--socket <path>',
          'unix socket of the running daemon (default: that of the configuration)',
        ),
        'PORTCULLIS_SOCKET',
      ).argParser(socketPath),
    )
    .addHelpText('after', examples)
    .action((flags: DoctorFlags) => run(flags.output, () => examine(flags)));
}

async function examine({ fix, config, socket, output }: DoctorFlags): Promise<number> {
  const root = packageRoot();
  // Standard output is reserved for the report.
  if (
    fix &&
    spawnSync('sh', [join(root, 'packaging/prepare'), 'start'], { stdio: ['ignore', 2, 2] }).status !== 0
  )
    return exitCodes.failed;
  const chapters = [
    { title: 'Machine', findings: machineFindings() },
    { title: 'Programs', findings: programFindings(root) },
    { title: 'Kernel', findings: kernelFindings() },
    { title: 'Trust', findings: seedFindings(await sigstoreSeeds(), new Date()) },
    ...(await nodeChapters({
      packageRoot: root,
      ...(config !== undefined && { config }),
      ...(socket !== undefined && { socket: resolve(socket) }),
    })),
  ];
  const findings = chapters.flatMap((chapter) => chapter.findings);
  const ready = findings.every((finding) => finding.state !== 'missing');
  const paper = paperFor(process.stdout, process.env);
  print(output, { ready, chapters }, `${formatFindings(chapters, paper)}\n${verdictOf(findings)}\n`);
  return ready ? exitCodes.yes : exitCodes.no;
}
