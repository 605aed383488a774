import type { Command } from 'commander';
import { resolve } from 'node:path';
import { loadDaemonConfig, startProxy } from '../runtime/launch.ts';
import type { DaemonConfig } from '../runtime/launch.ts';
import { requireRoot } from './environment/require-root.ts';
import { socketPath } from './options/endpoint.ts';
import { collect } from './options/registry-options.ts';
import { exitCodes, run, withOutput } from './output/output.ts';
import { untilStopSignal } from './output/stop-signal.ts';
import type { OutputFormat } from './output/output.ts';

interface Flags {
  readonly backend: string;
  readonly socket: string;
  readonly root: string;
  readonly policy?: readonly string[];
  readonly config: string;
  readonly registryMirror?: readonly string[];
  readonly insecureRegistry?: readonly string[];
  readonly lockBackend: boolean;
  readonly logLevel?: string;
  readonly output: OutputFormat;
}

const examples = `
The backend keeps its images, its network and its containers. The proxy decides before each pull and before
each container, and keeps a container within its ceiling as far as the CRI has fields for it. The proxy runs
as root, until SIGTERM or SIGINT; SIGHUP reloads the policy.

Examples:
  $ portcullis proxy --backend unix:///run/containerd/containerd.sock --policy /etc/portcullis/policy
  $ portcullis proxy --backend unix:///run/crio/crio.sock --socket /run/portcullis/proxy.sock --policy policy.yaml --log-level debug
  $ crictl --runtime-endpoint unix:///run/portcullis/proxy.sock pull registry.example.com/team/app:1

Exit status: 0 the proxy was asked to stop; 2 wrong use or a wrong configuration; 4 the proxy cannot start,
for example without a backend, or it failed.`;

/** `portcullis proxy`: verifies images in front of another runtime, until SIGTERM or SIGINT. */
export function register(program: Command): void {
  withOutput(program.command('proxy'))
    .description('verify images in front of containerd or CRI-O')
    .requiredOption('--backend <unix://socket>', 'CRI socket of the runtime behind the proxy', socketPath)
    .option('--socket <path>', 'unix socket of the proxy, for the kubelet', '/run/portcullis/proxy.sock')
    .option(
      '--root <dir>',
      'persistent state: verdicts, and the digest of each tag',
      '/var/lib/portcullis-proxy',
    )
    .option('--policy <file|dir>', 'trust policies and profiles; may be repeated', collect)
    .option(
      '--config <file>',
      'configuration in the format of the daemon: registries, peers, policy, policySubscription, cluster, kubeletRoot, cdi, verdicts, metrics',
      '/etc/portcullis/proxy.yaml',
    )
    .option('--registry-mirror <host=url>', 'mirror of a registry host; may be repeated', collect)
    .option(
      '--insecure-registry <host>',
      'registry host that may be contacted over plain HTTP; may be repeated',
      collect,
    )
    .option('--no-lock-backend', "leave the mode of the backend's socket as it is")
    .option('--log-level <level>', 'debug, info, warn, error or silent')
    .addHelpText('after', examples)
    .action(async (flags: Flags, command: Command) => {
      await run(flags.output, () => serve(flags, command.getOptionValueSource('config') === 'default'));
      // A component that started before the failing one would keep this process alive.
      if (process.exitCode !== exitCodes.yes) process.exit();
    });
}

async function serve(flags: Flags, mayBeMissing: boolean): Promise<number> {
  requireRoot(
    'start the proxy',
    'lock the socket of the backend and read the files of this machine that pods name',
  );
  const config = await configOf(flags, mayBeMissing);
  const stop = untilStopSignal();
  const backend = resolve(flags.backend);
  const proxy = await startProxy({ config, backend, lock: flags.lockBackend });
  await stop;
  await proxy.stop();
  return 0;
}

/** The proxy has its own folders: those of the file belong to a daemon. */
function configOf(flags: Flags, mayBeMissing: boolean): Promise<DaemonConfig> {
  const given: Readonly<Record<string, readonly string[] | undefined>> = {
    '--socket': [flags.socket],
    '--root': [flags.root],
    // The proxy does not create this folder. The default folder of the daemon would be refused as
    // overlapping.
    '--state': [`${resolve(flags.root)}-state`],
    '--policy': flags.policy,
    '--registry-mirror': flags.registryMirror,
    '--insecure-registry': flags.insecureRegistry,
    '--log-level': flags.logLevel === undefined ? undefined : [flags.logLevel],
  };
  const set = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  return loadDaemonConfig({
    file: flags.config,
    mayBeMissing,
    flags: Object.fromEntries(set) as Readonly<Record<string, readonly string[]>>,
  });
}
