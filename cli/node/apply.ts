import { resolve } from 'node:path';
import type { Command } from 'commander';
import { createLogger } from '../../base/log/index.ts';
import {
  applyState,
  describeFailures,
  documentReader,
  formatPreview,
  openNodeFiles,
  previewState,
  requireNoGroup,
} from '../../node/index.ts';
import type { Preview } from '../../node/index.ts';
import { parseDuration } from '../../trust/policy/index.ts';
import { requireRoot } from '../environment/require-root.ts';
import { exitCodes, print, printNote, run } from '../output/output.ts';
import { printableText } from '../output/printable.ts';
import { readNodeDocument } from './document.ts';
import { withControllers, withNode } from './node-options.ts';
import type { NodeFlags } from './node-options.ts';

interface ApplyFlags extends NodeFlags {
  readonly file: string;
  readonly dryRun: boolean;
  readonly force: boolean;
  readonly timeout: string;
}

const examples = `
The document is checked completely before anything is changed. Its state replaces the previous state: items
that were created for the previous state and are no longer declared are removed, and nothing else is removed.
If \`portcullis node serve\` runs, it applies the state and keeps the node in it. Otherwise, this command
applies the state once.

Examples:
  $ portcullis node apply -f node.yaml --dry-run
  $ portcullis node apply -f node.yaml

Exit status: 0 the node is in the state, or would be changed as shown; 2 the document is invalid; 4 the
state was not reached in time, the plan of --dry-run is incomplete, or the command failed.`;

/** `portcullis node apply`: makes the state in a document the desired state. */
export function registerApply(node: Command): void {
  const command = withNode(
    node.command('apply').description('bring this node into the state of a document, and keep it there'),
  )
    .requiredOption('-f, --file <file>', 'document of the kind NodeState, or - for standard input')
    .option('--dry-run', 'only show what would change', false)
    .option('--force', 'apply the document even if the node follows a group', false)
    .option('--timeout <duration>', 'how long to wait until the state is reached', '5m')
    .addHelpText('after', examples);
  command.action((flags: ApplyFlags) => {
    if (parseDuration(flags.timeout) === undefined)
      command.error(`error: ${JSON.stringify(flags.timeout)} is not a duration such as 30s or 10m`, {
        exitCode: exitCodes.usage,
      });
    return run(flags.output, () => apply(flags));
  });
}

async function apply(flags: ApplyFlags): Promise<number> {
  return withControllers(flags, async (controllers) => {
    const reader = documentReader(controllers);
    const state = await readNodeDocument(flags.file, (text, file) => reader.nodeState(text, file));
    for (const controller of controllers) await controller.check?.(state);
    const folder = resolve(flags.state);
    const files = openNodeFiles(folder);
    // The plan of --dry-run is that of the same command without it.
    if (!flags.force) await requireNoGroup(files);
    const preview = await previewState(controllers, state, await files.readOwned());
    if (flags.dryRun) {
      const none = preview.problems.length === 0 ? 'nothing would change\n' : 'the plan is incomplete:\n';
      print(flags.output, preview, formatPreview(preview) || none);
      showProblems(preview);
      return preview.problems.length === 0 ? exitCodes.yes : exitCodes.failed;
    }
    requireRoot('apply the state of a node', 'change it');
    if (flags.output === 'text') process.stdout.write(printableText(formatPreview(preview)));
    let said = '';
    const status = await applyState({
      ...{ folder, controllers, state, file: resolve(flags.file), force: flags.force },
      timeoutMs: (parseDuration(flags.timeout) ?? 0) * 1000,
      log: createLogger({ level: 'silent' }),
      onProgress(now) {
        // Nothing is known yet about a section without items, and most documents have few sections.
        const sections = now.sections.filter(({ items, failures }) => items + failures.length > 0);
        const text = describeFailures({ ...now, sections });
        if (flags.output === 'text' && text !== '' && text !== said) printNote(`waiting: ${text}\n`);
        said = text;
      },
    });
    print(
      flags.output,
      { revision: status.revision, changes: preview.changes },
      `the node has the state ${status.revision?.slice(0, 12) ?? ''}\n`,
    );
    return exitCodes.yes;
  });
}

/** Prints what the plan could not see, or will not change, on standard error. */
export function showProblems({ problems }: Preview): void {
  for (const { section, item, why } of problems)
    printNote(`${section}${item === undefined ? '' : ` ${item}`}: ${why}\n`);
}
