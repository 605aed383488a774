import { constants } from 'node:os';
import { AT_FDCWD } from '../ffi/constants.ts';
import { checked, cString, isErrno, uninterrupted } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';

const c = {
  init: glibc('fanotify_init', 'int', ['uint', 'uint']),
  mark: glibc('fanotify_mark', 'int', ['int', 'uint', 'uint64', 'int', 'str']),
  read: glibc('read', 'int64', ['int', 'void *', 'size_t']),
  write: glibc('write', 'int64', ['int', 'void *', 'size_t']),
};

// linux/fanotify.h
const FAN_CLOEXEC = 0x1;
const FAN_CLASS_PRE_CONTENT = 0x8;
const FAN_UNLIMITED_QUEUE = 0x10;
const FAN_MARK_ADD = 0x1;
const FAN_MARK_REMOVE = 0x2;
const FAN_MARK_EVICTABLE = 0x200;
const FAN_PRE_ACCESS = 0x0010_0000;
const FAN_Q_OVERFLOW = 0x4000;
const FAN_ALLOW = 1;
const FAN_DENY = 2;
const FAN_ERRNO_SHIFT = 24;
const FAN_EVENT_INFO_TYPE_RANGE = 6;
const FANOTIFY_METADATA_VERSION = 3;
const O_LARGEFILE = 0o100000;
const O_CLOEXEC = 0o2000000;

/** The answer that lets an access fail with EIO: FAN_DENY_ERRNO of linux/fanotify.h. */
export const preContentRefusal = (FAN_DENY | (constants.errno.EIO << FAN_ERRNO_SHIFT)) >>> 0;

/** struct fanotify_event_metadata, and struct fanotify_event_info_range behind it. */
const metadataBytes = 24;
const rangeBytes = 24;
/** The length of one event of a group with pre-content marks. */
const preContentEventBytes = metadataBytes + rangeBytes;

/** A read or a write of a marked file that waits for an answer. */
export interface PreContentEvent {
  /** Names the event in the answer. The caller closes it. -1: the queue of the group has overflowed. */
  readonly fd: number;
  readonly pid: number;
  /** The bytes of the file that the process is about to access. */
  readonly offset: number;
  readonly length: number;
}

/**
 * Creates a fanotify group whose listener fills files before they are read (fanotify(7),
 * FAN_CLASS_PRE_CONTENT). A read of a marked file waits for an answer. When the last descriptor of the group
 * is closed, the kernel allows every read, also those that wait.
 * @returns its descriptor, close-on-exec. Reads of it block
 * @throws KERNEL_EINVAL before Linux 6.14
 */
export function createPreContentGroup(): number {
  return checked(
    c.init(FAN_CLOEXEC | FAN_CLASS_PRE_CONTENT | FAN_UNLIMITED_QUEUE, O_CLOEXEC | O_LARGEFILE),
    'fanotify_init',
    'FAN_CLASS_PRE_CONTENT',
  );
}

/**
 * Makes the reads of a file wait, through each description that is opened from now on. Descriptions that are
 * open already never wait: the listener writes through one of these. The mark does not keep the file in
 * memory, so a removed file is freed when nothing has it open.
 * @param path of the file, for example `/proc/self/fd/N`
 * @throws KERNEL_EOPNOTSUPP, KERNEL_EINVAL when the file system has no pre-content events
 */
export function markPreContent(group: number, path: string): void {
  checked(
    c.mark(
      group,
      FAN_MARK_ADD | FAN_MARK_EVICTABLE,
      FAN_PRE_ACCESS,
      AT_FDCWD,
      cString(path, 'fanotify_mark'),
    ),
    'fanotify_mark',
    path,
  );
}

/**
 * Lets every read of the file pass from now on. Not marked: success.
 * @throws KERNEL_<errno> of fanotify_mark(2)
 */
export function unmarkPreContent(group: number, path: string): void {
  try {
    checked(
      c.mark(group, FAN_MARK_REMOVE, FAN_PRE_ACCESS, AT_FDCWD, cString(path, 'fanotify_mark')),
      'fanotify_mark',
      path,
    );
  } catch (thrown) {
    if (!isErrno(thrown, 'ENOENT')) throw thrown;
  }
}

/**
 * Waits for events, and returns up to `most` of them. Blocks its thread.
 * @throws PortcullisError if the kernel's answer cannot be read
 */
export function readPreContentEvents(group: number, most: number): readonly PreContentEvent[] {
  const buffer = Buffer.alloc(most * preContentEventBytes);
  const length = uninterrupted(() => c.read(group, buffer, buffer.length), 'read', 'fanotify group');
  const events: PreContentEvent[] = [];
  for (let at = 0; at + metadataBytes <= length; at += buffer.readUInt32LE(at))
    events.push(eventAt(buffer, at));
  return events;
}

/**
 * Reads one event: event_len u32, vers u8, reserved u8, metadata_len u16, mask u64, fd s32, pid s32; then
 * records of info_type u8, pad u8, len u16. An event without a range is one of the whole file.
 */
function eventAt(buffer: Buffer, at: number): PreContentEvent {
  const end = at + buffer.readUInt32LE(at);
  if (buffer.readUInt8(at + 4) !== FANOTIFY_METADATA_VERSION || end <= at || end > buffer.length)
    throw new Error('the kernel speaks another version of fanotify');
  const fd = buffer.readInt32LE(at + 16);
  const pid = buffer.readInt32LE(at + 20);
  if ((buffer.readUInt32LE(at + 8) & FAN_Q_OVERFLOW) !== 0) return { fd: -1, pid, offset: 0, length: 0 };
  for (let info = at + buffer.readUInt16LE(at + 6); info + 4 <= end;) {
    const length = buffer.readUInt16LE(info + 2);
    if (length < 4) break;
    if (buffer.readUInt8(info) === FAN_EVENT_INFO_TYPE_RANGE && length >= rangeBytes)
      return {
        fd,
        pid,
        offset: Number(buffer.readBigUInt64LE(info + 8)),
        length: Number(buffer.readBigUInt64LE(info + 16)),
      };
    info += length;
  }
  return { fd, pid, offset: 0, length: Number.MAX_SAFE_INTEGER };
}

/**
 * Answers an event. The process that waits was killed meanwhile: success.
 * @param isAllowed false: the access fails with EIO
 * @throws KERNEL_<errno> of write(2)
 */
export function answerPreContent(group: number, fd: number, isAllowed: boolean): void {
  const response = Buffer.alloc(8);
  response.writeInt32LE(fd, 0);
  response.writeUInt32LE(isAllowed ? FAN_ALLOW : preContentRefusal, 4);
  try {
    uninterrupted(() => c.write(group, response, response.length), 'write', 'fanotify group');
  } catch (thrown) {
    if (!isErrno(thrown, 'ENOENT')) throw thrown;
  }
}
