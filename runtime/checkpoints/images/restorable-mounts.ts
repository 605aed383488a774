import type { OciSpec } from '../../oci/spec.types.ts';
import type { Message } from './strict-message.ts';

/** How criu may make the mounts of a container. */
export interface PlainMounts {
  /** Why it may not; empty: it may. */
  readonly refused: readonly string[];
  /** The numbers of the temporary file systems by mount point. */
  readonly tmpfs: ReadonlyMap<string, number>;
}

type Spec = Pick<OciSpec, 'root' | 'mounts' | 'linux'>;

/** Codes of file systems (criu, images/mnt.proto), by the names in a specification. */
const fileSystems: Readonly<Record<string, bigint>> = {
  ...{ proc: 1n, sysfs: 2n, tmpfs: 5n, devpts: 6n, mqueue: 14n, cgroup: 23n, cgroup2: 23n },
};
const tmpfs = 5n;
/** Flags of mount(2), by the options of a specification. */
const flagOf: Readonly<Record<string, bigint>> = { ro: 1n, nosuid: 2n, nodev: 4n, noexec: 8n };
/** The options of file systems that have no path, no device and no user of the host. */
const plainOption =
  /^(?:size=\d{1,15}k?|mode=[0-7]{1,4}|inode64|gid=\d{1,10}|ptmxmode=[0-7]{1,4}|newinstance|nsdelegate|memory_recursiveprot)$/;
const plainSource = /^(?:|none|proc|sysfs|tmpfs|devpts|mqueue|shm|cgroup|cgroup2)$/;
const readOnly = 1n;

/**
 * Compares the mounts of a checkpoint with those of a specification. criu makes them as root, with the type,
 * the source and the options that the images name, so every mount must be one that the specification has, and
 * none may be missing. Pure.
 */
export function whyNotMounted(mounts: readonly Message[], spec: Spec): PlainMounts {
  const most = 1 + spec.mounts.length + spec.linux.maskedPaths.length + spec.linux.readonlyPaths.length;
  // A comparison of many mounts with each other would take minutes.
  if (mounts.length > most) return { refused: ['more mounts than the specification has'], tmpfs: new Map() };
  const refused: string[] = [];
  const found = new Map<string, Message>();
  const numbers = new Map<string, number>();
  for (const mount of mounts) {
    const place = placeOf(mount);
    const shown = JSON.stringify(place.slice(0, 200));
    if (found.has(place)) refused.push(`the mount ${shown} occurs twice`);
    found.set(place, mount);
    const why = isPlace(place) ? whyOther(place, mount, mounts, spec) : 'is not a plain path';
    if (why !== undefined) refused.push(`the mount ${shown} ${why}`);
    else if (
      mount['fstype'] === tmpfs &&
      mount['extKey'] === undefined &&
      mount['root'] === '/' &&
      place !== '/'
    )
      numbers.set(place, Number(mount['rootDev']));
  }
  for (const { destination } of spec.mounts)
    if (!found.has(destination)) refused.push(`the mount ${JSON.stringify(destination)} is missing`);
  if (!found.has('/')) refused.push('the mount "/" is missing');
  return { refused, tmpfs: numbers };
}

/** criu writes the mount point of the root as `./` or `/`, and all others with their slash. */
function placeOf(mount: Message): string {
  return (mount['mountpoint'] as string).replace(/^\.?\/?/, '/');
}

const isPlace = (path: string): boolean =>
  path === '/' ||
  path
    .slice(1)
    .split('/')
    .every((part) => !['', '.', '..'].includes(part));

/** Returns why a mount is not a mount of the specification. */
function whyOther(place: string, mount: Message, all: readonly Message[], spec: Spec): string | undefined {
  for (const field of ['withPlugin', 'deleted', 'internalSharing', 'extMount', 'fsname'])
    if (mount[field] !== undefined && mount[field] !== 0n) return `has the field ${field}`;
  if (place === '/') return ofRoot(mount, all, spec);
  const own = spec.mounts.filter(({ destination }) => destination === place);
  if (own.length > 1) return 'occurs twice in the specification';
  const [asked] = own;
  if (asked !== undefined) return asked.type === 'bind' ? ofBind(place, mount, asked) : ofNew(mount, asked);
  if (spec.linux.maskedPaths.includes(place)) return ofMasked(mount);
  if (spec.linux.readonlyPaths.includes(place)) return ofReadOnly(place, mount, all);
  return 'is not in the specification';
}

function ofRoot(mount: Message, all: readonly Message[], { root }: Spec): string | undefined {
  if (all.some(({ mntId }) => mntId === mount['parentMntId'])) return 'is below another mount';
  if (mount['extKey'] !== undefined) return 'comes from outside';
  return root.readonly && !hasFlag(mount, readOnly) ? 'is writable' : undefined;
}

function ofBind(place: string, mount: Message, asked: OciSpec['mounts'][number]): string | undefined {
  if (mount['extKey'] !== place) return 'has another source';
  return lacking(mount, asked.options);
}

function ofNew(mount: Message, asked: OciSpec['mounts'][number]): string | undefined {
  if (mount['extKey'] !== undefined) return 'comes from outside';
  if (mount['fstype'] !== fileSystems[asked.type]) return 'has another file system';
  if (mount['root'] !== '/') return 'shows a part of its file system';
  // The files of /dev are those of a new container.
  if (asked.type === 'tmpfs' && asked.destination !== '/dev')
    return 'is a temporary file system, whose files would be lost';
  return whyNotPlain(mount) ?? lacking(mount, asked.options);
}

/** A file is covered by /dev/null, and a folder by an empty file system. */
function ofMasked(mount: Message): string | undefined {
  if (mount['extKey'] === '/dev/null') return undefined;
  if (mount['extKey'] !== undefined) return 'comes from outside';
  if (mount['fstype'] !== tmpfs || mount['root'] !== '/') return 'does not hide its place';
  return whyNotPlain(mount) ?? (hasFlag(mount, readOnly) ? undefined : 'is writable');
}

/** A bind of a part of the file system at this place. */
function ofReadOnly(place: string, mount: Message, all: readonly Message[]): string | undefined {
  if (mount['extKey'] !== undefined) return 'comes from outside';
  if (!hasFlag(mount, readOnly)) return 'is writable';
  const below = all.find(({ mntId }) => mntId === mount['parentMntId']);
  if (below === undefined || below['rootDev'] !== mount['rootDev'] || below['root'] !== '/')
    return 'shows another file system';
  const folder = placeOf(below);
  const inside = folder === '/' ? place : place.slice(folder.length);
  return (folder === '/' || place.startsWith(`${folder}/`)) && mount['root'] === inside
    ? whyNotPlain(mount)
    : 'shows another folder';
}

function whyNotPlain(mount: Message): string | undefined {
  if (!plainSource.test(mount['source'] as string)) return 'has a source';
  const options = (mount['options'] as string).split(',').filter((option) => option !== '');
  const other = options.find((option) => !plainOption.test(option));
  return other === undefined ? undefined : `has the option ${JSON.stringify(other.slice(0, 100))}`;
}

function lacking(mount: Message, options: readonly string[]): string | undefined {
  const wanted = options.map((option) =>
    option.startsWith('r') && option !== 'ro' && option !== 'rw' ? option.slice(1) : option,
  );
  const name = wanted.find((option) => {
    const flag = flagOf[option];
    return flag !== undefined && !hasFlag(mount, flag);
  });
  return name === undefined ? undefined : `lacks the option ${name}`;
}

/** A file system can have a flag itself, or its mount. */
function hasFlag(mount: Message, flag: bigint): boolean {
  return (
    ((mount['flags'] as bigint) & flag) !== 0n ||
    (flag === readOnly && ((mount['sbFlags'] as bigint | undefined) ?? 0n) % 2n === 1n)
  );
}
