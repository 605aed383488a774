import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { checked } from '../../base/kernel/ffi/errno.ts';
import { glibc } from '../../base/kernel/ffi/libc.ts';

const ioctl = glibc('ioctl', 'int', ['int', 'ulong', 'void *']);
/** linux/fs.h: _IOR('X', 125, __u32). */
const EXT4_IOC_SHUTDOWN = 0x80_04_58_7d;
/** The journal is not written: data that no fsync has put on the disk is lost. */
const noLogFlush = Buffer.from(Uint32Array.of(2).buffer);

const bootId = '/proc/sys/kernel/random/boot_id';

/** A file system whose power can be cut. */
export interface CutDisk {
  /** From now on nothing reaches the disk, and each write fails. */
  cut(): void;
  /** Mounts the content of the disk, after its journal was replayed. */
  mountAgain(): Promise<void>;
  /** Calls `body` while the file system is not mounted: the file may be changed then. */
  whileUnmounted(body: () => void): Promise<void>;
  close(): Promise<void>;
}

/**
 * Makes an ext4 file system in a file, and mounts it.
 * @param at an empty folder
 * @param options of mkfs.ext4
 */
export function openCutDisk(file: string, at: string, options: readonly string[] = []): CutDisk {
  execFileSync('truncate', ['-s', '1G', file]);
  execFileSync('mkfs.ext4', ['-q', '-b', '4096', '-m', '0', ...options, file]);
  const mount = (): void => void execFileSync('mount', ['-o', 'loop', file, at]);
  const unmount = async (): Promise<void> => {
    for (let attempt = 1; ; attempt += 1)
      try {
        execFileSync('umount', [at], { stdio: 'ignore' });
        return;
      } catch (thrown) {
        // The killed daemon's threads and mounts end in the background.
        if (attempt === 100) throw thrown;
        await pause(50);
      }
  };
  mount();
  return {
    cut() {
      const fd = openSync(at, 'r');
      try {
        checked(ioctl(fd, EXT4_IOC_SHUTDOWN, noLogFlush), 'ioctl EXT4_IOC_SHUTDOWN', at);
      } finally {
        closeSync(fd);
      }
    },
    async mountAgain() {
      await unmount();
      mount();
    },
    async whileUnmounted(body) {
      await unmount();
      try {
        body();
      } finally {
        mount();
      }
    },
    close: unmount,
  };
}

/**
 * Does what a boot does: all other processes of this PID namespace end, `state` is empty and without mounts,
 * and this mount namespace gets another boot id.
 * @param folder for the file with the id
 * @param keep processes of the test itself
 */
export function newBoot(folder: string, state: string, keep: readonly number[]): void {
  const kept = new Set([...ancestors(), ...keep]);
  for (const name of readdirSync('/proc'))
    if (/^\d+$/.test(name) && !kept.has(Number(name))) kill(Number(name));
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const below = mounts
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path === state || path.startsWith(`${state}/`));
  const old = mounts.filter((line) => line.split(' ')[4] === bootId).map(() => bootId);
  for (const path of [...below.toReversed(), ...old]) execFileSync('umount', ['--lazy', path]);
  rmSync(state, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const file = `${folder}/${randomUUID()}`;
  writeFileSync(file, `${randomUUID()}\n`);
  execFileSync('mount', ['--bind', file, bootId]);
}

/** This process, and those that started it. */
function ancestors(): readonly number[] {
  const found: number[] = [];
  for (
    let pid = process.pid;
    pid > 0;
    pid = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
  )
    found.push(pid);
  return found;
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (thrown) {
    // It has ended meanwhile.
    if ((thrown as NodeJS.ErrnoException).code !== 'ESRCH') throw thrown;
  }
}
