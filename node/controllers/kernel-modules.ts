import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { basename } from 'node:path';
import { failure } from '../../base/errors/index.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { Change, Controller, Item, Limits, NodeState, Observed } from '../model/types.ts';

const shown = 'loaded';

/** Modules of the kernel, loaded by modprobe(8). A module that is built in counts as loaded. */
export function kernelModuleController(): Controller {
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
      const found = new Map<string, Observed>();
      for (const name of names) if (await isThere(name, limits)) found.set(name, { visible: shown, shown });
      return found;
    },
    async apply({ action, name }: Change, _state, limits) {
      // `--` would not help against a name that begins with `-`: the schema refuses such names.
      await modprobe(action === 'delete' ? ['-r', name] : [name], name, limits);
    },
  };
}

/**
 * Whether the kernel has a module. An alias, such as `nf_conntrack_ipv4`, has no folder of its name, and a
 * module that is built in has one only if it has parameters: modprobe(8) knows the module.
 */
async function isThere(name: string, limits: Limits): Promise<boolean> {
  if (await isLoaded(name)) return true;
  const said = await new Promise<string>((resolve) => {
    execFile('modprobe', ['-D', name], { signal: limits.signal, maxBuffer: 64 * 1024 }, (error, stdout) =>
      resolve(error === null ? stdout : ''),
    );
  });
  const [act, file = ''] = (said.trim().split('\n').at(-1) ?? '').split(' ');
  if (act === 'builtin') return true;
  return act === 'insmod' && isLoaded(basename(file).replace(/\.ko(?:\.[a-z]+)?$/u, ''));
}

/** The kernel writes `_` for every `-` in the name of a module. */
async function isLoaded(name: string): Promise<boolean> {
  try {
    await access(`/sys/module/${name.replaceAll('-', '_')}`);
    return true;
  } catch {
    return false;
  }
}

function modprobe(words: readonly string[], name: string, { signal }: Limits): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile('modprobe', words, { signal, maxBuffer: 64 * 1024 }, (error, _, stderr) => {
      if (error === null) return resolve();
      const said = stderr.trim().split('\n')[0] ?? '';
      reject(
        failure(
          'NODE_STATE_CHANGE_REFUSED',
          'precondition',
          words.length > 1 ? 'unload the kernel module' : 'load the kernel module',
          name,
          said === '' ? error.message : said,
          'see `modprobe --dry-run` and `lsmod` on this node, or change `kernelModules`',
        ),
      );
    });
  });
}
