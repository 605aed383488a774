/** One entry of a container log in CRI format. */
export interface LogEntry {
  /** RFC 3339 with nanoseconds, as written. Empty for a line that is not in CRI format. */
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  /** The container's line continues in the next entry of the same stream. */
  readonly partial: boolean;
  /** Without the line end. */
  readonly content: Buffer;
}

const format =
  /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([FP])(?::[^ ]*)?(?: |$)/;
/** No header is longer: a time (at most 35 bytes), a stream, tags. */
const longestHead = 128;

/**
 * Parses one line of a container log: `TIME STREAM TAGS CONTENT`, where the first tag is P (partial) or F
 * (full). Any other line is returned whole, as standard output. Source: Kubernetes, "CRI: Log Management",
 * and kubelet's pkg/kubelet/cri/logs.
 */
export function parseLogLine(line: Buffer): LogEntry {
  const head = format.exec(line.subarray(0, longestHead).toString('latin1'));
  if (head === null) return { time: '', stream: 'stdout', partial: false, content: line };
  const [text, time = '', stream, tag] = head;
  return {
    time,
    stream: stream === 'stderr' ? 'stderr' : 'stdout',
    partial: tag === 'P',
    content: line.subarray(text.length),
  };
}

/**
 * Returns the bytes that the container wrote. Partial entries of one line are joined by omitting the line end
 * between them.
 */
export function entryBytes(entry: LogEntry): Buffer {
  return entry.partial ? entry.content : Buffer.concat([entry.content, Buffer.from('\n')]);
}
