import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { ofPreparedMonitor } from '../fixtures/prepared-monitor.ts';
import { namespaceOf, namespaceTypes, processesOfOurs, text } from './processes.ts';
import type { Seen } from './processes.ts';
import type { Stage } from './stage.ts';

/** Observes the daemon from outside, without any request to it. */
export interface Observer {
  /**
   * Returns a line for each thing that a runtime can leave behind. Two sets of the namespace pool give the
   * same lines, and the monitor that waits for the next container gives none while the daemon runs.
   */
  look(): readonly string[];
  /**
   * Learns the ids in the daemon's files, so that a cgroup of an id that was never answered is recognized as
   * ours.
   */
  learnIds(): void;
  /** The last resort of a run that failed: kills all our processes. */
  endAll(): void;
}

/**
 * Verdicts and their evidence remain by design, the last assigned address is a hint, and the journal of a
 * traced run grows.
 */
const lastingTables = [
  'test_journal',
  'dossier',
  'verdict_log',
  'verdict_text',
  'policy_text',
  'verdict_checkpoint',
  'last_lease',
];

/**
 * @param stage the folders of the daemon; the caller runs in its own namespaces, with only the daemon and the
 *   registry
 */
export function openObserver(
  stage: Pick<Stage, 'folder' | 'root' | 'state' | 'socket' | 'registryPid' | 'cgroupParent'>,
): Observer {
  const ids = new Set<string>();
  const isOurCgroup = (path: string): boolean =>
    path.startsWith(stage.cgroupParent) || path.split('/').some((part) => ids.has(part));
  const processes = (): readonly Seen[] => processesOfOurs(stage, isOurCgroup);
  return {
    look: () => {
      const alive = processes();
      const lines = [
        ...mounts('self', 'mount'),
        ...daemonsAmong(alive, stage).flatMap(({ pid }) => mounts(String(pid), 'mount in the daemon')),
        ...alive.map(({ command }) => `process ${command}`),
        ...namespaces(alive),
        ...links(),
        ...rules(),
        ...cgroups()
          .filter((path) => isOurCgroup(path.replace(/^\/sys\/fs\/cgroup\/[^/]+/, '')))
          .map((path) => `cgroup ${path}`),
        // The ballast is created some seconds after a start, and stays.
        ...[stage.root, stage.state]
          .flatMap((folder) => files(folder))
          .filter((line) => !line.endsWith(` ${stage.root}/ballast`)),
        ...['state.db', 'network.db'].flatMap((name) => rows(join(stage.root, name), name)),
      ];
      const isExpected = daemonsAmong(alive, stage).length > 0 ? ofPreparedMonitor(stage.state) : () => false;
      return lines
        .filter((line) => !isExpected(line))
        .filter((line) => !line.endsWith(` ${stage.root}/monitor-logs`))
        .map((line) =>
          line
            .replaceAll(new RegExp(`${stage.state}/ns/[0-9a-f]{16}`, 'g'), 'POOL')
            .replaceAll(stage.folder, ''),
        )
        .sort();
    },
    learnIds: () => {
      const sources = ['state.db', 'state.db-wal'].map((name) => text(join(stage.root, name)));
      for (const source of [...sources, ...files(stage.state)])
        for (const [id] of source.matchAll(/[0-9a-f]{64}/g)) ids.add(id);
    },
    endAll: () => {
      for (const { pid } of processes()) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // The process has just ended.
        }
      }
    },
  };
}

/**
 * Returns the lines of only one of two views; a line that occurs twice in one and once in the other is a
 * difference too.
 */
export function difference(before: readonly string[], after: readonly string[]): readonly string[] {
  const count = new Map<string, number>();
  for (const line of after) count.set(line, (count.get(line) ?? 0) + 1);
  for (const line of before) count.set(line, (count.get(line) ?? 0) - 1);
  return [...count].flatMap(([line, surplus]) =>
    Array<string>(Math.abs(surplus)).fill(`${surplus > 0 ? 'left behind' : 'missing'}: ${line}`),
  );
}

function daemonsAmong(alive: readonly Seen[], { socket }: Pick<Stage, 'socket'>): readonly Seen[] {
  return alive.filter(({ command }) => command.includes(` daemon --`) && command.includes(socket));
}

/** mountinfo without the numbers that change: ids, devices, peer groups (proc_pid_mountinfo(5)). */
function mounts(process: string, title: string): string[] {
  return text(`/proc/${process}/mountinfo`)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const [, , , root = '', target = '', , ...propagation] = before.split(' ');
      const shared = propagation.map((field) => field.replace(/:\d+$/, '')).join(' ');
      return `${title} ${target} from ${root.replace(/\[\d+\]/, '')} ${after.split(' ')[0] ?? ''} ${shared}`.trim();
    });
}

/**
 * Returns the namespaces that our processes hold (namespaces that mounts hold are listed as mounts), and
 * those that our links lead to.
 */
function namespaces(alive: readonly Seen[]): string[] {
  const held = namespaceTypes.flatMap((type) => {
    const own = namespaceOf('self', type);
    const others = new Set(
      alive.map((seen) => seen.namespaces.get(type) ?? '').filter((name) => name !== own && name !== ''),
    );
    return [...others].map(() => `namespace ${type} of a process`);
  });
  const linked = JSON.parse(output('ip', ['-j', 'netns', 'list-id']).trim() || '[]') as { nsid: number }[];
  return [...held, ...linked.map(() => 'namespace net behind a link')];
}

function links(): string[] {
  const all = JSON.parse(output('ip', ['-j', 'addr'])) as {
    readonly ifname: string;
    readonly master?: string;
    readonly addr_info: readonly {
      readonly family: string;
      readonly local: string;
      readonly prefixlen: number;
    }[];
  }[];
  return all.flatMap(({ ifname, master, addr_info: addresses }) => [
    `link ${ifname}${master === undefined ? '' : ` on ${master}`}`,
    ...addresses
      .filter(({ family }) => family === 'inet')
      .map(({ local, prefixlen }) => `address ${local}/${prefixlen} on ${ifname}`),
  ]);
}

/**
 * Returns tables, chains, rules and the elements of sets, without the counters that change without a request.
 */
function rules(): string[] {
  return output('nft', ['--stateless', 'list', 'ruleset'])
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && line !== '}')
    .map((line) => `nft ${line}`);
}

function cgroups(): string[] {
  return find(['/sys/fs/cgroup', '-mindepth', '2', '-type', 'd']);
}

function files(folder: string): string[] {
  // SQLite creates and removes the files next to a database as it needs; the file that locks the database
  // between processes stays.
  return (
    find([folder, '-xdev', '-printf', '%y %p\n'])
      .filter((line) => !/\.db(-wal|-shm|-journal|\.lock)$/.test(line))
      // The node's key is created once and stays, as does the log that it signs.
      .filter((line) => !/\/verdict-log\.key(\.pub)?$/.test(line))
      // Records how the store was closed last: written when it is closed in an orderly way.
      .filter((line) => !line.endsWith('/images/last-run.json'))
      // When layers are compared in the background, and how far a pass has come.
      .filter((line) => !line.endsWith('/images/layer-checks.json'))
      // Results of proofs of profiles are kept by content, for the next start.
      .filter((line) => !/\/entitlements\/[0-9a-f]{64}$/.test(line))
      .map((line) => `file ${line}`)
  );
}

/** Standard error is dropped: ip reports an error for each link whose other end disappears while it lists. */
function output(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

/** find ignores names that vanish while it searches, except in its exit code. */
function find(args: readonly string[]): string[] {
  return spawnSync('find', args, { encoding: 'utf8', maxBuffer: 2 ** 26 })
    .stdout.split('\n')
    .filter((line) => line !== '');
}

function rows(path: string, name: string): string[] {
  if (!existsSync(path)) return [];
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    database.exec('PRAGMA busy_timeout = 5000');
    return database
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
      .all()
      .map(({ name: table }) => String(table))
      .filter((table) => !lastingTables.includes(table))
      .map(
        (table) =>
          `rows ${name} ${table} ${String(database.prepare(`SELECT count(*) AS rows FROM ${table}`).get()?.['rows'])}`,
      );
  } finally {
    database.close();
  }
}
