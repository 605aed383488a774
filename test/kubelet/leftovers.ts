import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { mountsBelow } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** The state of these namespaces, for comparison. */
export interface Standing {
  readonly links: readonly string[];
  readonly cgroups: readonly string[];
  /** Lines of the rule set. */
  readonly rules: readonly string[];
}

/** Matches the address of a pod, but not the address of the network or of the gateway. */
const podAddress = /\b10\.211\.0\.(?!0\/|1\b)\d+/;
/** The bridge of a daemon without pods. It exists until the daemon stops. */
const idleLink = 'e2e0';

/**
 * @param ids the ids in names of cgroups of this run, because other runs on the machine create pods as
 *   well. If undefined, all cgroups that look like one of a pod
 */
export function standing(ids?: ReadonlySet<string>): Standing {
  const links = JSON.parse(execFileSync('ip', ['-json', 'link'], { encoding: 'utf8' })) as {
    ifname: string;
  }[];
  // nft prints "Dump was interrupted" if rules change meanwhile, but lists them nevertheless.
  const rules = execFileSync('nft', ['list', 'ruleset'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return {
    links: links.map((link) => link.ifname),
    cgroups: cgroupsOf(ids),
    rules: rules
      .split('\n')
      .map((line) => line.trim().replace(/counter packets \d+ bytes \d+/, 'counter'))
      .filter((line) => line !== ''),
  };
}

/** Returns the entries of `now` that `before` did not have, one per line. */
export function added(before: Standing, now: Standing): readonly string[] {
  return (['links', 'cgroups', 'rules'] as const).flatMap((kind) =>
    now[kind].filter((one) => !before[kind].includes(one)).map((one) => `${kind}: ${one}`),
  );
}

/**
 * Returns everything of pods that daemon, kernel and folders still show, one per line, while the daemon has
 * no pods.
 */
export async function remainsOfPods(
  stage: Stage,
  podLogs: string,
  before: Standing,
  ids: ReadonlySet<string>,
): Promise<readonly string[]> {
  const { runtime } = stage.daemon.cri;
  const { folder } = stage.folders;
  const now = standing(ids);
  const sandboxes = (await runtime.listPodSandbox({})).items.map(
    (one) => `sandbox ${one.metadata?.name ?? ''} ${one.id}`,
  );
  const containers = (await runtime.listContainers({})).containers.map(
    (one) => `container ${one.metadata?.name ?? ''} ${one.id}`,
  );
  const ofPods: Standing = {
    links: now.links.filter((name) => name !== idleLink),
    cgroups: now.cgroups,
    rules: now.rules.filter((line) => podAddress.test(line)),
  };
  return [
    ...sandboxes,
    ...containers,
    ...added(before, ofPods),
    ...mountsBelow(folder)
      .filter((path) =>
        /\/(containers|pods)\/[0-9a-f]{64}|kubelet\/pods\/|images\/.*(rootfs|merged)/.test(path),
      )
      .map((path) => `mount ${path}`),
    ...processesOf(folder),
    ...readdirSync(podLogs).map((name) => `log folder ${name}`),
  ];
}

/**
 * The kubelet removes leftovers of its last pods within a minute, and the kernel removes their cgroups later.
 */
export async function untilNothingRemains(
  look: () => Promise<readonly string[]>,
  patienceMs: number,
): Promise<readonly string[]> {
  const end = performance.now() + patienceMs;
  for (;;) {
    const left = await look();
    if (left.length === 0 || performance.now() > end) return left;
    await pause(1000);
  }
}

function cgroupsOf(ids: ReadonlySet<string> | undefined): string[] {
  const found: string[] = [];
  const visit = (folder: string, depth: number): void => {
    let entries;
    try {
      entries = readdirSync(folder, { withFileTypes: true });
    } catch {
      return;
    }
    for (const entry of entries) {
      if (!entry.isDirectory()) continue;
      const path = `${folder}/${entry.name}`;
      if ((entry.name.match(/[0-9a-f]{32,64}/g) ?? []).some((id) => ids?.has(id) ?? true)) found.push(path);
      if (depth > 0) visit(path, depth - 1);
    }
  };
  visit('/sys/fs/cgroup', 7);
  return found;
}

/** Returns every id of a pod, sandbox or container in the log of a kubelet. */
export function idsIn(log: string): ReadonlySet<string> {
  return new Set(log.match(/\b[0-9a-f]{32}(?:[0-9a-f]{32})?\b/g) ?? []);
}

/**
 * Returns monitors and OCI runtimes, whatever file they run from (docs/decisions/0022). The folder of the
 * runtime is among their arguments.
 */
function processesOf(folder: string): string[] {
  const runtimes = join(folder, 'state/oci/');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return command.includes(runtimes) ? [`process ${name} ${command.slice(0, 120)}`] : [];
      } catch {
        return [];
      }
    });
}
