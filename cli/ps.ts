import type { Command } from 'commander';
import { ContainerState } from '../runtime/client.ts';
import type { Container, PodSandbox } from '../runtime/client.ts';
import { withClient, withSocket } from './options/endpoint.ts';
import { print, printIds, run, withOutput, withQuiet } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { age, isoTime, shortId, table } from './output/table.ts';
import { withWide } from './output/terminal.ts';

/** `portcullis ps`: the containers of the running daemon. */
export function register(program: Command): void {
  withQuiet(withSocket(withOutput(withWide(program.command('ps')))))
    .description('list containers')
    .option('-a, --all', 'also containers that are not running')
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis ps\n  $ portcullis ps -a --output json\n  $ portcullis ps -q\n',
    )
    .action((options: { all?: boolean; quiet?: boolean; socket: string; output: OutputFormat }) =>
      run(options.output, () =>
        withClient(options.socket, async (client) => {
          const filter = options.all === true ? {} : { state: { state: ContainerState.CONTAINER_RUNNING } };
          const [list, pods] = await Promise.all([
            client.runtime.listContainers({ filter }),
            client.runtime.listPodSandbox({}),
          ]);
          const containers = list.containers.toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
          const podOf = new Map(pods.items.map((pod) => [pod.id, pod]));
          if (options.quiet === true) printIds(containers);
          else
            print(
              options.output,
              containers.map((container) => asJson(container, podOf.get(container.podSandboxId))),
              asTable(containers, podOf),
            );
          return 0;
        }),
      ),
    );
}

/**
 * Names of container states. The lookup may fail because enums of protobuf are open: another runtime may
 * report other states.
 */
const states: Readonly<Record<number, string>> = {
  [ContainerState.CONTAINER_CREATED]: 'created',
  [ContainerState.CONTAINER_RUNNING]: 'running',
  [ContainerState.CONTAINER_EXITED]: 'exited',
  [ContainerState.CONTAINER_UNKNOWN]: 'unknown',
};

/** Returns the image name that the container was requested with, or a short id where only the id is known. */
function imageOf(container: Container): string {
  const name = container.image?.userSpecifiedImage ?? '';
  return name === '' ? shortId(container.imageRef) : name;
}

function asTable(containers: readonly Container[], podOf: ReadonlyMap<string, PodSandbox>): string {
  const rows = containers.map((container) => {
    const pod = podOf.get(container.podSandboxId)?.metadata;
    return [
      shortId(container.id),
      imageOf(container),
      age(container.createdAt, new Date()),
      states[container.state] ?? String(container.state),
      container.metadata?.name ?? '',
      String(container.metadata?.attempt ?? 0),
      shortId(container.podSandboxId),
      pod === undefined ? '' : `${pod.namespace}/${pod.name}`,
    ];
  });
  return table(['CONTAINER', 'IMAGE', 'AGE', 'STATE', 'NAME', 'ATTEMPT', 'POD', 'NAMESPACE/POD'], rows);
}

function asJson(container: Container, pod: PodSandbox | undefined): object {
  const { id, metadata, podSandboxId, imageRef, labels, annotations } = container;
  return {
    id,
    ...metadata,
    state: states[container.state] ?? String(container.state),
    createdAt: isoTime(container.createdAt),
    image: imageOf(container),
    imageRef,
    pod: { id: podSandboxId, name: pod?.metadata?.name, namespace: pod?.metadata?.namespace },
    labels,
    annotations,
  };
}
