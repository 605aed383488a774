import { access, constants, lstat, readFile, readdir, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileReason } from '../../base/errors/index.ts';
import { largest } from '../../base/lists/index.ts';
import { parseDocuments } from '../../base/schema/index.ts';
import { ownPolicyPaths } from '../config/policy-paths.ts';
import type { DaemonConfig } from '../config/types.ts';
import type { ClockReading } from '../findings/clock.ts';
import type { NodeFacts } from './node-findings.ts';

type OnDisk = Pick<NodeFacts, 'policyPaths' | 'root' | 'audit' | 'kubeletSocket'>;

/** With less free space than this on the file system of the state, verdicts will not be recorded. */
const leastBytes = 1024 * 1024;
const longestKubeletFile = 1024 * 1024;

/** Inspects files without reading any policy. Never throws. */
export async function readNode(
  config: Pick<DaemonConfig, 'audit' | 'cluster' | 'kubeletRoot' | 'policy' | 'policySubscription' | 'root'>,
): Promise<OnDisk> {
  const [policyPaths, root, audit, kubeletSocket] = await Promise.all([
    Promise.all(ownPolicyPaths(config).map(policyPath)),
    rootProblem(config.root),
    config.audit.path === '' ? undefined : appendProblem(config.audit.path),
    socketOfKubelet(join(config.kubeletRoot, 'config.yaml')),
  ]);
  return {
    policyPaths,
    ...(root !== undefined && { root }),
    ...(audit !== undefined && { audit }),
    ...(kubeletSocket !== undefined && { kubeletSocket }),
  };
}

/** Returns the newest modification time of the policy files, in milliseconds; 0 if there are none. */
export async function newestFile(paths: readonly string[]): Promise<number> {
  const times = await Promise.all(
    paths.map((path) =>
      stat(path).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      ),
    ),
  );
  return Math.max(0, largest(times));
}

async function policyPath(path: string): Promise<NodeFacts['policyPaths'][number]> {
  try {
    if (!(await stat(path)).isDirectory()) return { path, state: 'there' };
    const names = await readdir(path);
    return { path, state: names.some((name) => /^[^.].*\.(ya?ml|json)$/.test(name)) ? 'there' : 'empty' };
  } catch (cause) {
    return { path, state: 'gone', why: fileReason(cause, path) };
  }
}

async function rootProblem(root: string): Promise<string | undefined> {
  const problem = await writeProblem(root);
  if (problem !== undefined) return problem;
  const { bavail, bsize } = await statfs(root);
  return bavail * bsize < leastBytes ? `${bavail * bsize} bytes are free` : undefined;
}

async function writeProblem(path: string): Promise<string | undefined> {
  return access(path, constants.W_OK).then(
    () => undefined,
    (cause: unknown) => fileReason(cause, path),
  );
}

/** As {@link writeProblem}, for a file that the daemon creates, with its folders, at the first write. */
async function appendProblem(path: string): Promise<string | undefined> {
  const problem = await writeProblem(path);
  if (problem === undefined || dirname(path) === path) return problem;
  const exists = await lstat(path).then(
    () => true,
    (cause: unknown) => !(cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'),
  );
  return exists ? problem : appendProblem(dirname(path));
}

/**
 * Returns `containerRuntimeEndpoint` of KubeletConfiguration v1beta1, from the file that kubeadm writes. A
 * file that cannot be read gives no answer.
 */
async function socketOfKubelet(file: string): Promise<string | undefined> {
  try {
    const facts = await stat(file);
    if (!facts.isFile() || facts.size > longestKubeletFile) return undefined;
    const value = parseDocuments(await readFile(file, 'utf8'), file).documents[0]?.value as {
      containerRuntimeEndpoint?: unknown;
    } | null;
    const endpoint = value?.containerRuntimeEndpoint;
    return typeof endpoint === 'string' && endpoint !== ''
      ? endpoint.replace(/^unix:(\/\/)?/, '')
      : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Reads the clocks of this machine: proc_uptime(5), proc_stat(5) `btime`, and the first real-time clock,
 * which runs in UTC.
 */
export async function readClock(): Promise<ClockReading> {
  const read = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');
  const [uptimeText, statText, hardwareText] = await Promise.all([
    read('/proc/uptime'),
    read('/proc/stat'),
    read('/sys/class/rtc/rtc0/since_epoch'),
  ]);
  const uptime = Number(uptimeText.split(' ')[0] ?? '') * 1000;
  const boot = Number(/^btime (\d+)$/m.exec(statText)?.[1] ?? Number.NaN) * 1000;
  const hardware = Number(hardwareText.trim() || Number.NaN) * 1000;
  const known = uptime > 0;
  return {
    now: Date.now(),
    uptime: known ? uptime : performance.now(),
    ...(known && !Number.isNaN(boot) && { kernel: boot + uptime }),
    ...(!Number.isNaN(hardware) && { hardware }),
  };
}
