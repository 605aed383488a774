import { readFileSync, readdirSync, statSync } from 'node:fs';
import { openDockerApi } from '../cnm/docker-api.ts';
import { readDockerContainer } from '../cnm/docker-container.ts';

/** Who is meant by a target of connect and disconnect, where docker knows it. */
export interface NamedTarget {
  /** As pid:NUMBER, where it was docker's. */
  readonly target: string;
  /** The container's. */
  readonly name?: string;
}

const scheme = 'docker://';
const defaultDockerSocket = '/run/docker.sock';

/**
 * @param target `docker://NAME` or `docker://ID`, of a container that runs; all others are given back as they are
 * @returns undefined when docker has no such container, or it does not run
 * @throws NETWORK_DOCKER_UNREACHABLE · NETWORK_DOCKER_REFUSED
 */
export async function namedTarget(target: string, socket = defaultDockerSocket): Promise<NamedTarget | undefined> {
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
 * Docker may live in another PID namespace, where its numbers are others than here: the process of that network namespace is meant, and none
 * that happens to have its number.
 */
function processIn(netns: string, pid: number): number | undefined {
  const wanted = statSync(netns, { throwIfNoEntry: false });
  return readdirSync('/proc')
    .filter((name) => /^\d+$/u.test(name))
    .map(Number)
    .find((here) => {
      try {
        const { dev, ino } = statSync(`/proc/${here}/ns/net`);
        // proc(5), NSpid: its number in each namespace, ours first and its own last.
        const numbers = /^NSpid:\s+(?<numbers>.*)$/mu.exec(readFileSync(`/proc/${here}/status`, 'utf8'))?.groups?.['numbers'] ?? '';
        return dev === wanted?.dev && ino === wanted.ino && numbers.split('\t').map(Number).includes(pid);
      } catch {
        return false; // gone meanwhile
      }
    });
}
