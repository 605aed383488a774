import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import { runCommand } from '../processes/command.ts';

const checkMs = 30_000;

/** Reports why a handler cannot write checkpoints on this node; undefined: it can. */
export type WhyNoCheckpoints = (
  handler: Pick<RuntimeHandler, 'name' | 'kind' | 'version' | 'tasks'>,
) => Promise<string | undefined>;

/**
 * Creates the probe. runc looks for criu in `PATH` (libcontainer, criu), and `criu check` reports what the
 * kernel lacks. A node that passed is not checked again. A node that failed is, because it may get another
 * criu or kernel module at any time.
 */
export function createCheckpointProbe(
  startProgram: StartProgram,
  path = process.env['PATH'] ?? '',
): WhyNoCheckpoints {
  let passed: string | undefined;
  return async ({ name, kind, version, tasks }) => {
    if (tasks !== undefined) return `the runtime handler ${name} is a shim`;
    if (kind !== 'runc')
      return `the runtime handler ${name} is ${kind} ${version}, and only runc writes checkpoints`;
    const criu = await findCriu(path);
    if (criu === undefined) return 'criu is not installed';
    if (criu === passed) return undefined;
    const why = await runCommand(startProgram, criu, ['check'], { timeoutMs: checkMs }).then(
      ({ exitCode, stdout, stderr }) =>
        exitCode === 0
          ? undefined
          : `criu does not work on this kernel: ${lastLine(stderr) ?? lastLine(stdout) ?? `exit code ${exitCode}`}`,
      reasonOf,
    );
    if (why === undefined) passed = criu;
    return why;
  };
}

async function findCriu(path: string): Promise<string | undefined> {
  for (const folder of path.split(':')) {
    if (!folder.startsWith('/')) continue;
    const file = join(folder, 'criu');
    if (
      await access(file, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return file;
  }
  return undefined;
}

function lastLine(text: string): string | undefined {
  return text.trim().split('\n').at(-1)?.slice(0, 300).replace(/\.$/u, '') || undefined;
}
