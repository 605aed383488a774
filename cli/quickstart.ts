import type { Command } from 'commander';
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { isPortcullisError } from '../base/errors/index.ts';
import { exitCodes, run, withOutput } from './output.ts';
import type { OutputFormat } from './output.ts';
import { isApart, runApart, whenToldToEnd } from './quickstart/apart.ts';
import { makeFolders } from './quickstart/setting.ts';
import { createStory } from './quickstart/story.ts';
import { unmountBelow } from './quickstart/sweep.ts';
import { tell } from './quickstart/tell.ts';
import { requireRoot } from './require-root.ts';
import { paperFor } from './terminal.ts';

interface QuickstartFlags {
  readonly keep: boolean;
  readonly output: OutputFormat;
}

const examples = `
It starts a registry and the daemon in folders and namespaces of their own, next to what already runs on this machine, and removes them.
Exit code: 0 every step succeeded, 1 a step failed.

Examples:
  $ portcullis quickstart
  $ portcullis quickstart --keep     leaves the endpoint serving and prints how to point crictl at it`;

export function register(program: Command): void {
  withOutput(program.command('quickstart'))
    .description('run the whole flow with an embedded registry')
    .option('--keep', 'leave the endpoint serving at the end', false)
    .addHelpText('after', examples)
    .action((flags: QuickstartFlags) => run(flags.output, () => quickstart(flags)));
}

async function quickstart(flags: QuickstartFlags): Promise<number> {
  requireRoot('run the quickstart', 'create containers, mounts and networks');
  return isApart() ? tellApart(flags) : runApart();
}

/** Runs the quickstart in its own namespaces, and undoes everything in every case. */
async function tellApart({ keep, output }: QuickstartFlags): Promise<number> {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  const paper = paperFor(process.stdout, process.env);
  const story = createStory(output === 'json' ? { ...paper, write: () => undefined, live: false } : paper);
  const folder = makeFolders();
  const undos: (() => Promise<unknown>)[] = [];
  let ending: Promise<void> | undefined;
  const end = (): Promise<void> => (ending ??= undoAll(undos, folder));
  const leave = (code: number) => void end().then(() => process.exit(code));
  const told = whenToldToEnd(() => leave(130));
  // The reader of the output is gone, or an error occurred outside of any step: clean up all the same. (The
  // command's own listener would end the process at once.)
  process.stdout.removeAllListeners('error').on('error', () => leave(exitCodes.failed));
  process.on('uncaughtException', () => leave(exitCodes.failed));

  story.say('Portcullis: nothing crosses until it is verified.');
  let held = false;
  let lookAt: readonly string[] = [];
  try {
    lookAt = await tell(story, folder, (action) => undos.push(action), keep);
    held = story.close();
    if (keep) story.say('', ...lookAt.map((line) => `  ${line}`));
  } catch (thrown) {
    held = story.close() && false;
    // The output already shows a failure that a step found. Any other error is a defect of the quickstart.
    if (!isPortcullisError(thrown))
      process.stderr.write(`${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`);
  }
  if (output === 'json') process.stdout.write(`${JSON.stringify({ held, steps: story.steps, lookAt }, null, 2)}\n`);
  if (keep && held) {
    told.staying();
    await new Promise(() => undefined);
  }
  told.deaf();
  await end();
  return held ? exitCodes.yes : exitCodes.no;
}

async function undoAll(undos: readonly (() => Promise<unknown>)[], folder: string): Promise<void> {
  for (const undo of undos.toReversed()) await undo().catch(() => undefined);
  unmountBelow(folder);
  rmSync(folder, { recursive: true, force: true });
}
