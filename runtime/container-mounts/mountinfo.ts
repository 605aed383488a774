import { dirname } from 'node:path';

/** One mount as a process sees it. */
export interface MountLine {
  readonly target: string;
  /** Options of the mount itself, such as `ro` and `idmapped`, not of its file system. */
  readonly options: readonly string[];
  /** Unique across all mount namespaces. */
  readonly id: string;
  /** The id of the mount that it is mounted on. */
  readonly parent: string;
  readonly fstype: string;
  /** MAJOR:MINOR of its file system. */
  readonly device: string;
}

/** Returns the lines of /proc/PID/mountinfo, in order: proc_pid_mountinfo(5). Pure. */
export function parseMountinfo(text: string): MountLine[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.split(' ');
    const [target, options] = [fields[4], fields[5]];
    if (target === undefined || options === undefined) return [];
    // The file writes blanks, line ends and backslashes as octal escapes.
    const plain = target.replace(/\\([0-7]{3})/g, (_all, digits: string) =>
      String.fromCharCode(parseInt(digits, 8)),
    );
    const fstype = fields[fields.indexOf('-', 6) + 1] ?? '';
    return [
      {
        target: plain,
        options: options.split(','),
        id: fields[0] ?? '',
        parent: fields[1] ?? '',
        fstype,
        device: fields[2] ?? '',
      },
    ];
  });
}

/**
 * Returns the mount that a path shows, from the table alone: the mount whose target is this path. Returns
 * undefined if the path is not a target, or if the table does not decide which mount a lookup reaches:
 * several mounts share the target, or one is covered. Pure.
 * @param byTarget all mounts of a namespace, by their targets
 */
export function mountShownAt(
  byTarget: ReadonlyMap<string, readonly MountLine[]>,
  path: string,
): MountLine | undefined {
  let [below, ...others] = byTarget.get(path) ?? [];
  const shown = below;
  for (let place = path; below !== undefined && others.length === 0 && place !== '/';) {
    place = dirname(place);
    const mounts = byTarget.get(place);
    if (mounts === undefined) continue;
    if (mounts[0]?.id !== below.parent) return undefined;
    [below, ...others] = mounts;
  }
  return others.length === 0 ? shown : undefined;
}

/** Returns the mount points below a folder, each once, shallowest first. Pure. */
export function mountPointsBelow(lines: readonly MountLine[], folder: string): string[] {
  const prefix = folder.endsWith('/') ? folder : `${folder}/`;
  return [
    ...new Set(
      lines.map((line) => line.target).filter((target) => target.startsWith(prefix) && target !== prefix),
    ),
  ].sort((a, b) => a.split('/').length - b.split('/').length);
}
