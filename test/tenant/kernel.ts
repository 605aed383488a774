import { execFile } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const exec = promisify(execFile);

/**
 * All programs run in one shell: starting a program costs this process more than the program itself. Standard
 * error (of a link that disappears during the look) is not compared.
 */
const programs = {
  rules: 'nft -j list ruleset',
  sockets: 'ss -Hlntuwxp',
  routes: 'ip -4 route show table all; ip -6 route show table all; ip -4 rule; ip -6 rule',
  links: 'ip -j addr',
  neighbours: 'ip neigh',
  forwarding: 'bridge fdb show',
  queues: 'tc qdisc show',
  settings: 'grep -rs "" /proc/sys',
} as const;

async function outputs(): Promise<Record<keyof typeof programs, string>> {
  const mark = '@@ end of one @@';
  const script = Object.values(programs).map((words) => `{ ${words}; } 2>/dev/null; echo '${mark}'`);
  const { stdout } = await exec('sh', ['-c', script.join('\n')], { maxBuffer: 2 ** 26 });
  const parts = stdout.split(`${mark}\n`);
  return Object.fromEntries(Object.keys(programs).map((name, index) => [name, parts[index] ?? ''])) as Record<
    keyof typeof programs,
    string
  >;
}

const linesOf = (text: string): string[] => text.split('\n').filter((line) => line.trim() !== '');

/** Numbers that change without a change of the rules. */
const moving = new Set(['handle', 'counter', 'packets', 'bytes', 'expires', 'index']);

function still(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(still);
  if (typeof value !== 'object' || value === null) return value;
  // An element with a counter is `{ elem: { val, counter } }`, one without its value alone.
  const { elem } = value as { readonly elem?: { readonly val?: unknown } };
  if (Object.keys(value).length === 1 && elem?.val !== undefined) return still(elem.val);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => !moving.has(key))
      .map(([key, each]) => [key, still(each)]),
  );
}

interface NftObject {
  readonly family?: string;
  readonly table?: string;
  readonly chain?: string;
  readonly name?: string;
  readonly elem?: readonly unknown[];
}

/** Returns tables, chains, rules and sets, a line each; and each element of a set or map. */
function rules(text: string): string[] {
  const { nftables } = JSON.parse(text) as {
    readonly nftables: readonly Record<string, NftObject>[];
  };
  return nftables.flatMap((object) =>
    Object.entries(object).flatMap(
      ([kind, { family = '', table = '', chain = '', name = '', elem = [], ...rest }]) =>
        kind === 'metainfo'
          ? []
          : [
              `nft ${kind} ${family} ${table} ${chain}${name} ${JSON.stringify(still(rest))}`,
              ...elem.map((each) => `nft element ${family} ${table} ${name} ${JSON.stringify(still(each))}`),
            ],
    ),
  );
}

/** @param askers processes that send the probes: their sockets come and go */
function sockets(text: string, askers: readonly number[]): string[] {
  const others = linesOf(text).filter((line) => !askers.some((pid) => line.includes(`,pid=${pid},`)));
  return others.map((line) => {
    // In lines of Unix sockets the number follows the path.
    const words = line.split(/\s+/u).filter((word) => word !== '');
    const [type = '', state = '', , , ...rest] = words;
    const [who] = /users:\(\(.*$/u.exec(line) ?? [''];
    const local = type.startsWith('u_') ? rest[0] : rest.slice(0, 2).join(' ');
    return `socket ${type} ${state} ${local ?? ''} ${who.replaceAll(/,fd=\d+/gu, '').trim()}`;
  });
}

// A bridge loses its carrier a moment after its last port.
const routes = (text: string): string[] =>
  linesOf(text).map((line) => `route ${line.replaceAll(/ linkdown| {2,}/gu, ' ').trim()}`);

interface Link {
  readonly ifname: string;
  readonly master?: string;
  readonly address?: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly ifalias?: string;
  readonly addr_info: readonly { readonly local: string; readonly prefixlen: number }[];
}

function links(text: string): string[] {
  const all = JSON.parse(text) as readonly Link[];
  return all.flatMap(({ ifname, master = '', address = '', mtu, flags, addr_info: addresses }) => [
    `link ${ifname} master ${master} mac ${address} mtu ${mtu} ${flags.filter((flag) => !/LOWER_UP|NO-CARRIER/u.test(flag)).join()}`,
    ...addresses.map(({ local, prefixlen }) => `address ${local}/${prefixlen} on ${ifname}`),
  ]);
}

const neighbours = (text: string): string[] =>
  linesOf(text)
    .filter((line) => line.includes(' lladdr '))
    .map(
      (line) =>
        `neighbour ${line.replace(/( router)? (REACHABLE|STALE|DELAY|PROBE|PERMANENT|NOARP)\s*$/u, '').trim()}`,
    );

/** Counters and random values: not settings. */
const notSettings =
  /^(fs\/(dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota\/)|kernel\/(random\/|ns_last_pid|pty\/nr|tainted|cad_pid|keys\/)|net\/netfilter\/nf_conntrack_count|vm\/stat_refresh)/u;

const settings = (text: string): string[] =>
  linesOf(text)
    .map((line) => line.slice('/proc/sys/'.length))
    .filter((line) => !notSettings.test(line))
    .map((line) => `sysctl ${line.replace(':', ' = ')}`);

/** mountinfo without the numbers that change (proc_pid_mountinfo(5)), of the host and of the daemon. */
function mounts(daemon: number): string[] {
  return [
    ['self', 'host'],
    [String(daemon), 'daemon'],
  ].flatMap(([pid = '', title = '']) =>
    linesOf(readFileSync(`/proc/${pid}/mountinfo`, 'utf8')).map((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const [, , , root = '', target = '', options = '', ...propagation] = before.split(' ');
      const shared = propagation.map((field) => field.replace(/:\d+$/u, '')).join();
      return `mount of the ${title} ${target} from ${root.replace(/\[\d+\]/u, '')} ${after.split(' ')[0] ?? ''} ${options} ${shared}`;
    }),
  );
}

/** Returns every process of this PID namespace except the observer's own programs, which have ended. */
function processes(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/u.test(name))
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        const cgroup = /^\d+:pids:(.*)$/mu.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';
        // A zombie has no command.
        return command === '' ? [] : [`process ${pid} in ${cgroup}: ${command}`];
      } catch {
        return [];
      }
    });
}

/** Limits of the cgroups of others, where a version 1 hierarchy has them. */
const limits = [
  'memory.limit_in_bytes',
  'cpu.shares',
  'cpu.cfs_quota_us',
  'pids.max',
  'cpuset.cpus',
  'memory.max',
  'cpu.max',
  'cpu.weight',
];

/** Returns the cgroups of this suite at the top of each hierarchy, and all below them. */
function cgroups(isOurs: (path: string) => boolean): string[] {
  const root = '/sys/fs/cgroup';
  const foldersIn = (folder: string): string[] => {
    try {
      return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
        entry.isDirectory() ? [join(folder, entry.name)] : [],
      );
    } catch {
      return []; // just gone
    }
  };
  const below = (folder: string): string[] => [folder, ...foldersIn(folder).flatMap(below)];
  const tops = existsSync(join(root, 'cgroup.controllers')) ? [root] : foldersIn(root);
  const folders = tops.flatMap(foldersIn).filter(isOurs).flatMap(below);
  return folders.flatMap((folder) => [
    `cgroup ${folder}`,
    ...limits.flatMap((name) => {
      try {
        return [`cgroup ${folder} ${name} = ${readFileSync(join(folder, name), 'utf8').trim()}`];
      } catch {
        return [];
      }
    }),
  ]);
}

/** Returns AppArmor's profiles, if the kernel has AppArmor. */
function profiles(): string[] {
  try {
    return linesOf(readFileSync('/sys/kernel/security/apparmor/profiles', 'utf8')).map(
      (line) => `apparmor ${line}`,
    );
  } catch {
    return [];
  }
}

/**
 * Returns the state of the host's kernel, read from the host's namespaces. @param isOurs distinguishes
 * cgroups of this suite from others on the machine
 */
export async function lookAtKernel(
  daemon: number,
  askers: readonly number[],
  isOurs: (path: string) => boolean,
): Promise<string[]> {
  const said = await outputs();
  return [
    ...rules(said.rules),
    ...sockets(said.sockets, askers),
    ...routes(said.routes),
    ...links(said.links),
    ...neighbours(said.neighbours),
    ...linesOf(said.forwarding).map((line) => `fdb ${line.trim()}`),
    ...linesOf(said.queues).map((line) => `qdisc ${line.replace(/ refcnt \d+/u, '').trim()}`),
    ...settings(said.settings),
    ...cgroups(isOurs),
    ...mounts(daemon),
    ...processes(),
    ...profiles(),
    `host name ${hostname()}`,
  ];
}
