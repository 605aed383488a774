import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeFolder } from '../../../base/storage/index.ts';

/** A file that only grows by lines. */
export interface LineFile {
  /** Resolves once the kernel has the line; rejects when it has not, or when too much waits already. Lines stay in order. */
  append(line: string): Promise<void>;
  /** Opens the path again, as after a rotation; what is under way goes to the old file. */
  reopen(): void;
  /** Waits for what is under way. */
  close(): Promise<void>;
}

/** What may wait for a disk that does not answer. */
const mostWaiting = 8 * 1024 * 1024;

interface Waiting {
  readonly bytes: Buffer;
  readonly resolve: () => void;
  readonly reject: (cause: unknown) => void;
}

/**
 * Opens on first use, and again after each failure: a log that could not be written is written as soon as it can be. Lines of
 * one moment share one write. The file is 0600, belongs to nobody else's link, and is made with its folder (0700).
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
    // Without O_NONBLOCK a FIFO in its place would hold a thread for ever.
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
          reject(new Error(`${bytes} bytes wait for the disk already`));
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
