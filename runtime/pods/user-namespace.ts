import { writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { PortcullisError, asPortcullisError } from '../../base/errors/index.ts';
import { closeFd, openPipe, writeFd } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Child, StartProgram } from '../../base/reactor/index.ts';
import type { IDMapping } from '../cri/contract/contract.types.ts';
import { openOutput } from '../oci/output.ts';
import type { Output } from '../oci/output.ts';
import { hostPingGroups } from './user-namespace-options.ts';
import type { UserNamespacePlan } from './user-namespace-options.ts';

const pingGroupRange = 'net.ipv4.ping_group_range';
/** unshare(1) and cat(1): an exec of two small programs. Longer means that the machine is stuck. */
const patienceMs = 20_000;
const drainMs = 5;
const SIGKILL = 9;

/**
 * Makes net, ipc and uts namespaces that belong to a new user namespace, and pins all four in `dir`. No process of several threads can make
 * a user namespace, so a helper does: `unshare` makes them and becomes `cat`, which holds them until they are pinned. It reads a pipe of
 * ours: should this process be killed meanwhile, the pipe ends, the helper with it, and the namespaces with that.
 * @throws PortcullisError RUNTIME_USER_NAMESPACE_FAILED; nothing is left then
 */
export async function pinUserNamespace(input: {
  readonly dir: string;
  readonly plan: UserNamespacePlan;
  readonly hostname: string;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly kernel: Kernel;
  readonly startProgram: StartProgram;
}): Promise<void> {
  const { plan, sysctls } = input;
  const hold = openPipe();
  // What it gives back says that it runs, in its namespaces.
  writeFd(hold.write, Buffer.from('.'));
  const errors = openOutput({ bytes: 4096 });
  const ready = openPipe();
  let child: Child | undefined;
  const echo = new Socket({ fd: ready.read, readable: true, writable: false });
  try {
    try {
      child = await input.startProgram({
        path: '/usr/bin/unshare',
        // One call makes all four, so that the first owns the others: unshare(2).
        argv: ['unshare', '--user', '--net', '--ipc', '--uts', 'cat'],
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
    await input.kernel.pinNamespacesOf(child.pid, {
      dir: input.dir,
      types: ['net', 'ipc', 'uts'],
      hostname: input.hostname,
      sysctls: { ...sysctls, ...(asked !== undefined && { [pingGroupRange]: hostPingGroups(plan.gids, asked) }) },
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

const failure = {
  code: 'RUNTIME_USER_NAMESPACE_FAILED',
  kind: 'precondition',
  attempted: 'make a user namespace for',
  on: 'a pod',
  fix: 'see the reason; the kernel must allow user namespaces (user.max_user_namespaces) and util-linux must be installed',
} as const;

/** Resolves at the first byte; throws when the helper ends without one, or keeps silent. */
async function heard(echo: Socket, child: Child, errors: Output): Promise<void> {
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
    throw new PortcullisError({ ...failure, why: said === '' ? `the helper ended (${end}) without a word` : said });
  } finally {
    clearTimeout(timer);
  }
}

/** One line of uid_map and gid_map: user_namespaces(7). */
function line(range: IDMapping): string {
  return `${range.containerId} ${range.hostId} ${range.length}\n`;
}
