import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { createLogger } from '../../base/log/index.ts';
import type { Logger, LogLevel } from '../../base/log/index.ts';
import {
  agentIdentity,
  describeFailures,
  documentReader,
  joinGroups,
  mostLabels,
  startNodeAgent,
} from '../../node/index.ts';
import type { Controller, Member, NodeAgent } from '../../node/index.ts';
import type { CriClient } from '../../runtime/client.ts';
import { parseDuration } from '../../trust/policy/index.ts';
import { requireRoot } from '../environment/require-root.ts';
import { collect } from '../options/registry-options.ts';
import { exitCodes, print, run } from '../output/output.ts';
import { untilStopSignal } from '../output/stop-signal.ts';
import { openEtcdOf, withEtcd, wrongEtcd } from './etcd.ts';
import type { EtcdFlags } from './etcd.ts';
import { withControllers, withNode } from './node-options.ts';
import type { NodeFlags } from './node-options.ts';

interface ServeFlags extends EtcdFlags, NodeFlags {
  readonly interval: string;
  readonly node: string;
  readonly label: readonly string[];
  readonly lease: string;
  readonly logLevel: LogLevel;
}

const examples = `
Compares the node with its desired state every --interval, and repairs what differs. It is a client of the
daemon, and may be stopped or killed at any time: pods, networks and services go on. With --etcd, the node
also takes part in the group that selects it. While etcd is unreachable, the node keeps its state and repairs
it. Each node needs a unique name (--node): the agent ends if another agent has its name.

Examples:
  $ portcullis node serve
  $ portcullis node serve --etcd https://192.0.2.10:2379 --etcd-ca ca.pem --etcd-cert node.pem --etcd-key node.key --label zone=a

Exit status: 0 it was asked to stop; 2 wrong use; 4 it cannot start, or it failed.`;

/** `portcullis node serve`: keeps this node in its desired state until SIGTERM or SIGINT. */
export function registerServe(node: Command): void {
  const command = withEtcd(
    withNode(node.command('serve').description('keep this node in its desired state, until SIGTERM')),
  )
    .option('--interval <duration>', 'time between two comparisons', '3s')
    .option('--node <name>', 'name of this node in groups', hostname())
    .option('--label <key=value>', 'label of this node, for groups; may be repeated', collect, [])
    .option(
      '--lease <duration>',
      'time without contact after which a node that is changing counts as lost',
      '30s',
    )
    .addOption(
      new Option('--log-level <level>', 'the lowest level of the log on standard error')
        .choices(['debug', 'info', 'warn', 'error', 'silent'])
        .default('info'),
    )
    .addHelpText('after', examples);
  command.action((flags: ServeFlags) => {
    const wrong = wrongUse(flags);
    if (wrong !== undefined) command.error(`error: ${wrong}`, { exitCode: exitCodes.usage });
    return run(flags.output, () => serve(flags));
  });
}

function wrongUse(flags: ServeFlags): string | undefined {
  const interval = parseDuration(flags.interval);
  // Drift is repaired within ten seconds.
  if (interval === undefined || interval < 1 || interval > 8) return '--interval is not between 1s and 8s';
  const lease = parseDuration(flags.lease);
  if (lease === undefined || lease < 5 || lease > 3600) return '--lease is not between 5s and 1h';
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/u.test(flags.node))
    return `--node ${JSON.stringify(flags.node)} may contain only letters, digits, ., _ and -`;
  const label = flags.label.find((one) => !/^[A-Za-z0-9][A-Za-z0-9._/-]{0,252}=[^=]{0,63}$/u.test(one));
  if (label !== undefined) return `--label ${JSON.stringify(label)} is not KEY=VALUE`;
  if (flags.label.length > mostLabels) return `a node has at most ${mostLabels} labels`;
  return wrongEtcd(flags, false);
}

async function serve(flags: ServeFlags): Promise<number> {
  requireRoot('keep the state of a node', 'change it');
  const log = createLogger({ level: flags.logLevel });
  const stopping = new AbortController();
  const stop = untilStopSignal(() => stopping.abort());
  return withControllers(flags, async (controllers, cri) => {
    const late: { member: Member | undefined } = { member: undefined };
    const agent = await startNodeAgent({
      ...{ folder: resolve(flags.state), controllers, log },
      intervalMs: (parseDuration(flags.interval) ?? 3) * 1000,
      // An earlier process may still be finishing its work.
      ...{ waitMs: 60_000, stop: stopping.signal },
      ...(flags.etcd !== undefined && {
        group: () => late.member?.status() ?? 'it has not reached etcd yet',
      }),
    }).catch((thrown: unknown) => {
      if (!stopping.signal.aborted) throw thrown;
    });
    if (agent === undefined) return exitCodes.yes;
    try {
      if (flags.etcd !== undefined) late.member = join(flags, { agent, controllers, cri, log });
      print(flags.output, { node: flags.node, state: flags.state }, `keeping the node ${flags.node}\n`);
      const refused = await Promise.race([stop, ...(late.member === undefined ? [] : [late.member.refused])]);
      if (isPortcullisError(refused)) throw refused;
      return exitCodes.yes;
    } finally {
      late.member?.close();
      await agent.close();
    }
  });
}

interface Joining {
  readonly agent: NodeAgent;
  readonly controllers: readonly Controller[];
  readonly cri: CriClient;
  readonly log: Logger;
}

function join(flags: ServeFlags, { agent, controllers, cri, log }: Joining): Member {
  const reader = documentReader(controllers);
  const { reconciler } = agent;
  return joinGroups({
    client: openEtcdOf(flags, (problem) => {
      if (problem !== '') log.warn({ problem }, 'the credentials for etcd cannot be used');
    }),
    name: flags.node,
    identity: agentIdentity(resolve(flags.state)),
    labels: Object.fromEntries(flags.label.map((one) => one.split('=') as [string, string])),
    leaseSeconds: parseDuration(flags.lease) ?? 30,
    log,
    node: {
      desired: () => reconciler.desired(),
      convergedSince: () => reconciler.convergedSince(),
      problem() {
        const text = describeFailures(agent.status());
        return text === '' ? undefined : text;
      },
      daemonProblem: () => daemonProblem(cri),
      refuses: (state) => reader.refuses(state),
      apply: (desired) => agent.apply(desired),
    },
  });
}

const readyMs = 5000;

/** Returns why the daemon is not ready, by the conditions of its Status; undefined: it is. */
async function daemonProblem(cri: CriClient): Promise<string | undefined> {
  try {
    const { status } = await cri.runtime.status({}, { timeoutMs: readyMs });
    const wrong = status?.conditions.find(({ status: isMet }) => !isMet);
    return wrong === undefined ? undefined : `${wrong.type}: ${wrong.message}`;
  } catch (thrown) {
    return reasonOf(thrown);
  }
}
