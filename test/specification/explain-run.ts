import type { Run } from './events.ts';
import { splitRun } from './split.ts';
import type { NamedEvent, PodTrace } from './split.ts';
import { runTlc } from './tlc.ts';

/** A trace that Life does not explain, with the first unexplained event. */
export interface Unexplained {
  readonly trace: string;
  readonly step: string;
}

export interface Explanation {
  readonly events: number;
  readonly traces: number;
  /** Traces that differ by more than ids. */
  readonly distinct: number;
  readonly unexplained: readonly Unexplained[];
}

/** The number of writes of a trace that may have been reported as failed and still have taken effect. */
const failedWrites = 4;

/** The number of traces that are checked at once: TLC keeps the states of all of them. */
const batch = 100;

/**
 * Checks runs against the specification.
 * @throws Error when a run shows nothing
 */
export function explain(runs: readonly Run[]): Explanation {
  if (runs.length === 0) throw new Error('there is no trace');
  const traces = runs.flatMap(splitRun);
  const distinct = [
    ...new Map(traces.map((trace) => [JSON.stringify({ ...trace, name: '' }), trace])).values(),
  ];
  const unexplained: Unexplained[] = [];
  for (let at = 0; at < distinct.length; at += batch)
    unexplained.push(...unexplainedOf(distinct.slice(at, at + batch)));
  return {
    events: runs.reduce((sum, { events }) => sum + events.length, 0),
    traces: traces.length,
    distinct: distinct.length,
    unexplained,
  };
}

function unexplainedOf(traces: readonly PodTrace[]): Unexplained[] {
  const { output } = runTlc(
    'Trace.tla',
    'Trace.cfg',
    { 'TraceData.tla': dataModule(traces) },
    { isShort: true },
  );
  const reached = traces.map(() => ({ at: -1, links: 0 }));
  for (const [, trace = '', at = '', links = ''] of output.matchAll(
    /^<<"explained", (\d+), (\d+), (\d+)>>/gm,
  ))
    reached[Number(trace) - 1] = { at: Number(at), links: Number(links) };
  return traces.flatMap((trace, index) => {
    const { at, links } = reached[index]!;
    // If TLC reported nothing about a trace, it was not checked.
    if (at < 0) throw new Error(`TLC did not begin the trace of ${trace.name}:\n${output.slice(-4_000)}`);
    if (at === trace.events.length && links === trace.links.length) return [];
    const next = [trace.events[at], trace.links[links]].filter((event) => event !== undefined).map(textOf);
    return [
      { trace: trace.name, step: `after ${at} events and ${links} of its link: ${next.join(', or ')}` },
    ];
  });
}

const textOf = ({ kind, id, to, how, image, verdict }: NamedEvent): string =>
  [
    kind,
    id === kind ? '' : id,
    'to',
    to,
    how === 'none' ? '' : `(${how})`,
    image === 'none' ? '' : `of ${image}`,
    verdict === 'none' ? '' : `by ${verdict}`,
  ]
    .filter((word) => word !== '')
    .join(' ');

/** Returns the traces as a TLA+ module. */
function dataModule(traces: readonly PodTrace[]): string {
  const all = traces.flatMap(({ events, links }) => [...events, ...links]);
  const idsOf = (sort: string): string => {
    const found = all
      .flatMap(({ id, image, verdict }) => [id, image, verdict])
      .filter((id) => new RegExp(`^${sort}\\d+$`).test(id));
    return `{${[...new Set([`${sort}1`, ...found])].map((id) => `"${id}"`).join(', ')}}`;
  };
  type Value = string | number | Readonly<Record<string, string>>;
  const valueText = (value: Value): string =>
    typeof value === 'object' ? record(value) : JSON.stringify(value);
  const record = (fields: Readonly<Record<string, Value>>): string => {
    const pairs = Object.entries(fields).map(([name, value]) => `${name} |-> ${valueText(value)}`);
    return pairs.length === 0 ? '<<>>' : `[${pairs.join(', ')}]`;
  };
  const sequence = (events: readonly NamedEvent[]): string =>
    `<<${events.map((event) => `\n    ${record({ ...event })}`).join(',')}>>`;
  const faultsOf = ({ events }: PodTrace): number =>
    events.filter(({ kind }) => kind === 'machine' || kind === 'daemon').length + failedWrites;
  const traceText = (trace: PodTrace): string =>
    `[host |-> ${truth(trace.host)}, machine |-> ${truth(trace.machine)}, faults |-> ${faultsOf(trace)}, names |-> ${valueText(trace.names)},\n  events |-> ${sequence(trace.events)},\n  links |-> ${sequence(trace.links)}]`;
  return [
    '---- MODULE TraceData ----',
    'EXTENDS Naturals',
    `TraceContainers == ${idsOf('c')}`,
    `TraceImages == ${idsOf('i')}`,
    `TraceVerdicts == ${idsOf('v')}`,
    `TraceFaults == ${Math.max(...traces.map(faultsOf))}`,
    `Traces == <<${traces.map(traceText).join(',\n')}>>`,
    '====',
    '',
  ].join('\n');
}

const truth = (value: boolean): string => (value ? 'TRUE' : 'FALSE');
