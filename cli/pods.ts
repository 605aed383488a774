import type { Command } from 'commander';
import { PodSandboxState } from '../runtime/client.ts';
import type { PodSandbox } from '../runtime/client.ts';
import { withClient, withSocket } from './options/endpoint.ts';
import { print, printIds, run, withOutput, withQuiet } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { age, isoTime, shortId, table } from './output/table.ts';
import { withWide } from './output/terminal.ts';

/** `portcullis pods`: the pods of the running daemon. */
export function register(program: Command): void {
  withQuiet(withSocket(withOutput(withWide(program.command('pods')))))
    .description('list pods')
    .option('-a, --all', 'also stopped pods')
    .addHelpText('after', '\nExamples:\n  $ portcullis pods\n  $ portcullis pods -a --output json\n')
    .action((options: { all?: boolean; quiet?: boolean; socket: string; output: OutputFormat }) =>
      run(options.output, () =>
        withClient(options.socket, async (client) => {
          const filter = options.all === true ? {} : { state: { state: PodSandboxState.SANDBOX_READY } };
          const { items } = await client.runtime.listPodSandbox({ filter });
          const pods = items.toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
          if (options.quiet === true) printIds(pods);
          else print(options.output, pods.map(asJson), asTable(pods));
          return 0;
        }),
      ),
    );
}

function stateOf(pod: PodSandbox): string {
  return pod.state === PodSandboxState.SANDBOX_READY ? 'ready' : 'not ready';
}

function asTable(pods: readonly PodSandbox[]): string {
  const rows = pods.map((pod) => [
    shortId(pod.id),
    age(pod.createdAt, new Date()),
    stateOf(pod),
    pod.metadata?.name ?? '',
    pod.metadata?.namespace ?? '',
    String(pod.metadata?.attempt ?? 0),
    pod.runtimeHandler === '' ? '(default)' : pod.runtimeHandler,
  ]);
  return table(['POD', 'AGE', 'STATE', 'NAME', 'NAMESPACE', 'ATTEMPT', 'RUNTIME'], rows);
}

function asJson(pod: PodSandbox): object {
  const { id, metadata, runtimeHandler, labels, annotations } = pod;
  return {
    id,
    ...metadata,
    state: stateOf(pod),
    createdAt: isoTime(pod.createdAt),
    runtimeHandler,
    labels,
    annotations,
  };
}
