import { existsSync, fstatSync, opendirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import type { Command } from 'commander';
import { capabilityNames } from '../../base/capabilities/index.ts';
import { closeFd, O_DIRECTORY, O_PATH, openFile, openInRootIfThere } from '../../base/kernel/index.ts';
import {
  attempt,
  errnoIs,
  fileReason,
  PortcullisError,
  reasonOf,
  tolerate,
} from '../../base/errors/index.ts';
import { largest } from '../../base/lists/index.ts';
import { parseSeccompJson } from '../../entitlements/index.ts';
import { withClient, withSocket } from '../options/endpoint.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { linkFindings } from './link-findings.ts';
import type { LinkAnswer } from './link-findings.ts';
import { heldAgainst } from './live-state.ts';
import type { LiveFinding, LiveState, Place, ReportedState } from './live-state.ts';
import { requireNodeKernel } from './separate-kernel.ts';
import type { ReportedHandlers } from './separate-kernel.ts';

interface Flags {
  readonly socket: string;
  readonly output: OutputFormat;
}

/** A change that a plugin of the node made, as the daemon reports it. */
interface AdjustmentText {
  readonly plugin: string;
  readonly action: string;
  readonly field: string;
  readonly key: string;
  readonly value?: string;
}

const examples = `
Compares the compiled profile with what the kernel reports about the container's first process: capabilities, no_new_privs, AppArmor, namespaces,
limits, masked and read-only paths, devices, network. A process may be tighter than its configuration, never looser. The filter itself is proved by
\`entitlements prove --container\`. The class of its network and the rules of peers are read back from nf_tables by the daemon.

Examples:
  $ portcullis entitlements inspect web

Exit status: 0 everything is as configured or tighter; 1 something is looser; 2 wrong use; 4 the state could
not be read (this needs root, on the machine of the daemon).`;

/**
 * `portcullis entitlements inspect`: compares what the kernel enforces for a container with its
 * configuration.
 */
export function registerInspect(entitlements: Command): void {
  withSocket(
    withOutput(
      entitlements
        .command('inspect')
        .description('compare what the kernel enforces for a running container with its profile'),
    ),
  )
    .argument('<container>', 'a running container: its id, the beginning of its id, or its name')
    .addHelpText('after', examples)
    .action((container: string, flags: Flags) => run(flags.output, () => inspect(container, flags)));
}

async function inspect(named: string, flags: Flags): Promise<number> {
  const { reported, pid, networkClass, link, adjustments } = await withClient(
    flags.socket,
    async (client) => {
      const { ContainerState, findContainer } = await import('../../runtime/index.ts');
      const { id, state, podSandboxId } = await findContainer(client, named);
      if (state !== ContainerState.CONTAINER_RUNNING)
        throw unreadable(named, 'it is not running', 'name a running container');
      const { info } = await client.runtime.containerStatus({ containerId: id, verbose: true });
      const known = parseJson(info['info'] ?? '{}') as {
        readonly pid?: number;
        readonly networkClass?: string;
        readonly runtimeHandler?: string;
        readonly adjustments?: readonly AdjustmentText[];
      };
      const { info: ofPod } = await client.runtime.podSandboxStatus({ podSandboxId, verbose: true });
      const { info: ofDaemon } = await client.runtime.status({ verbose: true });
      const config = parseJson(ofDaemon['config'] ?? '{}') as ReportedHandlers & { readonly state?: string };
      const { state: folder = '/run/portcullis' } = config;
      requireNodeKernel('inspect container', named, known.runtimeHandler, config);
      return {
        reported: readReported(join(folder, 'containers', id, 'config.json'), named),
        pid: known.pid ?? 0,
        networkClass: known.networkClass ?? '',
        adjustments: known.adjustments ?? [],
        link: ofPod['link'] === undefined ? undefined : (parseJson(ofPod['link']) as LinkAnswer),
      };
    },
  );
  const findings = [...liveFindings(reported, pid, named), ...linkFindings(networkClass, link)];
  const width = largest(findings.map(({ part }) => part.length));
  const lines = findings.map(
    ({ part, verdict, found }) => `${verdict.padEnd(10)}  ${part.padEnd(width)}  ${found}\n`,
  );
  const byPlugins = adjustments.map(
    ({ plugin, action, field, key, value }) =>
      `${[plugin, action === 'set' ? 'set' : 'removed', field, key, value].filter(Boolean).join(' ')}\n`,
  );
  const text = [
    ...lines,
    ...(byPlugins.length > 0 ? ['\nchanged by plugins of the node (NRI):\n'] : []),
    ...byPlugins,
  ];
  print(flags.output, { container: named, pid, networkClass, findings, adjustments }, text.join(''));
  return findings.some(({ verdict }) => verdict === 'looser') ? exitCodes.no : exitCodes.yes;
}

function readReported(file: string, named: string): ReportedState {
  try {
    return parseSeccompJson(readFileSync(file, 'utf8')) as ReportedState;
  } catch (error) {
    throw unreadable(
      named,
      `its bundle cannot be read: ${fileReason(error, file)}`,
      'run as root on the machine of the daemon',
    );
  }
}

const NAMESPACES = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'time', 'user', 'uts'];

/** Returns the findings about a process. @throws PortcullisError CLI_UNPROVABLE */
function liveFindings(reported: ReportedState, pid: number, named: string): LiveFinding[] {
  if (pid === 0)
    throw unreadable(
      named,
      'the daemon does not know its process',
      'give the socket of portcullisd with --socket',
    );
  const proc = `/proc/${pid}`;
  let root: number | undefined;
  try {
    const read = (name: string): string => readFileSync(join(proc, name), 'utf8');
    const links = (of: string): Record<string, string> =>
      Object.fromEntries(
        NAMESPACES.filter((name) => existsSync(`${of}/ns/${name}`)).map((name) => [
          name,
          readlinkSync(`${of}/ns/${name}`),
        ]),
      );
    const label = optional(join(proc, 'attr/current'));
    const cgroup = /^\d+:(?:[^:]*,)?devices(?:,[^:]*)?:(.*)$/m.exec(read('cgroup'))?.[1];
    const devices =
      cgroup === undefined ? undefined : optional(join('/sys/fs/cgroup/devices', cgroup, 'devices.list'));
    const opened = openFile(join(proc, 'root'), O_PATH | O_DIRECTORY);
    root = opened;
    const live: LiveState = {
      status: read('status'),
      limits: read('limits'),
      mountinfo: read('mountinfo'),
      namespaces: links(proc),
      hostNamespaces: links('/proc/self'),
      ...(label !== undefined && { label }),
      ...(devices !== undefined && { devices }),
      resolve: (path) => placeInRoot(opened, path),
    };
    const findings = heldAgainst(reported, live, capabilityNames);
    // When a process ends, its mounts go, and with them what they covered and what they showed.
    if (readlinkSync(`${proc}/ns/mnt`) !== live.namespaces['mnt']) throw new Error('it has ended');
    return findings;
  } catch (error) {
    throw unreadable(
      named,
      `the state of process ${pid} cannot be read: ${reasonOf(error)}`,
      'run as root on the node',
    );
  } finally {
    if (root !== undefined) closeFd(root);
  }
}

/**
 * Returns what a process sees at a path; undefined if nothing. Resolves links as the container does: an
 * absolute one does not lead to the host.
 * @param root a descriptor of the root folder of the process
 * @throws the error of the kernel if that cannot be found out
 */
function placeInRoot(root: number, path: string): Place | undefined {
  // Links that lead in a circle lead nowhere, also for the process.
  const fd = tolerate(errnoIs('ELOOP'), () => openInRootIfThere(root, path, { flags: O_PATH }));
  if (fd === undefined) return undefined;
  try {
    const [, mount] = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? [];
    const facts = fstatSync(fd);
    return {
      path: readlinkSync(`/proc/self/fd/${fd}`),
      mount: Number(mount),
      isNull: facts.isCharacterDevice() && facts.rdev === nullDevice,
      isEmptyFolder: facts.isDirectory() && attempt(() => isEmpty(`/proc/self/fd/${fd}`)) === true,
    };
  } finally {
    closeFd(fd);
  }
}

/** Reads one entry: a folder that is not masked can have any number. */
function isEmpty(folder: string): boolean {
  const opened = opendirSync(folder);
  try {
    return opened.readSync() === null;
  } finally {
    opened.closeSync();
  }
}

/** makedev(1, 3) */
const nullDevice = 0x103;

function optional(file: string): string | undefined {
  return attempt(() => readFileSync(file, 'utf8'));
}

function unreadable(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'CLI_UNPROVABLE',
    kind: 'precondition',
    attempted: 'inspect container',
    on,
    why,
    fix,
  });
}
