import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseJson } from '../../../base/json/index.ts';
import { makeTemporaryFolder } from '../../../base/storage/index.ts';
import { endProcessesWithArgument } from '../../processes/processes.ts';
import { readCgroupMounts } from '../../cgroups/cgroups.ts';
import { inOwnPidNamespace } from '../../processes/own-pid-namespace.ts';
import { leaveHybrid } from '../../cgroups/mount-namespace.ts';

/** Whether a runtime accepts a configuration, and its own message if it does not. */
export interface Trial {
  readonly runtime: string;
  readonly accepted: boolean;
  readonly said: string;
}

const limitMs = 30_000;

/**
 * Lets an OCI runtime create a container from this configuration, and removes the container before its
 * program runs. Needs root and the root file system.
 * @param input.bundle the folder that a relative `root.path` is relative to
 */
export async function tryRuntime(input: {
  readonly runtime: string;
  readonly config: string;
  readonly bundle: string;
}): Promise<Trial> {
  const folder = await makeTemporaryFolder('portcullis-spec-');
  const id = `portcullis-spec-${randomBytes(6).toString('hex')}`;
  const state = join(folder, 'state');
  try {
    await mkdir(state, { mode: 0o700 });
    const spec = parseJson(input.config) as {
      root: { path: string };
      process: { terminal?: boolean };
      linux?: { namespaces?: { type: string; path?: string }[] };
    };
    spec.root.path = resolve(input.bundle, spec.root.path);
    // A terminal would need a console socket, whose presence says nothing about the configuration.
    spec.process.terminal = false;
    await writeFile(join(folder, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
    const words = join(folder, 'words');
    const creation = [input.runtime, '--root', state, 'create', '--bundle', folder, id];
    const deletion = [input.runtime, '--root', state, 'delete', '--force', id];
    const makesTime =
      spec.linux?.namespaces?.some(({ type, path }) => type === 'time' && path === undefined) === true;
    let create: number;
    if (makesTime) {
      // In this case, crun 1.8 kills a process by a pid that belongs to another PID namespace
      // (../probe/probe.ts).
      create = await call(inOwnPidNamespace(['/bin/sh', '-c', createAndDelete, ...creation]), words);
    } else {
      create = await call(creation, words);
      // An interrupted container may have no record with which the runtime could end it.
      if (create !== 0) await endProcessesWithArgument(id);
      await call(deletion, join(folder, 'deletion'));
    }
    return {
      runtime: input.runtime,
      accepted: create === 0,
      said: (await readFile(words, 'utf8').catch(() => '')).trim(),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * `$0` is the runtime. The rest are the arguments of its `create`: `$2` is its state folder and `$6` the id.
 */
const createAndDelete =
  '"$0" "$@"; code=$?; "$0" --root "$2" delete --force "$6" 2>/dev/null >&2; exit $code';

/**
 * Returns the exit code. The runtime's messages go to a file: the created process keeps the descriptor, so a
 * pipe would never end.
 */
async function call(command: readonly string[], words: string): Promise<number> {
  using opened = new DisposableStack();
  const out = opened.adopt(openSync(words, 'a', 0o600), closeSync);
  const [first = '', ...rest] = [...crunWorkaround(), ...command];
  const child = spawn(first, rest, {
    stdio: ['ignore', out, out],
    timeout: limitMs,
    killSignal: 'SIGKILL',
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 255;
}

/**
 * crun 1.8 refuses hybrid cgroups while version 2 is mounted beside version 1 (see ../mount-namespace.ts).
 */
function crunWorkaround(): string[] {
  if (!readCgroupMounts().hybrid || !existsSync('/sys/fs/cgroup/unified')) return [];
  const script = `${leaveHybrid}; exec "$@"`;
  return ['unshare', '-m', '--propagation', 'unchanged', '/bin/sh', '-c', script, 'sh'];
}
