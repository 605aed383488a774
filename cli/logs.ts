import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { once } from 'node:events';
import { PortcullisError } from '../base/errors/index.ts';
import { ContainerState, entryBytes, findContainer, followContainerLog } from '../runtime/index.ts';
import { withClient, withSocket } from './options/endpoint.ts';
import { withSince } from './options/since-option.ts';
import { run, serialiseOneOfMany, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface Options {
  follow?: boolean;
  tail?: number;
  since?: string;
  timestamps?: boolean;
  socket: string;
  output: OutputFormat;
}

/** `portcullis logs`: prints what a container wrote. */
export function register(program: Command): void {
  withSince(withSocket(withOutput(program.command('logs'))), 'lines')
    .description("print a container's log")
    .argument('<container>', 'its id, the beginning of its id, or its name')
    .option('-f, --follow', 'keep following until the container ends')
    .option('--tail <lines>', 'only the last lines', lineCount)
    .option('-t, --timestamps', 'print the time of each line')
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis logs web\n  $ portcullis logs -f --tail 20 3f2a9c\n  $ portcullis logs --since 10m web\n',
    )
    .action((container: string, options: Options) => run(options.output, () => printLog(container, options)));
}

function lineCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

function printLog(container: string, options: Options): Promise<number> {
  return withClient(options.socket, async (client) => {
    const { id } = await findContainer(client, container);
    const statusOf = async () => (await client.runtime.containerStatus({ containerId: id })).status;
    const path = (await statusOf())?.logPath ?? '';
    if (path === '') {
      const why = 'the container was created without a log path';
      throw new PortcullisError({
        code: 'CLI_NO_LOG',
        kind: 'not-found',
        attempted: 'read log of',
        on: container,
        why,
        fix: 'set log_directory in the pod’s configuration and log_path in the container’s',
      });
    }
    const isRunning = async (): Promise<boolean> => {
      const state = await statusOf().then(
        (status) => status?.state,
        () => undefined, // The container was removed, or the daemon is gone: nothing more will be written.
      );
      return state === ContainerState.CONTAINER_RUNNING || state === ContainerState.CONTAINER_CREATED;
    };
    const follow = options.follow === true;
    /** The streams whose last line is not complete. */
    const unfinished = new Set<string>();
    const from = options.since === undefined ? Number.NEGATIVE_INFINITY : Date.parse(options.since);
    for await (const entry of followContainerLog(path, {
      follow,
      isRunning,
      ...(options.tail === undefined ? {} : { tail: options.tail }),
    })) {
      const { time, stream, partial, content } = entry;
      if (Date.parse(time) < from) continue;
      if (options.output !== 'text')
        await write(
          process.stdout,
          serialiseOneOfMany(options.output, { time, stream, partial, content: content.toString() }),
        );
      else {
        const out = stream === 'stderr' ? process.stderr : process.stdout;
        if (options.timestamps === true && !unfinished.has(stream)) await write(out, `${time} `);
        await write(out, entryBytes(entry));
        if (partial) unfinished.add(stream);
        else unfinished.delete(stream);
      }
    }
    return 0;
  });
}

/** Waits for a slow reader, so that a long log does not accumulate in memory. */
async function write(stream: NodeJS.WriteStream, data: string | Buffer): Promise<void> {
  if (!stream.write(data)) await once(stream, 'drain');
}
