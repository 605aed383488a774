import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { once } from 'node:events';
import {
  ContainerEventType,
  enforcementEventId,
  enforcementReasons,
  policyEventsHeader,
  policyReasons,
} from '../runtime/index.ts';
import type { ContainerEvent, CriClient } from '../runtime/index.ts';
import { withClient, withSocket } from './options/endpoint.ts';
import { run, serialiseOneOfMany, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { isoTime, shortId } from './output/table.ts';

const filterKeys = ['pod', 'namespace', 'container', 'id', 'type'] as const;
type FilterKey = (typeof filterKeys)[number];
type Filters = ReadonlyMap<FilterKey, readonly string[]>;

interface Options {
  filter?: Filters;
  socket: string;
  output: OutputFormat;
}

/** `portcullis events`: follows the events of pods and containers, from now on. */
export function register(program: Command): void {
  withSocket(withOutput(program.command('events')))
    .description('follow new events of pods and containers')
    .option(
      '--filter <KEY=VALUE>',
      `only events of this ${filterKeys.join(', ')} (repeatable; values of the same key are alternatives, different keys must all match; an id may be abbreviated)`,
      filter,
    )
    .addHelpText(
      'after',
      `
Prints one line per event; with --output json, one object per line. Earlier events are not reported. A reader that is too slow is
disconnected with the number of events it missed.

Examples:
  $ portcullis events
  $ portcullis events --filter namespace=pay --filter type=stopped
  $ portcullis events --filter pod=web --output json | jq .exitCode
`,
    )
    .action((options: Options) => run(options.output, () => report(options)));
}

function filter(text: string, before: Filters = new Map()): Filters {
  const at = text.indexOf('=');
  const key = filterKeys.find((one) => one === text.slice(0, at));
  if (key === undefined || at === text.length - 1)
    throw new InvalidArgumentError(`It must be one of ${filterKeys.join(', ')}, "=" and a value.`);
  const value = text.slice(at + 1);
  if (key === 'type' && !typeNames.includes(value)) {
    throw new InvalidArgumentError(`A type is one of ${typeNames.join(', ')}.`);
  }
  return new Map([...before, [key, [...(before.get(key) ?? []), value]]]);
}

const types: readonly (readonly [number, string])[] = [
  [ContainerEventType.CONTAINER_CREATED_EVENT, 'created'],
  [ContainerEventType.CONTAINER_STARTED_EVENT, 'started'],
  [ContainerEventType.CONTAINER_STOPPED_EVENT, 'stopped'],
  [ContainerEventType.CONTAINER_DELETED_EVENT, 'deleted'],
];

/** Event types for policy events, by the reason in the container's status. */
const policyTypes: Readonly<Record<string, string>> = {
  [policyReasons.out]: 'out-of-policy',
  [policyReasons.in]: 'in-policy',
  [enforcementReasons.pass]: 'enforcement-pass',
  [enforcementReasons.fail]: 'enforcement-fail',
  [enforcementReasons['could not tell']]: 'enforcement-could-not-tell',
};
const typeNames = [...types.map(([, name]) => name), ...Object.values(policyTypes)];

/** An event as the command prints it. */
interface Line {
  readonly time: string;
  readonly type: string;
  readonly kind: 'pod' | 'container' | 'node';
  readonly id: string;
  /** Name of the container; empty when it is no longer known. */
  readonly container: string;
  readonly pod: string;
  readonly namespace: string;
  readonly exitCode?: number;
  readonly reason?: string;
  /** For a policy event the rule and the verdict; for an enforcement event the codes of the findings. */
  readonly message?: string;
}

function report(options: Options): Promise<number> {
  return withClient(options.socket, async (client) => {
    const names = new Map<string, string>();
    // No header precedes the error of a daemon that does not answer.
    const onAccepted = (): void => {
      if (options.output === 'text')
        process.stdout.write(row(['TIME', 'EVENT', 'KIND', 'ID', 'CONTAINER', 'NAMESPACE/POD', '']));
    };
    const headers = { [policyEventsHeader]: '1' };
    const events = client.runtime.getContainerEvents({}, { headers, onAccepted });
    // The event of a deleted container does not contain its name, so names are learned beforehand.
    const listed = learnNames(client, names);
    for await (const event of events) {
      await listed;
      const line = lineOf(event, names);
      if (!selects(options.filter, line)) continue;
      if (options.output !== 'text') await write(serialiseOneOfMany(options.output, line));
      else
        await write(
          row([
            line.time,
            line.type,
            line.kind,
            shortId(line.id),
            line.container,
            `${line.namespace}/${line.pod}`,
            ending(line),
          ]),
        );
    }
    return 0;
  });
}

async function learnNames(client: CriClient, names: Map<string, string>): Promise<void> {
  const { containers } = await client.runtime.listContainers({}).catch(() => ({ containers: [] }));
  for (const { id, metadata } of containers) names.set(id, metadata?.name ?? '');
}

function lineOf(event: ContainerEvent, names: Map<string, string>): Line {
  const { containerId: id, podSandboxStatus: pod } = event;
  for (const status of event.containersStatuses) names.set(status.id, status.metadata?.name ?? '');
  const status = event.containersStatuses.find((one) => one.id === id);
  const policyType = policyTypes[status?.reason ?? ''];
  const type =
    types.find(([number]) => number === event.containerEventType)?.[1] ??
    policyType ??
    String(event.containerEventType);
  const line: Line = {
    time: isoTime(event.createdAt),
    type,
    kind: id === enforcementEventId ? 'node' : pod?.id === id ? 'pod' : 'container',
    id,
    container: names.get(id) ?? '',
    pod: pod?.metadata?.name ?? '',
    namespace: pod?.metadata?.namespace ?? '',
    ...(policyType !== undefined &&
      type === policyType &&
      status?.message !== '' && { message: status?.message ?? '' }),
    ...(type === 'stopped' && status !== undefined && { exitCode: status.exitCode, reason: status.reason }),
  };
  if (type === 'deleted') names.delete(id);
  return line;
}

function selects(filters: Filters | undefined, line: Line): boolean {
  return [...(filters ?? [])].every(([key, values]) =>
    values.some((value) => (key === 'id' ? line.id.startsWith(value) : line[key] === value)),
  );
}

function ending({ exitCode, reason, message }: Line): string {
  if (message !== undefined) return message.replace(/[\p{Cc}\p{Cf}]/gu, '?');
  return exitCode === undefined ? '' : `exit code ${exitCode} (${reason ?? ''})`;
}

/** Fixed column widths, because later events are not known yet. */
const widths = [24, 13, 9, 13, 20, 32, 0];

function row(cells: readonly string[]): string {
  return `${cells
    .map((cell, index) => cell.padEnd(widths[index] ?? 0))
    .join('  ')
    .trimEnd()}\n`;
}

/** Waits for a slow reader, so that the daemon, not this process, reports the lost events. */
async function write(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}
