import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { failure } from '../../base/errors/index.ts';
import { formatPreview, openNodeFiles, previewState } from '../../node/index.ts';
import type { NodeStatus } from '../../node/index.ts';
import { exitCodes, print, run } from '../output/output.ts';
import { printable } from '../output/printable.ts';
import { table } from '../output/table.ts';
import { showProblems } from './apply.ts';
import { withControllers, withNode, withState } from './node-options.ts';
import type { NodeFlags } from './node-options.ts';

/** A status is written every five seconds. */
const staleMs = 20_000;

/** `portcullis node status` and `portcullis node diff`. */
export function registerStatus(node: Command): void {
  withState(node.command('status').description('show the state of this node: what failed, what was repaired'))
    .addHelpText(
      'after',
      '\nExits with 1 when the node is not in its desired state, or when nothing keeps it there.\n\nExamples:\n  $ portcullis node status\n  $ portcullis node status -o json',
    )
    .action((flags: Pick<NodeFlags, 'output' | 'state'>) => run(flags.output, () => status(flags)));
  withNode(node.command('diff').description('show how this node differs from its desired state'))
    .addHelpText('after', '\nExits with 1 when there is a difference.\n\nExamples:\n  $ portcullis node diff')
    .action((flags: NodeFlags) => run(flags.output, () => diff(flags)));
}

async function status({ state, output }: Pick<NodeFlags, 'output' | 'state'>): Promise<number> {
  const files = openNodeFiles(resolve(state));
  const [desired, found] = [await files.readDesired(), await files.readStatus()];
  const isKept = found !== undefined && Math.abs(Date.now() - Date.parse(found.at)) < staleMs;
  const isReached = isKept && found.converged && found.revision === desired?.revision;
  const from =
    desired === undefined
      ? 'no state was applied to this node: apply one with `portcullis node apply -f FILE`'
      : `state ${desired.revision.slice(0, 12)} of ${desired.source.kind === 'file' ? desired.source.file : `the group ${desired.source.group}, generation ${desired.source.generation}`}, applied ${desired.appliedAt}`;
  const how = isReached ? `reached ${found.since ?? ''}` : isKept ? 'not reached' : whyNotKept(found);
  const text = [
    from,
    ...(desired === undefined ? [] : [how]),
    ...(found?.problem === undefined ? [] : [found.problem]),
    ...(found?.group === undefined ? [] : [`group: ${found.group}`]),
  ];
  print(
    output,
    { desired: desired ?? null, kept: isKept, reached: isReached, status: found ?? null },
    `${text.map((line) => `${printable(line)}\n`).join('')}${found === undefined ? '' : sections(found)}`,
  );
  return isReached ? exitCodes.yes : exitCodes.no;
}

/** A process that cannot write its status, such as on a full disk, may still keep the state. */
const whyNotKept = (found: NodeStatus | undefined): string =>
  found !== undefined && existsSync(`/proc/${found.pid}`)
    ? `no status was written since ${found.at}: start \`portcullis node serve\`, or see the log of process ${found.pid} if it is one`
    : 'nothing keeps this state: start `portcullis node serve`';

function sections(found: NodeStatus): string {
  const rows = found.sections.map(({ section, state, items, counts }) => [
    section,
    state,
    String(items),
    String(counts.created + counts.updated + counts.deleted),
    String(counts.healed),
    String(counts.failed),
  ]);
  const failures = found.sections.flatMap(({ section, failures: failed }) =>
    failed.map(
      ({ item, why, next }) =>
        `${printable(`${section}${item === undefined ? '' : ` ${item}`}: ${why}${next === undefined ? '' : ` (next attempt ${next})`}`)}\n`,
    ),
  );
  return `${table(['SECTION', 'STATE', 'ITEMS', 'CHANGES', 'REPAIRS', 'FAILURES'], rows)}${failures.join('')}`;
}

async function diff(flags: NodeFlags): Promise<number> {
  const files = openNodeFiles(resolve(flags.state));
  const desired = await files.readDesired();
  if (desired === undefined)
    throw failure(
      'NODE_STATE_NONE',
      'not-found',
      'compare this node with its desired state',
      flags.state,
      'no state was applied to this node',
      'apply one: `portcullis node apply -f FILE`',
    );
  return withControllers(flags, async (controllers) => {
    const preview = await previewState(controllers, desired.state, await files.readOwned());
    print(flags.output, preview, formatPreview(preview));
    showProblems(preview);
    return preview.changes.length + preview.problems.length === 0 ? exitCodes.yes : exitCodes.no;
  });
}
