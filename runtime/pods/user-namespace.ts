import { writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { PortcullisError, asPortcullisError } from '../../base/errors/index.ts';
import {
  closeFd,
  isErrno,
  openOutput,
  openPipe,
  openPipes,
  sysctlNamespace,
  writeFd,
} from '../../base/kernel/index.ts';
import type { CollectedOutput, Kernel, Pipe } from '../../base/kernel/index.ts';
import type { Child, StartProgram } from '../../base/reactor/index.ts';
import type { IDMapping } from '../cri/contract/contract.types.ts';
import { hostPingGroups } from './user-namespace-options.ts';
import type { PodNamespace } from './pod-namespaces.ts';
import type { UserNamespacePlan } from './user-namespace-options.ts';

const pingGroupRange = 'net.ipv4.ping_group_range';
/** unshare(1) and cat(1): an exec of two small programs. If it takes longer, the machine is stuck. */
const patienceMs = 20_000;
const drainMs = 5;
const SIGKILL = 9;

/**
 * Creates namespaces that belong to a new user namespace, and pins all of them in `dir`. A process with
 * several threads cannot create a user namespace, so a helper does: `unshare` creates the namespaces and
 * becomes `cat`, which holds them until they are pinned. It reads a pipe of this process: if this process is
 * killed meanwhile, the pipe ends, the helper ends with it, and so do the namespaces.
 * @throws PortcullisError RUNTIME_USER_NAMESPACE_FAILED; nothing is left then
 */
export async function pinUserNamespace(input: {
  readonly dir: string;
  readonly types: readonly PodNamespace[];
  readonly plan: UserNamespacePlan;
  readonly hostname: string;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly kernel: Kernel;
  readonly startProgram: StartProgram;
}): Promise<void> {
  const { plan, sysctls } = input;
  const { hold, ready, errors } = openChannels();
  // The echo of this byte shows that the helper runs, in its namespaces.
  writeFd(hold.write, Buffer.from('.'));
  let child: Child | undefined;
  const echo = new Socket({ fd: ready.read, readable: true, writable: false });
  try {
    try {
      child = await input.startProgram({
        path: '/usr/bin/unshare',
        // One call creates all of them, so that the first owns the others: unshare(2).
        argv: ['unshare', '--user', ...input.types.map((type) => `--${type}`), 'cat'],
        env: { PATH: '/usr/bin:/bin' },
        descriptors: [hold.read, ready.write, errors.write],
      });
    } finally {
      closeFd(hold.read);
      closeFd(ready.write);
      errors.closeWrite();
    }
    await heard(echo, child, errors);
    await writeFile(`/proc/${child.pid}/uid_map`, line(plan.uids));
    await writeFile(`/proc/${child.pid}/gid_map`, line(plan.gids));
    const asked = sysctls[pingGroupRange];
    const all = {
      ...sysctls,
      ...(asked !== undefined && { [pingGroupRange]: hostPingGroups(plan.gids, asked) }),
    };
    const [others, ofIpc] = partition(all, (name) => sysctlNamespace(name) === 'ipc');
    await input.kernel.pinNamespacesOf(child.pid, {
      dir: input.dir,
      types: [...input.types],
      ...(input.types.includes('uts') && { hostname: input.hostname }),
      sysctls: others,
    });
    await setIpcSysctls(input, ofIpc).catch(async (cause: unknown) => {
      await input.kernel.unpinNamespaces(input.dir);
      throw cause;
    });
  } catch (cause) {
    throw asPortcullisError(cause, failure);
  } finally {
    closeFd(hold.write);
    echo.destroy();
    errors.close();
  }
  await child.exited;
}

/** Opens the channels to and from the helper: all of them, or none when one cannot be opened. */
function openChannels(): { readonly hold: Pipe; readonly ready: Pipe; readonly errors: CollectedOutput } {
  const [hold, ready] = openPipes();
  try {
    return { hold, ready, errors: openOutput({ bytes: 4096 }) };
  } catch (cause) {
    for (const fd of [hold.read, hold.write, ready.read, ready.write]) closeFd(fd);
    throw cause;
  }
}

const failure = {
  code: 'RUNTIME_USER_NAMESPACE_FAILED',
  kind: 'precondition',
  attempted: 'create a user namespace for',
  on: 'a pod',
  fix: 'see the reason; the kernel must allow user namespaces (user.max_user_namespaces) and util-linux must be installed',
} as const;

/**
 * Before Linux 6.10, the host's root may set them and the root of the namespace may not. Since 6.10 it is the
 * reverse, so a program sets them as the root of the namespace.
 */
async function setIpcSysctls(
  input: { readonly dir: string; readonly kernel: Kernel; readonly startProgram: StartProgram },
  sysctls: Readonly<Record<string, string>>,
): Promise<void> {
  if (Object.keys(sysctls).length === 0) return;
  try {
    await input.kernel.configureNamespaces({ dir: input.dir, types: ['ipc'], sysctls });
  } catch (cause) {
    if (!isErrno(cause, 'EACCES')) throw cause;
    for (const [name, value] of Object.entries(sysctls)) await setAsOwnRoot(input, name, value);
  }
}

async function setAsOwnRoot(
  { dir, startProgram }: { readonly dir: string; readonly startProgram: StartProgram },
  name: string,
  value: string,
): Promise<void> {
  const errors = openOutput({ bytes: 4096 });
  let text: Pipe | undefined;
  try {
    text = openPipe();
    const { read, write } = text;
    try {
      writeFd(write, Buffer.from(value));
    } finally {
      closeFd(write);
    }
    const child = await startProgram({
      path: '/usr/bin/nsenter',
      argv: [
        'nsenter',
        `--user=${dir}/user`,
        `--ipc=${dir}/ipc`,
        '-S',
        '0',
        '-G',
        '0',
        'tee',
        `/proc/sys/${name.replaceAll('.', '/')}`,
      ],
      env: { PATH: '/usr/bin:/bin' },
      descriptors: [read, null, errors.write],
    }).finally(errors.closeWrite);
    const exitCode = await child.exited;
    await errors.ended(drainMs);
    if (exitCode !== 0)
      throw new PortcullisError({
        ...failure,
        attempted: `set sysctl ${name} of`,
        why: errors.bytes().toString('utf8').trim(),
      });
  } finally {
    if (text !== undefined) closeFd(text.read);
    errors.close();
  }
}

function partition(
  record: Readonly<Record<string, string>>,
  isSecond: (name: string) => boolean,
): readonly [Record<string, string>, Record<string, string>] {
  const pick = (second: boolean): Record<string, string> =>
    Object.fromEntries(Object.entries(record).filter(([name]) => isSecond(name) === second));
  return [pick(false), pick(true)];
}

/** Resolves at the first byte; throws when the helper ends without one, or stays silent. */
async function heard(echo: Socket, child: Child, errors: CollectedOutput): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  try {
    const end = await Promise.race([
      new Promise<undefined>((resolve) => echo.once('data', () => resolve(undefined))),
      child.exited,
      new Promise<'silent'>((resolve) => (timer = setTimeout(resolve, patienceMs, 'silent'))),
    ]);
    if (end === undefined) return;
    if (end === 'silent') child.kill(SIGKILL);
    await errors.ended(drainMs);
    const said = errors.bytes().toString('utf8').trim();
    throw new PortcullisError({
      ...failure,
      why: said === '' ? `the helper ended (${end}) without a message` : said,
    });
  } finally {
    clearTimeout(timer);
  }
}

/** Returns one line of uid_map and gid_map: user_namespaces(7). */
function line(range: IDMapping): string {
  return `${range.containerId} ${range.hostId} ${range.length}\n`;
}
