import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { mountsBelow } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** What stands in these namespaces, to compare. */
export interface Standing {
  readonly links: readonly string[];
  readonly cgroups: readonly string[];
  /** Lines of the rule set. */
  readonly rules: readonly string[];
}

/** An address of a pod: not the network's own, not the gateway's. */
const podAddress = /\b10\.211\.0\.(?!0\/|1\b)\d+/;
/** The bridge of a daemon without pods: its own until it stops. */
const idleLink = 'e2e0';

/** @param ids in names of cgroups that are this run's: others on the machine run pods as well; undefined: all that look like one */
export function standing(ids?: ReadonlySet<string>): Standing {
  const links = JSON.parse(execFileSync('ip', ['-json', 'link'], { encoding: 'utf8' })) as { ifname: string }[];
  // nft says "Dump was interrupted" when rules change meanwhile, and tells them all the same.
  const rules = execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return {
    links: links.map((link) => link.ifname),
    cgroups: cgroupsOf(ids),
    rules: rules
      .split('\n')
      .map((line) => line.trim().replace(/counter packets \d+ bytes \d+/, 'counter'))
      .filter((line) => line !== ''),
  };
}

/** What `now` has and `before` had not, one line each. */
export function added(before: Standing, now: Standing): readonly string[] {
  return (['links', 'cgroups', 'rules'] as const).flatMap((kind) =>
    now[kind].filter((one) => !before[kind].includes(one)).map((one) => `${kind}: ${one}`),
  );
}

/** What of pods the daemon, the kernel and the folders still show, one line each, while the daemon runs on without any. */
export async function remainsOfPods(stage: Stage, podLogs: string, before: Standing, ids: ReadonlySet<string>): Promise<readonly string[]> {
  const { runtime } = stage.daemon.cri;
  const { folder } = stage.folders;
  const now = standing(ids);
  const sandboxes = (await runtime.listPodSandbox({})).items.map((one) => `sandbox ${one.metadata?.name ?? ''} ${one.id}`);
  const containers = (await runtime.listContainers({})).containers.map((one) => `container ${one.metadata?.name ?? ''} ${one.id}`);
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
      .filter((path) => /\/(containers|pods)\/[0-9a-f]{64}|kubelet\/pods\/|images\/.*(rootfs|merged)/.test(path))
      .map((path) => `mount ${path}`),
    ...processesOf(folder),
    ...readdirSync(podLogs).map((name) => `log folder ${name}`),
  ];
}

/** The kubelet removes what its last pods left within a minute, and the kernel its cgroups in its own time. */
export async function untilNothingRemains(look: () => Promise<readonly string[]>, patienceMs: number): Promise<readonly string[]> {
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

/** Every id of a pod, sandbox or container that a kubelet's log names. */
export function idsIn(log: string): ReadonlySet<string> {
  return new Set(log.match(/\b[0-9a-f]{32}(?:[0-9a-f]{32})?\b/g) ?? []);
}

/** Monitors and OCI runtimes, whatever file they run from (docs/decisions/0022): the runtime's own folder is among their arguments. */
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
