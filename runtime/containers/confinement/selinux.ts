import { existsSync, readFileSync } from 'node:fs';
import { PortcullisError, leavesUnknown } from '../../../base/errors/index.ts';
import type { StartProgram } from '../../../base/reactor/index.ts';
import type { SELinuxOption } from '../../cri/contract/contract.types.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import { runCommand } from '../../processes/command.ts';
import { parseContext, seLinuxLabels, seLinuxRequest } from './selinux-request.ts';
import type { ContainerContexts, SeLinuxContext, SeLinuxLabels } from './selinux-request.ts';

/** The kernel's SELinux, as far as containers need it. */
export interface SeLinux {
  /** SELinux is on, and its file system is mounted. */
  readonly enabled: boolean;
  /**
   * Returns the labels of a container. Undefined if SELinux is off, whatever is requested: labels are
   * "optionally applied" (cri-api, selinux_options). Also undefined when the policy has no contexts for
   * containers and no label is requested.
   * @throws PortcullisError RUNTIME_SELINUX_UNAVAILABLE when labels are requested, SELinux is on, and its
   * policy has no contexts for containers
   */
  labels(input: {
    readonly asked: Partial<SeLinuxContext> | undefined;
    readonly privileged: boolean;
    readonly sandboxId: string;
  }): SeLinuxLabels | undefined;
  /** Checks the options before anything is created for a pod. @throws as `labels`, and RUNTIME_BAD_SELINUX */
  check(asked: SELinuxOption | undefined): void;
  /**
   * Labels files and folders of the host, and everything below them, for a container (Mount.selinux_relabel).
   * Does nothing if SELinux is off.
   * @throws PortcullisError RUNTIME_SELINUX_RELABEL
   */
  relabel(paths: readonly string[], label: string): Promise<void>;
}

/**
 * The files in which a policy defines the labels of containers, by the name of the policy in
 * /etc/selinux/config, and the file of distributions without that configuration.
 */
const contextFiles = (policy: string): readonly string[] => [
  `/etc/selinux/${policy}/contexts/lxc_contexts`,
  '/usr/share/containers/selinux/contexts',
];
/**
 * Folders with the node's own programs and data: the node would no longer work if they were relabelled
 * (go-selinux, "bad prefixes").
 */
const ofTheNode = new Set([
  '/',
  '/bin',
  '/boot',
  '/dev',
  '/etc',
  '/home',
  '/lib',
  '/lib64',
  '/opt',
  '/proc',
  '/root',
  '/run',
  '/sbin',
  '/srv',
  '/sys',
  '/tmp',
  '/usr',
  '/var',
  '/var/lib',
]);
/** A large volume takes a long time. */
const relabelTimeoutMs = 10 * 60_000;

export function openSeLinux(startProgram: StartProgram, hostPaths: Pick<HostPaths, 'facts'>): SeLinux {
  const enabled = existsSync('/sys/fs/selinux/enforce');
  const contexts = enabled ? readContexts() : undefined;
  const labels: SeLinux['labels'] = (input) => {
    if (contexts !== undefined) return seLinuxLabels({ contexts, ...input });
    if (input.asked === undefined || !enabled) return undefined;
    throw new PortcullisError({
      code: 'RUNTIME_SELINUX_UNAVAILABLE',
      kind: 'precondition',
      attempted: 'label a container with',
      on: Object.values(input.asked).join(':'),
      why: 'the SELinux policy of this node has no contexts for containers',
      fix: 'install the policy for containers (container-selinux)',
    });
  };
  return {
    enabled,
    labels,
    check: (options) =>
      void labels({ asked: seLinuxRequest(options, undefined), privileged: false, sandboxId: '' }),
    relabel: async (paths, label) => {
      if (!enabled) return;
      const real = await Promise.all(paths.map(async (path) => (await hostPaths.facts(path)).path));
      const node = real.find((path) => ofTheNode.has(path));
      if (node !== undefined)
        throw notRelabelled(
          node,
          'it belongs to the node, which would no longer work after that',
          'mount a folder below it',
        );
      const said = await runCommand(
        startProgram,
        '/usr/bin/chcon',
        ['--recursive', '--no-dereference', '--', label, ...real],
        {
          timeoutMs: relabelTimeoutMs,
        },
      );
      if (said.exitCode !== 0)
        throw notRelabelled(
          paths.join(', '),
          said.stderr.trim().slice(0, 1_000),
          'check whether its file system supports labels',
        );
    },
  };
}

function readContexts(): ContainerContexts | undefined {
  const policy =
    /^\s*SELINUXTYPE\s*=\s*([A-Za-z0-9_-]+)/m.exec(read('/etc/selinux/config'))?.[1] ?? 'targeted';
  for (const file of contextFiles(policy)) {
    const text = read(file);
    const [process, mount] = ['process', 'file'].map((key) =>
      parseContext(new RegExp(`^\\s*${key}\\s*=\\s*"?([^"\\s]+)"?`, 'm').exec(text)?.[1] ?? ''),
    );
    if (process !== undefined && mount !== undefined) return { process, file: mount };
  }
  return undefined;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (leavesUnknown(cause)) throw cause;
    // Absent if the node has no policy.
    return '';
  }
}

function notRelabelled(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_SELINUX_RELABEL',
    kind: 'precondition',
    attempted: 'label for a container',
    on,
    why,
    fix,
  });
}
