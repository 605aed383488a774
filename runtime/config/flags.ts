/** A command-line flag that sets one key of the configuration. Flags take precedence over the file. */
export interface ConfigFlag {
  /** For example `--socket`. */
  readonly name: string;
  /** The name of its value in help texts: `PATH`. */
  readonly value: string;
  readonly repeatable: boolean;
  /** The key of the configuration that it sets: `registries.mirrors`. */
  readonly sets: string;
  readonly help: string;
}

export const configFlags: readonly ConfigFlag[] = [
  {
    name: '--socket',
    value: 'PATH',
    repeatable: false,
    sets: 'socket',
    help: 'unix socket of the CRI endpoint',
  },
  { name: '--root', value: 'DIR', repeatable: false, sets: 'root', help: 'folder of persistent state' },
  {
    name: '--state',
    value: 'DIR',
    repeatable: false,
    sets: 'state',
    help: 'folder of state that is lost at a reboot',
  },
  {
    name: '--policy',
    value: 'FILE|DIR',
    repeatable: true,
    sets: 'policy',
    help: 'trust policies and profiles; replaces the list of the file',
  },
  {
    name: '--cni-conf-dir',
    value: 'DIR',
    repeatable: false,
    sets: 'cni.confDir',
    help: 'folder of CNI configurations',
  },
  {
    name: '--cni-bin-dir',
    value: 'DIR',
    repeatable: true,
    sets: 'cni.binDirs',
    help: 'folder of CNI plugins; replaces the list of the file',
  },
  {
    name: '--registry-mirror',
    value: 'HOST=URL',
    repeatable: true,
    sets: 'registries.mirrors',
    help: 'mirror of a registry host; the host itself is then never contacted',
  },
  {
    name: '--insecure-registry',
    value: 'HOST',
    repeatable: true,
    sets: 'registries.insecure',
    help: 'registry host that may be contacted over plain HTTP',
  },
  {
    name: '--runtime',
    value: 'NAME=PATH',
    repeatable: true,
    sets: 'runtimes',
    help: 'OCI runtime as a handler',
  },
  {
    name: '--cgroup-driver',
    value: 'DRIVER',
    repeatable: false,
    sets: 'cgroupDriver',
    help: 'auto, cgroupfs or systemd',
  },
  {
    name: '--log-level',
    value: 'LEVEL',
    repeatable: false,
    sets: 'logLevel',
    help: 'debug, info, warn, error or silent',
  },
];

/** Values as given, by flag name. */
export type FlagValues = Readonly<Record<string, readonly string[]>>;

/**
 * Applies flags to a complete configuration, and makes paths absolute with `resolve`. Returns the new value
 * and the problems of the flags. Does not check values against the schema.
 */
export function applyFlags(
  config: Readonly<Record<string, unknown>>,
  flags: FlagValues,
  resolve: (path: string) => string,
): { value: Record<string, unknown>; problems: string[] } {
  const value = structuredClone(config) as Record<string, unknown>;
  const problems: string[] = [];
  for (const flag of configFlags) {
    const given = flags[flag.name] ?? [];
    if (given.length === 0) continue;
    if (!flag.repeatable && given.length > 1)
      problems.push(`${flag.name}: given ${given.length} times, but it can be given once`);
    if (given.some((text) => text.trim() === ''))
      problems.push(`${flag.name}: its value is empty; give ${flag.value}`);
    const target = section(value, flag.sets.split('.').slice(0, -1));
    const key = flag.sets.split('.').at(-1) ?? flag.sets;
    const isPath = flag.value === 'PATH' || flag.value === 'DIR' || flag.value === 'FILE|DIR';
    if (flag.value.includes('=')) setPairs(flag, given, section(target, [key]), problems, resolve);
    else if (!flag.repeatable) target[key] = isPath ? resolve(given.at(-1) ?? '') : given.at(-1);
    else if (isPath) target[key] = [...new Set(given.map(resolve))];
    else
      target[key] = [
        ...new Set([...(Array.isArray(target[key]) ? (target[key] as unknown[]) : []), ...given]),
      ];
  }
  return { value, problems };
}

/** Returns the object at `keys` below `value`, and creates it if it does not exist. */
function section(value: Record<string, unknown>, keys: readonly string[]): Record<string, unknown> {
  let at = value;
  for (const key of keys) {
    const below = Object.hasOwn(at, key) ? at[key] : undefined;
    if (typeof below === 'object' && below !== null) at = below as Record<string, unknown>;
    else at = at[key] = {};
  }
  return at;
}

function setPairs(
  flag: ConfigFlag,
  given: readonly string[],
  target: Record<string, unknown>,
  problems: string[],
  resolve: (path: string) => string,
): void {
  for (const text of given) {
    const at = text.indexOf('=');
    const key = text.slice(0, at);
    const value = text.slice(at + 1);
    if (at <= 0 || value === '') problems.push(`${flag.name} ${text}: not of the form ${flag.value}`);
    else if (key === '__proto__') problems.push(`${flag.name} ${text}: ${key} is not a name`);
    else target[key] = flag.sets === 'runtimes' ? { path: resolve(value) } : { url: value, origin: false };
  }
}
