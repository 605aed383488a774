import { parseReference } from '../../base/distribution/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import type { PathSegment } from '../../base/schema/index.ts';
import { recordOf } from '../json/strict-json.ts';
import { groupOf, unreadParts } from './unread-parts.ts';
import type { ObjectName, UnreadPart } from './unread-parts.ts';

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
  /** An object was read. */
  object?(name: ObjectName): void;
  /** A part of a custom object may lead to images that are not read. */
  unread?(part: UnreadPart): void;
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
/**
 * Fields that controllers turn into containers: templates of Argo Workflows (`container`, `script`,
 * `sidecars`), and tasks of Tekton (`steps`, `sidecars`, `stepTemplate`). Built-in kinds have no such fields.
 */
const customLists = ['steps', 'sidecars'] as const;
const customSingles = ['container', 'script', 'stepTemplate'] as const;
/** References of Tekton. With a resolver or a bundle, what they name is fetched when they run. */
const customRefs = ['taskRef', 'pipelineRef'] as const;
/** A text that may name an image, also by an escape, a tag or a parameter. Go ignores the case of names. */
const mayNameImage = /image|[\\!]|\{\{/iu;

/** The advice about a reference that cannot be parsed. */
export const correctReference = 'write it like registry.example.com/team/app:1';

/** Returns why a text is not an image reference; undefined if it is one. */
export function referenceProblem(reference: string): string | undefined {
  try {
    parseReference(reference);
    return undefined;
  } catch (error) {
    return `${JSON.stringify(reference.slice(0, 300))} is not an image reference: ${reasonOf(error)}`;
  }
}

/**
 * Returns the path of the pod's spec in an object of a built-in kind; undefined for every other object.
 */
export function podSpecPath(value: unknown): readonly string[] | undefined {
  const object = recordOf(value);
  const kind = textOf(object?.['kind']) ?? '';
  return isBuiltIn(object) && Object.hasOwn(podSpecs, kind) ? podSpecs[kind] : undefined;
}

const isBuiltIn = (object: Readonly<Record<string, unknown>> | undefined): boolean =>
  builtInGroups.test(textOf(object?.['apiVersion']) ?? '');

/**
 * Reads the images of a Kubernetes object, and of each object of a List: those of containers of every kind
 * and of image volumes. Every list of containers counts, wherever it is, so that a custom workload is not
 * skipped.
 * @param namespace the namespace of an object that names none
 * @param list the object whose item this is
 */
export function readWorkload(
  value: unknown,
  namespace: string,
  reader: WorkloadReader,
  path: readonly PathSegment[] = [],
  list?: Pick<Reading, 'isCustom' | 'group'>,
): void {
  const object = recordOf(value);
  if (object === undefined) return;
  const { items, ...rest } = object;
  // The items of a custom object are parts of it: its controller may run them, whatever they say they are.
  const isCustom = list?.isCustom === true || !isBuiltIn(object);
  const group = object['apiVersion'] === undefined ? (list?.group ?? '') : groupOf(object['apiVersion']);
  // Whatever its kind, kubectl applies every item of an object that has items.
  if (Array.isArray(items))
    for (const [index, item] of items.entries())
      readWorkload(item, namespace, reader, [...path, 'items', index], { isCustom, group });
  const kind = typeof object['kind'] === 'string' ? object['kind'] : '';
  const metadata = recordOf(object['metadata']);
  const own = textOf(metadata?.['namespace']) ?? '';
  const inNamespace = own === '' ? namespace : own;
  const ownName = textOf(metadata?.['name']) ?? '';
  const name = ownName === '' ? (textOf(metadata?.['generateName']) ?? '') : ownName;
  const called = `${kind} ${inNamespace === '' ? '' : `${inNamespace}/`}${name}`.trim();
  const steps = podSpecPath(object) ?? [];
  const spec = steps.reduce<unknown>((part, step) => recordOf(part)?.[step], object);
  if (recordOf(spec) === undefined)
    reader.problem(path, `the ${called} has no ${steps.join('.')}`, 'complete the object');
  readPart(Array.isArray(items) ? rest : object, [...path], {
    ...{ called, namespace: inNamespace, reader, group, depth: path.length, read: new Set() },
    isCustom,
  });
  // A generated name is only the beginning of a name: no reference means that object.
  if (ownName !== '') reader.object?.({ group, kind, namespace: inNamespace, name: ownName });
}

interface Reading {
  readonly called: string;
  readonly namespace: string;
  readonly reader: WorkloadReader;
  /** The object is of a group that Kubernetes does not have itself. */
  readonly isCustom: boolean;
  readonly group: string;
  /** How many steps of a path lead to the object. */
  readonly depth: number;
  /** The paths that were read as images, as JSON. */
  readonly read: Set<string>;
}

/**
 * Reads every list of containers of an object, wherever it is.
 * @param path changed during the call: copies of the path of each part would cost its depth, for each part
 */
function readPart(part: unknown, path: PathSegment[], reading: Reading): void {
  if (Array.isArray(part)) {
    for (const [index, entry] of part.entries()) readBelow(entry, path, index, reading);
    return;
  }
  const record = recordOf(part);
  if (record === undefined) return;
  const isSpec = containerLists.some((list) => Array.isArray(record[list]));
  if (isSpec) readContainers(record, path, reading);
  // Workflows of Argo and tasks of Tekton have volumes without such a list.
  if (isSpec || (reading.isCustom && path[reading.depth] !== 'status'))
    readVolumes(record, path, isSpec, reading);
  if (reading.isCustom) {
    readCustom(record, path, reading);
    if (mayRun(path, reading))
      for (const unread of unreadParts(record, path, reading, (at) => reading.read.has(JSON.stringify(at))))
        reading.reader.unread?.(unread);
  }
  // A map can have hundreds of thousands of keys, and each pair of Object.entries would be an object.
  for (const key of Object.keys(record))
    if (key === '<<' && reading.reader.mergeKey !== undefined) reading.reader.mergeKey([...path, key]);
    else readBelow(record[key], path, key, reading);
}

function readBelow(part: unknown, path: PathSegment[], segment: PathSegment, reading: Reading): void {
  if (typeof part !== 'object' || part === null) return;
  path.push(segment);
  readPart(part, path, reading);
  path.pop();
}

/** Nothing runs from what a controller reports, or from the schema of a custom resource. */
function mayRun(path: readonly PathSegment[], { group, depth, reader }: Reading): boolean {
  return reader.unread !== undefined && path[depth] !== 'status' && group !== 'apiextensions.k8s.io';
}

function readContainers(
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
}

/** @param isSpec of a pod. Elsewhere, a volume with an image in another form is a part that is not read */
function readVolumes(
  spec: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  isSpec: boolean,
  reading: Reading,
): void {
  const volumes = spec['volumes'];
  for (const [index, volume] of (Array.isArray(volumes) ? volumes : []).entries()) {
    const image = recordOf(recordOf(volume)?.['image']);
    if (image === undefined || (!isSpec && typeof image['reference'] !== 'string')) continue;
    const object = `${reading.called}, volume ${textOf(recordOf(volume)?.['name']) ?? index}`;
    const at = [...path, 'volumes', index, 'image'];
    reading.read.add(JSON.stringify(at));
    readImage(image['reference'], [...at, 'reference'], object, reading);
  }
}

/** Reads the containers of controllers. Other kinds use the names of these fields for something else. */
function readCustom(
  part: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  reading: Reading,
): void {
  refuseUnread(part, path, reading);
  for (const field of customSingles) {
    const { image } = recordOf(part[field]) ?? {};
    if (image !== undefined)
      readImage(image, [...path, field, 'image'], `${reading.called}, ${field}`, reading);
  }
  for (const list of customLists) {
    const entries = part[list];
    if (!Array.isArray(entries)) continue;
    for (const [index, entry] of entries.entries()) {
      const { image, ref, name } = recordOf(entry) ?? {};
      const object = `${reading.called}, ${list} ${textOf(name) ?? index}`;
      if (image !== undefined) readImage(image, [...path, list, index, 'image'], object, reading);
      else if (recordOf(ref) !== undefined)
        reading.reader.problem(
          [...path, list, index, 'ref'],
          `${object}: its image is in another object, which is not read`,
          'name the image of the step itself, or admit the object that it refers to and leave this one out',
        );
    }
  }
}

/** Reports what becomes containers and cannot be read: texts of Argo Workflows, and what Tekton fetches. */
function refuseUnread(
  part: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  { called, reader }: Reading,
): void {
  const resource = recordOf(part['resource']) ?? {};
  for (const [text, steps] of [
    [part['podSpecPatch'], ['podSpecPatch']],
    [resource['manifest'], ['resource', 'manifest']],
  ] as const)
    if (typeof text === 'string' && mayNameImage.test(text))
      reader.problem(
        [...path, ...steps],
        `${called}, ${steps.join('.')}: images in a text are not read`,
        'write images in fields of the object, and no image, parameter, escape or tag in the text',
      );
  if (recordOf(resource['manifestFrom']) !== undefined)
    reader.problem(
      [...path, 'resource', 'manifestFrom'],
      `${called}: the manifest is an artifact, which is not read`,
      'admit the manifest itself, and leave this object out',
    );
  for (const field of customRefs) {
    const { resolver, bundle } = recordOf(part[field]) ?? {};
    if (resolver !== undefined || bundle !== undefined)
      reader.problem(
        [...path, field],
        `${called}, ${field}: its images are in another object, which is fetched when it runs and is not read`,
        'refer to an object of the cluster by its name, and admit that object, too',
      );
  }
}

function readImage(
  reference: unknown,
  path: readonly PathSegment[],
  object: string,
  { namespace, reader, read }: Reading,
): void {
  read.add(JSON.stringify(path));
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
