import { existsSync } from 'node:fs';
import { chown, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { meansGone } from '../../base/errors/index.ts';
import { writeNewFile } from '../../base/files/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { MNT_DETACH, MS_NODEV, MS_NOEXEC, MS_NOSUID, isErrno } from '../../base/kernel/index.ts';
import { makeFolder } from '../../base/storage/index.ts';
import type { DNSConfig } from '../cri/contract/contract.types.ts';
import { settleAll } from '../state/settle.ts';
import type { PodFiles } from '../oci/mounts.ts';
import type { UserNamespacePlan } from './user-namespace-options.ts';

/** Returns the paths of the files of one pod, below the state folder. */
export function podFilesIn(podDir: string): PodFiles {
  return {
    shm: join(podDir, 'shm'),
    resolvConf: join(podDir, 'resolv.conf'),
    hostname: join(podDir, 'hostname'),
    hosts: join(podDir, 'hosts'),
  };
}

/**
 * Creates the pod's folder: /dev/shm (the host's for a pod that shares its IPC), resolv.conf, hostname,
 * hosts.
 */
export async function makePodFiles(input: {
  readonly shmBytes: number;
  readonly podDir: string;
  readonly hostIpc: boolean;
  readonly hostNetwork: boolean;
  readonly hostname: string;
  readonly dns: DNSConfig | undefined;
  /** The files then belong to the pod's own root. */
  readonly userNamespace?: UserNamespacePlan | undefined;
  readonly kernel: Kernel;
}): Promise<void> {
  const files = podFilesIn(input.podDir);
  const [uid, gid] = [input.userNamespace?.uids.hostId ?? 0, input.userNamespace?.gids.hostId ?? 0];
  await makeFolder(files.shm);
  await settleAll([
    input.hostIpc
      ? // A slave mount: otherwise its removal would also unmount, on the host, every mount below /dev/shm.
        input.kernel.bindMount('/dev/shm', files.shm, { recursive: true, propagation: 'rslave' })
      : input.kernel.mount(
          'shm',
          files.shm,
          'tmpfs',
          MS_NOSUID | MS_NODEV | MS_NOEXEC,
          `mode=1777,size=${input.shmBytes},uid=${uid},gid=${gid}`,
        ),
    resolvConf(input.dns).then((text) => writeNewFile(files.resolvConf, text, { mode: 0o644 })),
    writeNewFile(files.hostname, `${input.hostname}\n`, { mode: 0o644 }),
    readFile('/etc/hosts', 'utf8')
      .catch(unlessGone('127.0.0.1 localhost\n'))
      .then((text) =>
        writeNewFile(
          files.hosts,
          input.hostNetwork ? text : `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n`,
          {
            mode: 0o644,
          },
        ),
      ),
  ]);
  if (input.userNamespace !== undefined)
    await settleAll([files.resolvConf, files.hostname, files.hosts].map((file) => chown(file, uid, gid)));
}

/** Runs before any container runs. Keeps the same file, and so its owner. */
export async function writeResolvConf(podDir: string, dns: DNSConfig): Promise<void> {
  await writeFile(podFilesIn(podDir).resolvConf, await resolvConf(dns));
}

/**
 * Whether the files of an existing pod are present; a reboot removes them, and so does a restart of a
 * container in which the node runs.
 */
export function podFilesExist(podDir: string): boolean {
  return existsSync(podFilesIn(podDir).hosts);
}

/**
 * Absent: success. The mount at /dev/shm may be the host's: nothing in it is ever removed.
 * @throws KERNEL_* of the unmount, EBUSY if a mount is still there, ENOTEMPTY if the folder below the mount
 * is not empty; the pod's other files then stay as well
 */
export async function removePodFiles(podDir: string, kernel: Pick<Kernel, 'umount'>): Promise<void> {
  const { shm } = podFilesIn(podDir);
  await kernel.umount(shm, MNT_DETACH).catch((thrown: unknown) => {
    // Not a mount point, or absent.
    if (!isErrno(thrown, 'EINVAL') && !isErrno(thrown, 'ENOENT')) throw thrown;
  });
  await rmdir(shm).catch((thrown: unknown) => {
    if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown;
  });
  await rm(podDir, { recursive: true, force: true });
}

/**
 * Handles a failed read of a file of the host: the file counts as empty only if the host does not have it.
 */
function unlessGone(text: string): (cause: unknown) => string {
  return (cause) => {
    if (meansGone(cause)) return text;
    throw cause;
  };
}

/**
 * Returns the lines of resolv.conf(5). A pod without DNS configuration has the host's; a pod with an empty
 * configuration has none (kubernetes#120748).
 */
async function resolvConf(dns: DNSConfig | undefined): Promise<string> {
  if (dns === undefined) return readFile('/etc/resolv.conf', 'utf8').catch(unlessGone(''));
  const lines = [
    ...(dns.searches.length > 0 ? [`search ${dns.searches.join(' ')}`] : []),
    ...dns.servers.map((server) => `nameserver ${server}`),
    ...(dns.options.length > 0 ? [`options ${dns.options.join(' ')}`] : []),
  ];
  return lines.map((line) => `${line}\n`).join('');
}
