import { access, constants } from 'node:fs/promises';
import { errnoOf, meaningOfErrno } from '../../base/errors/index.ts';

/** A sysctl that the daemon sets in every pod with a network of its own. */
const podSysctl = '/proc/sys/net/ipv4/ip_unprivileged_port_start';

/** Why no pod or no container can start on this node, as a condition of the CRI reports it. */
export interface Obstacle {
  readonly reason: 'ReadOnlySysctls' | 'MonitorMissing';
  readonly message: string;
}

/**
 * Looks for causes that make every RunPodSandbox or every CreateContainer fail until somebody changes the
 * node. Undefined: none was found. A failure that may pass, such as a lack of memory, is not an obstacle.
 * @param conmon absolute path
 */
export async function findObstacle(conmon: string, sysctl = podSysctl): Promise<Obstacle | undefined> {
  const [sysctls, monitor] = await Promise.all([
    errnoOfAccess(sysctl, constants.W_OK),
    errnoOfAccess(conmon, constants.X_OK),
  ]);
  if (meaningOfErrno(sysctls) === 'read-only')
    return {
      reason: 'ReadOnlySysctls',
      message: `no pod can start: /proc/sys is read-only (${sysctls}); mount it writable, for example by running the daemon outside of a container, or in a privileged one`,
    };
  if (monitor === 'EACCES' || meaningOfErrno(monitor) === 'gone')
    return {
      reason: 'MonitorMissing',
      message: `no container can start: ${conmon} is missing or not executable (${monitor}); install it (\`portcullis doctor --fix\`)`,
    };
  return undefined;
}

function errnoOfAccess(path: string, mode: number): Promise<string | undefined> {
  return access(path, mode).then(() => undefined, errnoOf);
}
