import type { Command } from 'commander';
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { PortcullisError, isPortcullisError } from '../base/errors/index.ts';
import { makeTemporaryFolder } from '../base/storage/index.ts';
import { lackedByQuickstart } from './doctor/programs.ts';
import { packageRoot } from './environment/package-root.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { isInOwnNamespaces, runInOwnNamespaces, onEndSignal } from './quickstart/own-namespaces.ts';
import { createStepReport } from './quickstart/step-report.ts';
import { unmountBelow } from './quickstart/cleanup.ts';
import { runFlow } from './quickstart/flow.ts';
import { requireRoot } from './environment/require-root.ts';
import { paperFor } from './output/terminal.ts';

interface QuickstartFlags {
  readonly keep: boolean;
  readonly output: OutputFormat;
}

const examples = `
Starts a registry and the daemon in separate folders and namespaces, beside what already runs on this machine,
and removes them at the end. Exit status: 0 every step succeeded; 1 a step failed.

Examples:
  $ portcullis quickstart
  $ portcullis quickstart --keep     leaves the endpoint serving and prints how to point crictl at it`;

export function register(program: Command): void {
  withOutput(program.command('quickstart'))
    .description('run a demonstration of the whole flow with an embedded registry')
    .option('--keep', 'leave the endpoint serving at the end', false)
    .addHelpText('after', examples)
    .action((flags: QuickstartFlags) => run(flags.output, () => quickstart(flags)));
}

async function quickstart(flags: QuickstartFlags): Promise<number> {
  requireRoot('run the quickstart', 'create containers, mounts and networks');
  if (isInOwnNamespaces()) return demonstrate(flags);
  requirePrograms();
  return runInOwnNamespaces();
}

function requirePrograms(): void {
  const lacked = lackedByQuickstart(packageRoot());
  if (lacked.length === 0) return;
  throw new PortcullisError({
    code: 'CLI_PROGRAMS_MISSING',
    kind: 'precondition',
    attempted: 'run the quickstart',
    on: '',
    why: `this machine lacks ${lacked.join(', ')}`,
    fix: 'run `portcullis doctor --fix`, or install them',
  });
}

/** Runs the quickstart in its own namespaces, and undoes everything in every case. */
async function demonstrate({ keep, output }: QuickstartFlags): Promise<number> {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  const paper = paperFor(process.stdout, process.env);
  const report = createStepReport(
    output !== 'text' ? { ...paper, write: () => undefined, live: false } : paper,
  );
  const folder = await makeTemporaryFolder('portcullis-quickstart-');
  const undos: (() => Promise<unknown>)[] = [];
  let ending: Promise<void> | undefined;
  const end = (): Promise<void> => (ending ??= undoAll(undos, folder));
  const leave = (code: number) => void end().then(() => process.exit(code));
  const signals = onEndSignal(() => {
    // The running step fails now, because what it uses is removed: that is no finding of the quickstart.
    report.interrupt('interrupted; removing everything that the quickstart created');
    leave(130);
  });
  // The reader of the output is gone, or an error occurred outside of any step: clean up in these cases, too.
  // (The command's own listener would end the process at once.)
  process.stdout.removeAllListeners('error').on('error', () => leave(exitCodes.failed));
  process.on('uncaughtException', () => leave(exitCodes.failed));

  report.say('Portcullis: nothing crosses until it is verified.');
  let held = false;
  let lookAt: readonly string[] = [];
  try {
    lookAt = await runFlow(report, folder, (action) => undos.push(action), keep);
    held = report.close();
    if (keep) report.say('', ...lookAt.map((line) => `  ${line}`));
  } catch (thrown) {
    held = report.close() && false;
    // The output already shows a failure that a step found. Any other error is a defect of the quickstart.
    if (!report.isInterrupted() && !isPortcullisError(thrown))
      process.stderr.write(
        `${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`,
      );
  }
  if (output !== 'text' && !report.isInterrupted()) print(output, { held, steps: report.steps, lookAt }, '');
  if (keep && held) {
    signals.staying();
    await new Promise(() => undefined);
  }
  signals.deaf();
  await end();
  return held ? exitCodes.yes : exitCodes.no;
}

async function undoAll(undos: readonly (() => Promise<unknown>)[], folder: string): Promise<void> {
  for (const undo of undos.toReversed()) await undo().catch(() => undefined);
  unmountBelow(folder);
  rmSync(folder, { recursive: true, force: true });
}
