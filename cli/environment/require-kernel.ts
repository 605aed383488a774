import { PortcullisError } from '../../base/errors/index.ts';

/** The release line of the pinned Node. */
const pinnedLine = 26;

/**
 * Checks, before a command does anything, that it can call the kernel. Every other command also runs on
 * macOS, and with the Node that runs npm.
 * @param command its name
 * @throws CLI_NEEDS_LINUX, CLI_NEEDS_PINNED_NODE
 */
export function requireKernel(command: string): void {
  const common = { kind: 'unavailable', attempted: 'run', on: `portcullis ${command}` } as const;
  if (process.platform !== 'linux')
    throw new PortcullisError({
      ...common,
      code: 'CLI_NEEDS_LINUX',
      why: `this command needs the Linux kernel, and this machine runs ${process.platform}`,
      fix: 'run it on Linux on x86-64 or arm64; sign, attest, verify and other commands of a pipeline run here',
    });
  const line = Number.parseInt(process.versions.node, 10);
  if (line < pinnedLine)
    throw new PortcullisError({
      ...common,
      code: 'CLI_NEEDS_PINNED_NODE',
      why: `this command runs with the pinned Node ${pinnedLine}, and this is Node ${process.versions.node}`,
      fix: 'install the package with its optional dependencies on Linux with glibc, on x86-64 or arm64',
    });
}
