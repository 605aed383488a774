import { readFileSync, readdirSync, statSync } from 'node:fs';
import { openDockerApi, readDockerContainer } from '../libnetwork/index.ts';

/** The resolved target of connect or disconnect. */
export interface NamedTarget {
  /** A docker target is resolved to pid:NUMBER. */
  readonly target: string;
  /** The name of the container. */
  readonly name?: string;
}

const scheme = 'docker://';
const defaultDockerSocket = '/run/docker.sock';

/**
 * Resolves a target.
 * @param target `docker://NAME` or `docker://ID` of a running container; any other target is returned
 * unchanged
 * @returns undefined if docker has no such container, or the container does not run
 * @throws NETWORK_DOCKER_UNREACHABLE · NETWORK_DOCKER_REFUSED
 */
export async function namedTarget(
  target: string,
  socket = defaultDockerSocket,
): Promise<NamedTarget | undefined> {
  if (!target.startsWith(scheme)) return { target };
  const api = openDockerApi(socket);
  try {
    const container = readDockerContainer(await api.inspect(target.slice(scheme.length)));
    if (container?.running === undefined) return undefined;
    const { pid, netns } = container.running;
    const found = processIn(`/proc/${api.listener()}/root${netns}`, pid);
    return found === undefined ? undefined : { target: `pid:${found}`, name: container.name };
  } finally {
    api.close();
  }
}

/**
 * Finds the local number of docker's process. Docker may run in another PID namespace with other numbers. The
 * process of that network namespace is the one to find, not a process that happens to have the same number
 * here.
 */
function processIn(netns: string, pid: number): number | undefined {
  const wanted = statSync(netns, { throwIfNoEntry: false });
  return readdirSync('/proc')
    .filter((name) => /^\d+$/u.test(name))
    .map(Number)
    .find((here) => {
      try {
        const { dev, ino } = statSync(`/proc/${here}/ns/net`);
        // proc(5), NSpid: the number in each PID namespace, ours first and the process's own last.
        const numbers =
          /^NSpid:\s+(?<numbers>.*)$/mu.exec(readFileSync(`/proc/${here}/status`, 'utf8'))?.groups?.[
            'numbers'
          ] ?? '';
        return dev === wanted?.dev && ino === wanted.ino && numbers.split('\t').map(Number).includes(pid);
      } catch {
        return false; // it ended in the meantime
      }
    });
}
