/** One mount as a process sees it. */
export interface MountLine {
  readonly target: string;
  /** Of the mount itself, such as `ro` and `idmapped`; not those of its file system. */
  readonly options: readonly string[];
  /** Unique over all mount namespaces. */
  readonly id: string;
  readonly fstype: string;
}

/** The lines of /proc/PID/mountinfo, in order: proc_pid_mountinfo(5). Pure. */
export function parseMountinfo(text: string): MountLine[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.split(' ');
    const [target, options] = [fields[4], fields[5]];
    if (target === undefined || options === undefined) return [];
    // Blanks, line ends and backslashes are octal there.
    const plain = target.replace(/\\([0-7]{3})/g, (_all, digits: string) => String.fromCharCode(parseInt(digits, 8)));
    return [{ target: plain, options: options.split(','), id: fields[0] ?? '', fstype: fields[fields.indexOf('-', 6) + 1] ?? '' }];
  });
}

/** Mount points below a folder, each once, shallow before deep. Pure. */
export function mountPointsBelow(lines: readonly MountLine[], folder: string): string[] {
  const prefix = folder.endsWith('/') ? folder : `${folder}/`;
  return [...new Set(lines.map((line) => line.target).filter((target) => target.startsWith(prefix) && target !== prefix))].sort(
    (a, b) => a.split('/').length - b.split('/').length,
  );
}
