import { dirname } from 'node:path';

/** One mount as a process sees it. */
export interface MountLine {
  readonly target: string;
  /** Of the mount itself, such as `ro` and `idmapped`; not those of its file system. */
  readonly options: readonly string[];
  /** Unique over all mount namespaces. */
  readonly id: string;
  /** The id of the mount that it is mounted on. */
  readonly parent: string;
  readonly fstype: string;
  /** MAJOR:MINOR of its file system. */
  readonly device: string;
}

/** The lines of /proc/PID/mountinfo, in order: proc_pid_mountinfo(5). Pure. */
export function parseMountinfo(text: string): MountLine[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.split(' ');
    const [target, options] = [fields[4], fields[5]];
    if (target === undefined || options === undefined) return [];
    // Blanks, line ends and backslashes are octal there.
    const plain = target.replace(/\\([0-7]{3})/g, (_all, digits: string) => String.fromCharCode(parseInt(digits, 8)));
    const fstype = fields[fields.indexOf('-', 6) + 1] ?? '';
    return [{ target: plain, options: options.split(','), id: fields[0] ?? '', parent: fields[1] ?? '', fstype, device: fields[2] ?? '' }];
  });
}

/**
 * What a path shows, found in the table alone: the mount whose target it is. Undefined where it is no target, and where several mounts at one
 * place, or one that is covered, leave open which of them a lookup reaches. Pure.
 * @param byTarget all mounts of a namespace, by their targets
 */
export function mountShownAt(byTarget: ReadonlyMap<string, readonly MountLine[]>, path: string): MountLine | undefined {
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

/** Mount points below a folder, each once, shallow before deep. Pure. */
export function mountPointsBelow(lines: readonly MountLine[], folder: string): string[] {
  const prefix = folder.endsWith('/') ? folder : `${folder}/`;
  return [...new Set(lines.map((line) => line.target).filter((target) => target.startsWith(prefix) && target !== prefix))].sort(
    (a, b) => a.split('/').length - b.split('/').length,
  );
}
