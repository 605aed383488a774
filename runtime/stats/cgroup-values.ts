/**
 * Parses the text of cgroupfs files into numbers. Ignores unknown keys and lines, because kernels add to
 * these files.
 */

/**
 * Parses a whole number, as in `memory.current`. Returns undefined for `max`, for an empty or absent file and
 * for any other text.
 */
export function parseNumber(text: string | undefined): number | undefined {
  const trimmed = text?.trim() ?? '';
  return /^\d+$/.test(trimmed) ? Number(trimmed) : undefined;
}

/**
 * Parses flat keyed files (`memory.stat`, `cpu.stat`, `memory.events`, `memory.oom_control`): one `KEY VALUE`
 * per line. Source: cgroup-v2.rst, "Format".
 */
export function parseFlatKeyed(text: string | undefined): ReadonlyMap<string, number> {
  const values = new Map<string, number>();
  for (const line of (text ?? '').split('\n')) {
    const space = line.indexOf(' ');
    const value = space > 0 ? parseNumber(line.slice(space + 1)) : undefined;
    if (value !== undefined) values.set(line.slice(0, space), value);
  }
  return values;
}

/** One type of pressure. Totals in nanoseconds, averages in percent. */
export interface PressureShare {
  readonly totalNs: number;
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
}

/**
 * `some`: at least one task waited. `full`: every task that was not idle waited. Source: accounting/psi.rst.
 */
export interface Pressure {
  readonly some?: PressureShare;
  readonly full?: PressureShare;
}

/**
 * Parses `cpu.pressure`, `memory.pressure`, `io.pressure` (whose totals are in microseconds). Returns
 * undefined if the kernel does not record pressure.
 */
export function parsePressure(text: string | undefined): Pressure | undefined {
  const share = (kind: string): PressureShare | undefined => {
    const found = new RegExp(
      `^${kind} avg10=([\\d.]+) avg60=([\\d.]+) avg300=([\\d.]+) total=(\\d+)$`,
      'm',
    ).exec(text ?? '');
    if (found === null) return undefined;
    const [, avg10, avg60, avg300, total] = found.map(Number);
    if (avg10 === undefined || avg60 === undefined || avg300 === undefined || total === undefined)
      return undefined;
    return [avg10, avg60, avg300].some(Number.isNaN)
      ? undefined
      : { totalNs: total * 1000, avg10, avg60, avg300 };
  };
  const some = share('some');
  const full = share('full');
  if (some === undefined && full === undefined) return undefined;
  return { ...(some !== undefined && { some }), ...(full !== undefined && { full }) };
}

/** The input and output of a cgroup on one block device since the cgroup was created. */
export interface BlockIo {
  /** `MAJOR:MINOR` */
  readonly device: string;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly reads: number;
  readonly writes: number;
}

/**
 * Parses `io.stat` of version 2: `8:0 rbytes=… wbytes=… rios=… wios=… dbytes=… dios=…`. A device without
 * values is left out.
 */
export function parseIoStat(text: string | undefined): BlockIo[] {
  return (text ?? '').split('\n').flatMap((line) => {
    const [device = '', ...pairs] = line.trim().split(' ');
    if (!devicePattern.test(device)) return [];
    const value = (key: string): number | undefined =>
      parseNumber(pairs.find((pair) => pair.startsWith(`${key}=`))?.slice(key.length + 1));
    const [readBytes, writtenBytes, reads, writes] = [
      value('rbytes'),
      value('wbytes'),
      value('rios'),
      value('wios'),
    ];
    if (readBytes === undefined && writtenBytes === undefined && reads === undefined && writes === undefined)
      return [];
    return [
      {
        device,
        readBytes: readBytes ?? 0,
        writtenBytes: writtenBytes ?? 0,
        reads: reads ?? 0,
        writes: writes ?? 0,
      },
    ];
  });
}

/**
 * Parses `blkio.*.io_service_bytes_recursive` and `blkio.*.io_serviced_recursive` of version 1: `8:0 Read
 * 4096` per line, then `Total …`.
 */
export function parseBlkio(bytes: string | undefined, operations: string | undefined): BlockIo[] {
  const byDevice = new Map<string, { -readonly [Key in keyof BlockIo]: BlockIo[Key] }>();
  const note = (
    text: string | undefined,
    fields: Readonly<Record<string, 'readBytes' | 'writtenBytes' | 'reads' | 'writes'>>,
  ): void => {
    for (const line of (text ?? '').split('\n')) {
      const [device = '', operation = '', count] = line.trim().split(' ');
      const field = fields[operation.toLowerCase()];
      const value = parseNumber(count);
      if (!devicePattern.test(device) || field === undefined || value === undefined) continue;
      const entry = byDevice.get(device) ?? { device, readBytes: 0, writtenBytes: 0, reads: 0, writes: 0 };
      entry[field] = value;
      byDevice.set(device, entry);
    }
  };
  note(bytes, { read: 'readBytes', write: 'writtenBytes' });
  note(operations, { read: 'reads', write: 'writes' });
  return [...byDevice.values()];
}

const devicePattern = /^\d+:\d+$/;

/** Parses the process ids of `cgroup.procs`, one per line. 0 is a process outside this PID namespace. */
export function parseProcesses(text: string | undefined): number[] {
  return (text ?? '').split('\n').flatMap((line) => {
    const pid = parseNumber(line);
    return pid === undefined || pid === 0 ? [] : [pid];
  });
}
