import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeFolder } from '../../../base/storage/index.ts';

/** A file to which lines are appended. */
export interface LineFile {
  /**
   * Resolves once the kernel has the line. Rejects if the write fails, or if too much data already waits.
   * Lines stay in order.
   */
  append(line: string): Promise<void>;
  /** Opens the path again, for example after a rotation. A write in progress goes to the old file. */
  reopen(): void;
  /** Waits for the writes in progress. */
  close(): Promise<void>;
}

/** The maximum number of bytes that wait for a disk that does not answer. */
const mostWaiting = 8 * 1024 * 1024;

interface Waiting {
  readonly bytes: Buffer;
  readonly resolve: () => void;
  readonly reject: (cause: unknown) => void;
}

/**
 * Opens the file on first use, and again after each failure, so that logging resumes as soon as possible.
 * Lines of one moment share one write. The file has mode 0600 and is never opened through a link. It is
 * created with its folder (0700).
 */
export function createLineFile(path: string): LineFile {
  let handle: FileHandle | undefined;
  let stale = false;
  let waiting: Waiting[] = [];
  let bytes = 0;
  let writing: Promise<void> | undefined;

  const opened = async (): Promise<FileHandle> => {
    if (stale) {
      stale = false;
      await drop();
    }
    if (handle !== undefined) return handle;
    await makeFolder(dirname(path));
    // Without O_NONBLOCK, a FIFO in its place would block a thread forever.
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    const file = await open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    handle = file;
    await file.chmod(0o600);
    return file;
  };
  const drop = async (): Promise<void> => {
    const old = handle;
    handle = undefined;
    await old?.close().catch(() => undefined);
  };
  const flush = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      const data = Buffer.concat(batch.map((one) => one.bytes));
      try {
        await (await opened()).appendFile(data);
        for (const one of batch) one.resolve();
      } catch (cause) {
        await drop();
        for (const one of batch) one.reject(cause);
      }
      bytes -= data.length;
    }
  };
  return {
    append: (line) =>
      new Promise((resolve, reject) => {
        const data = Buffer.from(`${line}\n`);
        if (bytes + data.length > mostWaiting) {
          reject(new Error(`${bytes} bytes are already waiting for the disk`));
          return;
        }
        waiting.push({ bytes: data, resolve, reject });
        bytes += data.length;
        writing ??= flush().finally(() => (writing = undefined));
      }),
    reopen: () => {
      stale = true;
    },
    close: async () => {
      await writing;
      await drop();
    },
  };
}
