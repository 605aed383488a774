import { join } from 'node:path';
import type { OciSpec } from '../../oci/spec.types.ts';

/** The program's path in its root file system: `ps` shows it as process 1 of a pod, under the usual name. */
export const programPath = '/pause';
/** An unprivileged user: the program runs only its own code, and owns nothing. */
const nobody = 65535;
/**
 * As low as other runtimes set it for their pause process: a pod must not lose its namespace before its
 * containers.
 */
const oomScore = -998;

/**
 * Returns the OCI configuration of the process that holds a pod's PID namespace: no capability, no device, no
 * writable path, an empty root. Pure.
 * Source: runtime-spec 1.0.2, config.md and config-linux.md.
 */
export function infraSpec(input: {
  /** Folder with the program, and `proc` and `dev` to mount on. */
  readonly root: string;
  /** Folder of the pod's pinned namespaces; the folder has the namespaces in `joined`. */
  readonly namespacesDir: string | undefined;
  readonly joined: readonly ('network' | 'ipc' | 'uts' | 'user')[];
  /** The largest uid and gid that exists in the pod's user namespace. */
  readonly largestId: number;
  readonly cgroupsPath: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly oomScoreFloor: number;
  readonly apparmorProfile: string | undefined;
}): OciSpec {
  const { namespacesDir } = input;
  const none: readonly string[] = [];
  const id = nobody <= input.largestId ? nobody : 0;
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: id, gid: id, additionalGids: [] },
      args: [programPath],
      env: [],
      cwd: '/',
      capabilities: { bounding: none, effective: none, permitted: none, inheritable: none, ambient: none },
      rlimits: [],
      noNewPrivileges: true,
      oomScoreAdj: Math.max(oomScore, input.oomScoreFloor),
      ...(input.apparmorProfile !== undefined && { apparmorProfile: input.apparmorProfile }),
    },
    root: { path: input.root, readonly: true },
    mounts: [
      // Runtimes read their own /proc/self/fd before they start the program.
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'noexec', 'strictatime', 'mode=755', 'size=16k'],
      },
      // Debian mounts /run with noexec, and the root may be there: the bind mount allows the execution of
      // this one file.
      {
        destination: programPath,
        type: 'bind',
        source: join(input.root, programPath),
        options: ['bind', 'rprivate', 'ro', 'exec', 'nosuid', 'nodev'],
      },
    ],
    annotations: input.annotations,
    linux: {
      namespaces: [
        { type: 'mount' },
        { type: 'pid' },
        ...(namespacesDir === undefined
          ? []
          : input.joined.map((type) => ({ type, path: join(namespacesDir, pinOf[type]) }))),
      ],
      cgroupsPath: input.cgroupsPath,
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      devices: [],
      maskedPaths: [],
      readonlyPaths: [],
    },
  };
}

const pinOf = { network: 'net', ipc: 'ipc', uts: 'uts', user: 'user' } as const;
