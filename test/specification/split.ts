import type { Run, TraceEvent } from './events.ts';

/**
 * The history of one pod, with names that count from one: `c1`, `i1`, `v1`. Pods share only images, so each
 * pod is checked against Life separately.
 */
export interface PodTrace {
  /** The run and the pod, for readers of the report. */
  readonly name: string;
  /** The names of containers, by their ids here: `n1`, `n2`. */
  readonly names: Readonly<Record<string, string>>;
  readonly host: boolean;
  readonly machine: boolean;
  readonly events: readonly NamedEvent[];
  /** Events of the network's own database: each lies between `least` and `most` of `events`. */
  readonly links: readonly (NamedEvent & { readonly least: number; readonly most: number })[];
}

export interface NamedEvent {
  readonly kind: string;
  readonly id: string;
  readonly to: string;
  readonly how: string;
  readonly image: string;
  readonly verdict: string;
  readonly back?: Readonly<Record<string, string>>;
}

/**
 * Returns the traces of the pods of a run, and one of its images.
 * @throws Error when the run shows no pod, or no image where it is of images: a check of nothing proves
 * nothing
 */
export function splitRun(run: Run): readonly PodTrace[] {
  const pods = new Map<string, number>();
  run.events.forEach(({ kind, id }, index) => {
    if (kind === 'pod' && !pods.has(id)) pods.set(id, index);
  });
  if (run.of === 'images' ? !run.events.some(({ kind }) => kind === 'image') : pods.size === 0)
    throw new Error(
      `the trace of ${run.source} is empty: it shows no ${run.of === 'images' ? 'image' : 'pod'}`,
    );
  // Events of a pod that was never recorded cannot be explained.
  const strays = run.events.filter(
    (event) =>
      (event.kind === 'link' && !pods.has(event.id)) ||
      (event.kind === 'container' && event.to === 'creating' && !pods.has(event.pod ?? '')),
  );
  return [
    ...[...pods.keys()].map((pod) => ofPod(run, pod)),
    ...strays.map((event) => named(run, `without a pod: ${event.kind} ${event.id}`, [event], [])),
    named(
      run,
      'images',
      run.events.filter((event) => event.kind === 'image' || event.kind === 'verdict' || isOfAll(event)),
      [],
    ),
  ].filter(({ events, links }) => events.length + links.length > 0);
}

/** Returns whether an event affects all pods and images. */
const isOfAll = ({ kind }: TraceEvent): boolean => kind === 'machine' || kind === 'daemon';

function ofPod(run: Run, pod: string): PodTrace {
  const containers = new Map(
    run.events
      .filter((event) => event.kind === 'container' && event.pod === pod)
      .map((event) => [event.id, event]),
  );
  const isOwn = ({ kind, id }: TraceEvent): boolean =>
    kind === 'pod'
      ? id === pod
      : (kind === 'container' || kind === 'process' || kind === 'exit') && containers.has(id);
  const first = run.events.findIndex(isOwn);
  const isOver = run.events.some(({ kind, id, to }) => kind === 'pod' && id === pod && to === 'gone');
  const last = isOver ? run.events.findLastIndex(isOwn) : run.events.length - 1;
  const uses = [...containers.values()];
  const images = new Set(uses.map(({ image }) => image));
  const ofImages = run.events.slice(0, last + 1).filter(({ kind, id }) => kind === 'image' && images.has(id));
  const verdicts = new Set([...uses, ...ofImages].map(({ verdict }) => verdict));
  const concerns = (event: TraceEvent): boolean =>
    isOwn(event) ||
    isOfAll(event) ||
    (event.kind === 'image' && images.has(event.id)) ||
    (event.kind === 'verdict' && verdicts.has(event.id));
  // Before the pod, only the final state matters.
  const before = run.events.slice(0, first);
  const existing = [...images].flatMap((image) => {
    const own = before.filter(({ kind, id }) => kind === 'image' && id === image);
    const latest = own.findLast(({ to }) => to !== 'swept');
    if (latest?.to !== 'gone') return latest === undefined ? [] : [latest];
    // An image that was removed and is not swept yet still has its layers.
    const ready = own.findLast(({ to }) => to === 'ready');
    return latest === own.at(-1) && ready !== undefined ? [ready, latest] : [];
  });
  const judged = before.filter(({ kind, id }) => kind === 'verdict' && verdicts.has(id));
  const events = [...judged, ...existing, ...run.events.slice(first, last + 1).filter(concerns)];
  const links = run.events.filter(({ kind, id }) => kind === 'link' && id === pod);
  return named(run, `pod ${pod}`, events, links);
}

function named(
  run: Run,
  name: string,
  events: readonly TraceEvent[],
  links: readonly TraceEvent[],
): PodTrace {
  const names = {
    c: new Map<string, string>(),
    i: new Map<string, string>(),
    n: new Map<string, string>(),
    v: new Map<string, string>(),
  };
  const nameOf = (sort: keyof typeof names, id: string | undefined): string => {
    if (id === undefined) return 'none';
    const known = names[sort].get(id) ?? `${sort}${names[sort].size + 1}`;
    names[sort].set(id, known);
    return known;
  };
  const idOf = ({ kind, id }: TraceEvent): string => {
    if (kind === 'pod' || kind === 'link' || kind === 'machine' || kind === 'daemon') return kind;
    return nameOf(kind === 'image' ? 'i' : kind === 'verdict' ? 'v' : 'c', id);
  };
  const rename = (event: TraceEvent): NamedEvent => ({
    kind: event.kind,
    id: idOf(event),
    to: event.to,
    how: event.how ?? 'none',
    image: nameOf('i', event.image),
    verdict: nameOf('v', event.verdict),
    ...(event.kind === 'machine' && { back: backOf(event) }),
  });
  /** Returns the rolled-back containers that the trace has. */
  const backOf = ({ back = {} }: TraceEvent): Record<string, string> =>
    Object.fromEntries(
      Object.entries(back).flatMap(([id, phase]) =>
        names.c.has(id) ? [[nameOf('c', id), phase] as const] : [],
      ),
    );
  const ofContainers = events.flatMap((event) =>
    event.kind === 'container' && event.name !== undefined
      ? [[nameOf('c', event.id), nameOf('n', event.name)] as const]
      : [],
  );
  return {
    names: Object.fromEntries(ofContainers),
    name: `${run.source}, ${name}`,
    host: events.some(({ host }) => host === true),
    machine: run.machine,
    events: events.map(rename),
    links: links.map((link) => ({
      ...rename(link),
      least: events.filter(({ at }) => at < link.at).length,
      most: events.filter(({ at }) => at <= link.at).length,
    })),
  };
}
