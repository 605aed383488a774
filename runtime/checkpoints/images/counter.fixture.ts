import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createCodecs, parseDeclaration } from '../../../base/protobuf/index.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import { excessOf } from './compare.ts';
import type { Bound } from './compare.ts';
import { readRights } from './read-rights.ts';
import type { Images } from './read-rights.ts';
import type { Rights } from './rights.ts';

const folder = join(import.meta.dirname, 'fixtures');
const all = new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]));

/**
 * The images that criu 3.17.1 wrote for a container with a shell and a `sleep`, without memory; some images
 * are replaced.
 */
export function counterImages(changed: Changed = {}): Images {
  return imagesWith(all, changed);
}

/** New content of images, by name; undefined: the image is absent. */
export type Changed = Readonly<Record<string, Uint8Array | undefined>>;

/** Returns images of which some are replaced. */
export function imagesWith(all: Iterable<readonly [string, Uint8Array]>, changed: Changed): Images {
  const images = new Map<string, Uint8Array | undefined>([...all, ...Object.entries(changed)]);
  return {
    names: [...images].filter(([, bytes]) => bytes !== undefined).map(([name]) => name),
    read: (name) => {
      const bytes = images.get(name);
      if (bytes === undefined) throw new Error(`there is no image ${name}`);
      return bytes;
    },
  };
}

const capabilities = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'];

/** The specification with which it ran, except that criu 3.17 does not record no_new_privs. */
export const counterSpec: Bound['spec'] = {
  process: {
    terminal: false,
    user: { uid: 0, gid: 0, additionalGids: [] },
    args: ['sh'],
    env: [],
    cwd: '/',
    capabilities: {
      bounding: capabilities,
      effective: capabilities,
      permitted: capabilities,
      inheritable: [],
      ambient: [],
    },
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 }],
    noNewPrivileges: false,
    oomScoreAdj: 0,
  },
  mounts: ['/proc', '/dev', '/dev/pts', '/dev/shm', '/dev/mqueue', '/sys', '/sys/fs/cgroup'].map(
    (destination): OciSpec['mounts'][number] => ({
      destination,
      type: 'bind',
      source: '',
      options: destination.startsWith('/sys') ? ['ro'] : [],
    }),
  ),
  linux: {
    namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', 'cgroup'].map((type) => ({ type })),
    resources: {},
    devices: [],
    seccomp: {},
    maskedPaths: ['acpi', 'kcore', 'keys', 'timer_list']
      .map((name) => `/proc/${name}`)
      .concat('/sys/firmware'),
    readonlyPaths: ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'].map((name) => `/proc/${name}`),
  },
};

/** The bound of the container: its specification, and the filters that its first process had. */
export function counterBound(): Bound {
  return { spec: counterSpec, filters: counterRights().threads[0]?.filters };
}

export function counterRights(): Rights {
  return readRights(counterImages());
}

/** Another reader, which accepts unknown fields, as the reader of criu does. */
const lenient = createCodecs(
  parseDeclaration({
    package: 'criu',
    messages: {
      Core: { tc: '3 Task', thread: '5 Thread' },
      Task: { taskState: '1 uint32', oldMode: '11 uint32' },
      Thread: { creds: '10 Creds', mode: '11 uint32', filter: '12 uint32' },
      Creds: {
        uid: '1 uint32',
        euid: '3 uint32',
        suid: '5 uint32',
        fsuid: '7 uint32',
        inh: '9 repeated uint32',
        prm: '10 repeated uint32',
        eff: '11 repeated uint32',
        bnd: '12 repeated uint32',
        secbits: '13 uint32',
        groups: '14 repeated uint32',
        profile: '15 string',
        amb: '19 repeated uint32',
      },
    },
  }),
)<{
  readonly tc?: { readonly taskState: number; readonly oldMode: number };
  readonly thread?: {
    readonly creds?: Readonly<
      Record<'uid' | 'euid' | 'suid' | 'fsuid' | 'secbits', number> &
        Record<'inh' | 'prm' | 'eff' | 'bnd' | 'amb' | 'groups', readonly number[]> & { profile: string }
    >;
    readonly mode: number;
    readonly filter: number;
  };
}>('Core');

const allowed = 536_871_968;

/** Whether the core of the second process grants at most the rights of its container. */
export function isBounded(core: Uint8Array): boolean {
  const length = Buffer.from(core).readUInt32LE(8);
  const { tc, thread } = lenient.decode(core.subarray(12, 12 + length));
  // A process that has ended gets no rights.
  if (tc?.taskState === 2 || tc?.taskState === 6) return true;
  const creds = thread?.creds;
  if (creds === undefined) return false;
  const within = (words: readonly number[]): boolean =>
    ((words[0] ?? 0) & ~allowed) === 0 && words.slice(1).every((word) => word === 0);
  return (
    [creds.uid, creds.euid, creds.suid, creds.fsuid].every((id) => id === 0) &&
    [creds.inh, creds.prm, creds.eff, creds.bnd, creds.amb].every(within) &&
    creds.groups.every((group) => group === 0) &&
    (creds.secbits & ~3) === 0 &&
    ['', 'unconfined'].includes(creds.profile) &&
    (thread?.mode === 1 || (thread?.mode === 2 && thread.filter <= 1))
  );
}

/** Whether the images pass the gate of the container. */
export function passes(changed: Readonly<Record<string, Uint8Array | undefined>>): boolean {
  try {
    return excessOf(readRights(counterImages(changed)), counterBound()).length === 0;
  } catch {
    return false;
  }
}
