import type { Command } from 'commander';
import type { EtcdClient } from '../../cni-plugins/index.ts';
import {
  applyGroup,
  documentReader,
  forgetNode,
  listGroups,
  removeGroup,
  resumeGroup,
  rollBackGroup,
} from '../../node/index.ts';
import type { ListedGroup } from '../../node/index.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { printable } from '../output/printable.ts';
import { table } from '../output/table.ts';
import { readNodeDocument } from './document.ts';
import { openEtcdOf, withEtcd, wrongEtcd } from './etcd.ts';
import type { EtcdFlags } from './etcd.ts';
import { withDocumentControllers } from './node-options.ts';

interface GroupFlags extends EtcdFlags {
  readonly output: OutputFormat;
}

interface ApplyFlags extends GroupFlags {
  readonly file: string;
}

/** `portcullis node group`: rolling changes of many nodes. */
export function registerGroup(node: Command): void {
  const group = node
    .command('group')
    .description('groups of nodes: rolling changes over etcd, with a health gate');
  const applying = withGroup(group, 'apply', 'change the nodes of a group, a few at a time')
    .requiredOption('-f, --file <file>', 'document of the kind NodeGroup, or - for standard input')
    .addHelpText(
      'after',
      '\nThe document is checked before it is written to etcd. The nodes then apply it by themselves: see `portcullis node group status`.\n\nExamples:\n  $ portcullis node group apply -f web.yaml --etcd https://192.0.2.10:2379',
    );
  applying.action((flags: ApplyFlags) => {
    refuseWrong(applying, flags);
    return run(flags.output, () => apply(flags));
  });
  const status = withGroup(group, 'status [group]', 'show how the groups, or one group, change').addHelpText(
    'after',
    '\nExits with 0 when every group is complete, with 1 while one changes or is halted.\n\nExamples:\n  $ portcullis node group status web --etcd https://192.0.2.10:2379',
  );
  status.action((name: string | undefined, flags: GroupFlags) => {
    refuseWrong(status, flags);
    return run(flags.output, () => withClient(flags, (client) => show(client, name, flags)));
  });
  registerForget(group);
  for (const [words, description, act, said] of [
    ['resume <group>', 'continue a halted change, and try failed nodes again', resumeGroup, 'changes to'],
    ['rollback <group>', 'return to the last state that every node had', rollBackGroup, 'returns to'],
    ['rm <group>', 'forget a group; its nodes keep their state', removeGroup, 'is forgotten'],
  ] as const) {
    const command = withGroup(group, words, description).addHelpText(
      'after',
      `\nExamples:\n  $ portcullis node group ${words.split(' ')[0] ?? ''} web --etcd https://192.0.2.10:2379`,
    );
    command.action((name: string, flags: GroupFlags) => {
      refuseWrong(command, flags);
      return run(flags.output, () =>
        withClient(flags, async (client) => {
          const spec = await act(client, name);
          const state = spec === undefined ? '' : ` ${stateOf(spec)}`;
          print(flags.output, { group: name, ...spec }, `${name} ${said}${state}\n`);
          return exitCodes.yes;
        }),
      );
    });
  }
}

/** `portcullis node group forget`. */
function registerForget(group: Command): void {
  const command = withGroup(
    group,
    'forget <group> <node>',
    'remove a node that no longer exists from a group',
  ).addHelpText(
    'after',
    `
A group waits for each of its nodes. Use this for a node that does not come back. If the document of the group
names the node, remove the name there too: otherwise the next \`node group apply\` adds it again. A node
whose agent runs is refused.

Examples:
  $ portcullis node group forget web node-7 --etcd https://192.0.2.10:2379`,
  );
  command.action((name: string, node: string, flags: GroupFlags) => {
    refuseWrong(command, flags);
    return run(flags.output, () =>
      withClient(flags, async (client) => {
        const spec = await forgetNode(client, name, node);
        print(flags.output, { group: name, node, ...spec }, `${node} is no longer in ${name}\n`);
        return exitCodes.yes;
      }),
    );
  });
}

const withGroup = (group: Command, words: string, description: string): Command =>
  withEtcd(withOutput(group.command(words).description(description)));

function refuseWrong(command: Command, flags: GroupFlags): void {
  const wrong = wrongEtcd(flags, true);
  if (wrong !== undefined) command.error(`error: ${wrong}`, { exitCode: exitCodes.usage });
}

async function withClient<T>(flags: GroupFlags, body: (client: EtcdClient) => Promise<T>): Promise<T> {
  const client = openEtcdOf(flags);
  try {
    return await body(client);
  } finally {
    client.close();
  }
}

/** The state that a group has from now on. */
interface Wanted {
  readonly revision: string;
  readonly generation: number;
}

const stateOf = ({ revision, generation }: Wanted): string =>
  `${revision.slice(0, 12)}, generation ${generation}`;

async function apply(flags: ApplyFlags): Promise<number> {
  return withDocumentControllers(flags.output, async (controllers) => {
    const reader = documentReader(controllers);
    const group = await readNodeDocument(flags.file, (text, file) => reader.nodeGroup(text, file));
    for (const controller of controllers) await controller.check?.(group.state);
    return withClient(flags, async (client) => {
      const { revision, generation } = await applyGroup(client, group);
      print(
        flags.output,
        { group: group.name, revision, generation },
        `${group.name} changes to ${stateOf({ revision, generation })}\n`,
      );
      return exitCodes.yes;
    });
  });
}

async function show(client: EtcdClient, name: string | undefined, { output }: GroupFlags): Promise<number> {
  const groups = await listGroups(client, name);
  print(output, groups, groups.map(textOf).join('\n'));
  return groups.every(({ state }) => state === 'complete') ? exitCodes.yes : exitCodes.no;
}

function textOf(listed: ListedGroup): string {
  if (listed.state === 'unreadable')
    return `${printable(listed.group)}: unreadable; its specification in etcd is damaged, or another version wrote it: apply the group again\n`;
  const { group, state, halted, revision, generation, attempt, nodes } = listed;
  const why = halted === undefined ? '' : ` by ${halted.node}: ${halted.why}`;
  // Nodes write their names and reasons.
  const head = printable(
    `${group}: ${state}${why}; revision ${revision.slice(0, 12)}, generation ${generation}, attempt ${attempt}`,
  );
  const rows = nodes.map(({ name, phase, revision: has, why: reason }) => [
    name,
    phase,
    has?.slice(0, 12) ?? '',
    reason ?? '',
  ]);
  return `${head}\n${table(['NODE', 'PHASE', 'REVISION', 'REASON'], rows)}`;
}
