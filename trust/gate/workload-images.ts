import { parseReference } from '../../base/distribution/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import type { PathSegment } from '../../base/schema/index.ts';
import { recordOf } from '../json/strict-json.ts';

/** An image that a Kubernetes object names. */
export interface WorkloadImage {
  /** As written. */
  readonly reference: string;
  readonly path: readonly PathSegment[];
  /** Such as `Deployment shop/web, container app`. */
  readonly object: string;
  /** The object's own namespace, or the one that was given. */
  readonly namespace: string;
}

/** Receives what an object names. */
export interface WorkloadReader {
  image(image: WorkloadImage): void;
  problem(path: readonly PathSegment[], message: string, fix: string): void;
  /** There is a key `<<`, which is the merge key of YAML 1.1. Absent: such a key means nothing. */
  mergeKey?(path: readonly PathSegment[]): void;
}

/** The path of the pod's spec in each kind of workload (Kubernetes API reference, Workload Resources). */
const podSpecs: Readonly<Record<string, readonly string[]>> = {
  Pod: ['spec'],
  PodTemplate: ['template', 'spec'],
  ...Object.fromEntries(
    ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'ReplicationController', 'Job'].map((kind) => [
      kind,
      ['spec', 'template', 'spec'],
    ]),
  ),
  CronJob: ['spec', 'jobTemplate', 'spec', 'template', 'spec'],
};
/** Another group may use the name of such a kind for something else. */
const builtInGroups = /^((apps|batch|extensions)\/.*|v1|)$/;
const containerLists = ['initContainers', 'containers', 'ephemeralContainers'] as const;

/** What to do about a reference that cannot be parsed. */
export const correctReference = 'write it like registry.example.com/team/app:1';

/** Returns why a text is no image reference; undefined if it is one. */
export function referenceProblem(reference: string): string | undefined {
  try {
    parseReference(reference);
    return undefined;
  } catch (error) {
    return `${JSON.stringify(reference.slice(0, 300))} is no image reference: ${reasonOf(error)}`;
  }
}

/**
 * Returns the path of the pod's spec in an object of a built-in kind; undefined for every other object.
 */
export function podSpecPath(value: unknown): readonly string[] | undefined {
  const object = recordOf(value);
  const kind = textOf(object?.['kind']) ?? '';
  const builtIn = builtInGroups.test(textOf(object?.['apiVersion']) ?? '');
  return builtIn && Object.hasOwn(podSpecs, kind) ? podSpecs[kind] : undefined;
}

/**
 * Reads the images of a Kubernetes object, and of each object of a List: those of containers of every kind
 * and of image volumes. Every list of containers counts, wherever it is, so that a custom workload is not
 * skipped.
 * @param namespace the namespace of an object that names none
 */
export function readWorkload(
  value: unknown,
  namespace: string,
  reader: WorkloadReader,
  path: readonly PathSegment[] = [],
): void {
  const object = recordOf(value);
  if (object === undefined) return;
  const { items, ...rest } = object;
  // Whatever its kind, kubectl applies every item of an object that has items.
  if (Array.isArray(items))
    for (const [index, item] of items.entries())
      readWorkload(item, namespace, reader, [...path, 'items', index]);
  const kind = typeof object['kind'] === 'string' ? object['kind'] : '';
  const metadata = recordOf(object['metadata']);
  const own = textOf(metadata?.['namespace']) ?? '';
  const inNamespace = own === '' ? namespace : own;
  const name = textOf(metadata?.['name']) ?? textOf(metadata?.['generateName']) ?? '';
  const called = `${kind} ${inNamespace === '' ? '' : `${inNamespace}/`}${name}`.trim();
  const steps = podSpecPath(object) ?? [];
  const spec = steps.reduce<unknown>((part, step) => recordOf(part)?.[step], object);
  if (recordOf(spec) === undefined)
    reader.problem(path, `the ${called} has no ${steps.join('.')}`, 'complete the object');
  readPart(Array.isArray(items) ? rest : object, path, { called, namespace: inNamespace, reader });
}

interface Reading {
  readonly called: string;
  readonly namespace: string;
  readonly reader: WorkloadReader;
}

/** Reads every list of containers of an object, wherever it is. */
function readPart(part: unknown, path: readonly PathSegment[], reading: Reading): void {
  if (Array.isArray(part)) {
    for (const [index, entry] of part.entries()) readPart(entry, [...path, index], reading);
    return;
  }
  const record = recordOf(part);
  if (record === undefined) return;
  if (containerLists.some((list) => Array.isArray(record[list]))) readSpec(record, path, reading);
  for (const [key, value] of Object.entries(record))
    if (key === '<<' && reading.reader.mergeKey !== undefined) reading.reader.mergeKey([...path, key]);
    else readPart(value, [...path, key], reading);
}

function readSpec(
  spec: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  reading: Reading,
): void {
  for (const list of containerLists) {
    const containers = spec[list];
    if (!Array.isArray(containers)) continue;
    for (const [index, container] of containers.entries()) {
      const object = `${reading.called}, container ${textOf(recordOf(container)?.['name']) ?? index}`;
      readImage(recordOf(container)?.['image'], [...path, list, index, 'image'], object, reading);
    }
  }
  const volumes = spec['volumes'];
  for (const [index, volume] of (Array.isArray(volumes) ? volumes : []).entries()) {
    const image = recordOf(recordOf(volume)?.['image']);
    if (image === undefined) continue;
    const object = `${reading.called}, volume ${textOf(recordOf(volume)?.['name']) ?? index}`;
    readImage(image['reference'], [...path, 'volumes', index, 'image', 'reference'], object, reading);
  }
}

function readImage(
  reference: unknown,
  path: readonly PathSegment[],
  object: string,
  { namespace, reader }: Reading,
): void {
  const problem =
    typeof reference === 'string' && reference !== ''
      ? referenceProblem(reference)
      : 'it names no image to decide about';
  if (problem !== undefined) reader.problem(path, `${object}: ${problem}`, correctReference);
  else reader.image({ reference: String(reference), path, object, namespace });
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
