import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failure, reasonOf, errnoIs, tolerate } from '../../base/errors/index.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { Change, Controller, Item, NodeState, Observed } from '../model/types.ts';

/**
 * Names that a state may set. Settings that name a program of the host (`kernel.core_pattern`,
 * `kernel.modprobe`), that lock the machine permanently (`kernel.modules_disabled`), and that act when they
 * are written (`vm.drop_caches`) are not among them.
 */
const allowed = [
  ...['net', 'user', 'fs.inotify', 'kernel.keys'].map((name) => `${name}.`),
  ...['fs.aio-max-nr', 'fs.file-max', 'fs.nr_open', 'kernel.msgmax', 'kernel.msgmnb', 'kernel.msgmni'],
  ...['kernel.panic', 'kernel.panic_on_oops', 'kernel.perf_event_max_sample_rate', 'kernel.pid_max'],
  ...['kernel.sem', 'kernel.shmall', 'kernel.shmmax', 'kernel.shmmni', 'kernel.softlockup_panic'],
  ...['kernel.threads-max', 'vm.dirty_background_bytes', 'vm.dirty_background_ratio', 'vm.dirty_bytes'],
  ...['vm.dirty_ratio', 'vm.dirty_writeback_centisecs', 'vm.max_map_count', 'vm.min_free_kbytes'],
  ...['vm.overcommit_kbytes', 'vm.overcommit_memory', 'vm.overcommit_ratio', 'vm.panic_on_oom'],
  ...['vm.swappiness', 'vm.vfs_cache_pressure', 'vm.zone_reclaim_mode'],
] as const;
/** As sysctl(8) writes names: a `/` stands for a dot in the name of an interface. No part can be `..`. */
const form = '^[a-z]+(\\.[A-Za-z0-9_:-]+(/[A-Za-z0-9_:-]+)*)+$';

/** Parts that act when they are written, or whose value cannot be read and therefore not compared. */
const refusedEnd = /\.(flush|stable_secret)$/u;

/** Returns whether a state may set the kernel setting of that name. */
export const isAllowedSysctl = (name: string): boolean =>
  new RegExp(form, 'u').test(name) &&
  !refusedEnd.test(name) &&
  allowed.some((one) => (one.endsWith('.') ? name.startsWith(one) : name === one));

/** Kernel settings below `/proc/sys`. Network settings are those of this process's network namespace. */
export function sysctlController(root = '/proc/sys'): Controller {
  return {
    section: 'sysctls',
    after: ['kernelModules'],
    foreign: 'restores',
    backsOff: false,
    schema: {
      type: 'object',
      description:
        'Kernel settings by their names, as `sysctl` writes them. A setting that is changed by somebody else is set again. When a name is removed, the value from before is restored. Names below `net`, `user`, `fs.inotify` and `kernel.keys` can be set, and the limits of `fs`, `kernel` and `vm` that neither name a program nor act when they are written.',
      maxProperties: 500,
      propertyNames: { type: 'string', maxLength: 200, pattern: form },
      additionalProperties: { type: ['string', 'integer'], maxLength: 1000 },
    },
    items: ({ sysctls }: NodeState) =>
      new Map(
        Object.entries(sysctls).map(([name, value]): [string, Item] => {
          const visible = normal(String(value));
          return [name, { fingerprint: fingerprintOf(visible), visible, shown: visible }];
        }),
      ),
    async observe(names) {
      const found = new Map<string, Observed>();
      for (const name of [...names].filter(isAllowedSysctl)) {
        const seen = await readOne(root, name);
        if (seen !== undefined) found.set(name, seen);
      }
      return found;
    },
    async apply({ action, name: changed, before, to = '' }: Change) {
      const [name, value] = inForce(changed, action === 'delete' ? (before ?? '') : to);
      const refused = (why: string) =>
        failure(
          'NODE_STATE_CHANGE_REFUSED',
          'precondition',
          'set the kernel setting',
          name,
          why,
          'see which values this kernel accepts, or remove the name from the state',
        );
      // This also holds for our own records, which somebody may have edited.
      if (!isAllowedSysctl(name)) throw refused('a state may not set it');
      if (action === 'create') throw refused('this kernel has no such setting');
      const seen = await readOne(root, name);
      // It could not be compared afterwards, and would be set again forever.
      if (seen?.unreadable === true) throw refused(`it ${seen.shown}`);
      try {
        // Without the end of the line, an empty value would write nothing.
        await writeFile(pathOf(root, name), `${value}\n`, { flag: 'r+' });
      } catch (thrown) {
        throw refused(`the kernel refuses ${JSON.stringify(value)}: ${reasonOf(thrown)}`);
      }
      const now = await read(root, name);
      if (now !== normal(value))
        throw refused(`the kernel changed ${JSON.stringify(value)} to ${JSON.stringify(now ?? '')}`);
    },
  };
}

/** Settings with two forms. The form that is not in force has the value 0, which the kernel may refuse. */
const otherForms: Readonly<Record<string, string>> = {
  'vm.dirty_background_bytes': 'vm.dirty_background_ratio',
  'vm.dirty_background_ratio': 'vm.dirty_background_bytes',
  'vm.dirty_bytes': 'vm.dirty_ratio',
  'vm.dirty_ratio': 'vm.dirty_bytes',
  'vm.overcommit_kbytes': 'vm.overcommit_ratio',
  'vm.overcommit_ratio': 'vm.overcommit_kbytes',
};

/** Settings with two names. A write to one changes the other. */
const otherNames: Readonly<Record<string, string>> = {
  'net.ipv4.ip_forward': 'net.ipv4.conf.all.forwarding',
  'net.nf_conntrack_max': 'net.netfilter.nf_conntrack_max',
};

/**
 * Returns the settings of a state that no kernel can have together with another one of the state. A node
 * would set them by turns without end.
 */
export function contradictorySysctls(
  sysctls: NodeState['sysctls'],
): readonly { readonly name: string; readonly why: string }[] {
  const valueOf = (name: string): string | undefined =>
    Object.hasOwn(sysctls, name) ? normal(sysctls[name] ?? '') : undefined;
  return Object.keys(sysctls).flatMap((name) => {
    const form = otherForms[name];
    if (form?.endsWith('bytes') === true && valueOf(form) !== undefined)
      return [{ name, why: `it is another form of ${form}, and the kernel uses only one of the two` }];
    const same = otherNames[name];
    const value = same === undefined ? undefined : valueOf(same);
    return value === undefined || value === valueOf(name)
      ? []
      : [{ name, why: `it is another name of ${same}, which has the value ${value} here` }];
  });
}

/** Returns the name and the value to write for a value as it was observed. */
function inForce(name: string, value: string): readonly [name: string, value: string] {
  const other = otherForms[name];
  return other !== undefined && value.startsWith(`${other} `)
    ? [other, value.slice(other.length + 1)]
    : [name, value];
}

const normal = (text: string): string => text.trim().split(/\s+/u).join(' ');

/** Swaps dots and slashes, as sysctl(8) does: the pattern of names leaves no part `..`. */
const pathOf = (root: string, name: string): string =>
  join(
    root,
    name.replaceAll(/[./]/gu, (one) => (one === '.' ? '/' : '.')),
  );

/** A setting that cannot be read equals no value, and does not keep others from being observed. */
async function readOne(
  root: string,
  name: string,
): Promise<(Observed & { readonly unreadable?: true }) | undefined> {
  try {
    const visible = await read(root, name);
    if (visible === undefined) return undefined;
    const other = visible === '0' ? otherForms[name] : undefined;
    const value = other === undefined ? undefined : await read(root, other);
    if (value === undefined || value === '0') return { visible, shown: visible };
    return { visible: `${other} ${value}`, shown: `${visible} (${other} is ${value})` };
  } catch (thrown) {
    return { visible: '', shown: `cannot be read: ${reasonOf(thrown)}`, unreadable: true };
  }
}

async function read(root: string, name: string): Promise<string | undefined> {
  return tolerate(errnoIs('ENOENT'), async () => normal(await readFile(pathOf(root, name), 'utf8')));
}
