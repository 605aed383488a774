import { execFile } from 'node:child_process';
import { access, readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { failure } from '../../base/errors/index.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { Change, Controller, Item, Limits, NodeState, Observed } from '../model/types.ts';

const shown = 'loaded';

/** Modules of the kernel, loaded by modprobe(8). A module that is built in counts as loaded. */
export function kernelModuleController(root = '/sys/module'): Controller {
  /** The modules of the state, and those that were loaded for an earlier state. */
  let known: ReadonlySet<string> = new Set();
  const stays = async (name: string, { kernelModules }: NodeState, limits: Limits): Promise<boolean> => {
    const module = await moduleOf(root, name, limits);
    // The state may name it in another form, with `_` for `-` or by an alias.
    for (const wanted of kernelModules) if ((await moduleOf(root, wanted, limits)) === module) return true;
    const leaving = [...known].filter((one) => !kernelModules.includes(one));
    const left = await Promise.all(leaving.map((one) => moduleOf(root, one, limits)));
    return staysUsed(root, module, new Set(left));
  };
  return {
    section: 'kernelModules',
    after: [],
    foreign: 'shared',
    backsOff: false,
    schema: {
      type: 'array',
      description:
        'Names of kernel modules to load. A module that was loaded for the state is unloaded when it is removed from the state and nothing uses it.',
      maxItems: 200,
      uniqueItems: true,
      items: { type: 'string', pattern: '^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$' },
    },
    items: ({ kernelModules }: NodeState) =>
      new Map(
        kernelModules.map((name): [string, Item] => [
          name,
          { fingerprint: fingerprintOf(name), visible: shown, shown },
        ]),
      ),
    async observe(names, limits) {
      known = names;
      const found = new Map<string, Observed>();
      for (const name of names)
        if (await isThere(root, name, limits)) found.set(name, { visible: shown, shown });
      return found;
    },
    stays,
    async apply({ action, name }: Change, state, limits) {
      // `--` would not help against a name that begins with `-`: the schema refuses such names.
      if (action !== 'delete') return runProgram('modprobe', name, { name, limits });
      if (await stays(name, state, limits)) return;
      const module = await moduleOf(root, name, limits);
      // `modprobe -r` would also unload what the module needs, although the state or somebody else wants it.
      await runProgram('rmmod', module, { name, limits });
    },
  };
}

/**
 * Whether the kernel has a module. An alias, such as `nf_conntrack_ipv4`, has no folder of its name, and a
 * module that is built in has one only if it has parameters: modprobe(8) knows the module.
 */
async function isThere(root: string, name: string, limits: Limits): Promise<boolean> {
  if (await isLoaded(root, name)) return true;
  const { act, module } = await resolved(name, limits);
  return act === 'builtin' || (act === 'insmod' && isLoaded(root, module));
}

/** Returns the name that the kernel has for a module or an alias. */
async function moduleOf(root: string, name: string, limits: Limits): Promise<string> {
  if (await isLoaded(root, name)) return inKernel(name);
  const { act, module } = await resolved(name, limits);
  return inKernel(act === 'insmod' ? module : name);
}

/** Asks modprobe(8) what it would do to load a module: the last line is about the module itself. */
async function resolved(
  name: string,
  { signal }: Limits,
): Promise<{ readonly act: string; readonly module: string }> {
  const said = await new Promise<string>((resolve) => {
    execFile('modprobe', ['-D', name], { signal, maxBuffer: 64 * 1024 }, (error, stdout) =>
      resolve(error === null ? stdout : ''),
    );
  });
  const [act = '', file = ''] = (said.trim().split('\n').at(-1) ?? '').split(' ');
  return { act, module: basename(file).replace(/\.ko(?:\.[a-z]+)?$/u, '') };
}

/** The kernel writes `_` for every `-` in the name of a module. */
const inKernel = (name: string): string => name.replaceAll('-', '_');

async function isLoaded(root: string, name: string): Promise<boolean> {
  try {
    await access(join(root, inKernel(name)));
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether the kernel would refuse to unload a module, because a program or another module uses it.
 * @param leaving modules that are unloaded as well: after them, the kernel may not refuse it any more
 */
async function staysUsed(root: string, module: string, leaving: ReadonlySet<string>): Promise<boolean> {
  const count = await readFile(join(root, module, 'refcnt'), 'utf8').catch(() => '');
  const users = await readdir(join(root, module, 'holders')).catch(() => []);
  return Number(count) > 0 && !users.some((user) => leaving.has(user));
}

/**
 * Loads or unloads a module.
 * @param word the module, as the program knows it
 * @param name as the state names it, for messages
 * @throws PortcullisError NODE_STATE_CHANGE_REFUSED
 */
function runProgram(
  program: 'modprobe' | 'rmmod',
  word: string,
  { name, limits }: { readonly name: string; readonly limits: Limits },
): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(program, [word], { signal: limits.signal, maxBuffer: 64 * 1024 }, (error, _, stderr) => {
      if (error === null) return resolve();
      const missing = error.code === 'ENOENT';
      const said = stderr.trim().split('\n')[0] ?? '';
      reject(
        failure(
          'NODE_STATE_CHANGE_REFUSED',
          'precondition',
          program === 'rmmod' ? 'unload the kernel module' : 'load the kernel module',
          name,
          missing ? `the program ${program} is not installed` : said === '' ? error.message : said,
          missing
            ? 'install it (package kmod on Debian and Ubuntu), or change `kernelModules`'
            : 'see `modprobe --dry-run` and `lsmod` on this node, or change `kernelModules`',
        ),
      );
    });
  });
}
