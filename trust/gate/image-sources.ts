import { parseReference } from '../../base/distribution/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import { describeProblems, parseDocuments, problemAt, sortProblems } from '../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../base/schema/index.ts';
import { recordOf } from '../json/strict-json.ts';
import type { GateQuestion } from './types.ts';

/** A text that names images, and the name of its file for messages. */
export interface ImageSource {
  readonly file: string;
  readonly text: string;
}

/** A rendered chart has some hundred kilobytes. Parsing takes about a second for each megabyte. */
export const largestSource = 4 * 1024 * 1024;
const maximumDocuments = 10_000;
const maximumImages = 10_000;

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
 * Reads the images of lists (one reference on each line, `#` starts a comment) and of Kubernetes manifests
 * (YAML or JSON): those of containers of every kind and of image volumes, in each object and each List. Every
 * list of containers counts, wherever it is, so that a custom workload is not skipped.
 * @param namespace the namespace of objects that name none, and of lists
 * @throws PortcullisError `TRUST_GATE_IMAGES_INVALID` with every problem, each with file, line and column
 */
export function readImageSources(
  sources: readonly ImageSource[],
  namespace: string,
): readonly GateQuestion[] {
  const found: GateQuestion[] = [];
  const problems: Problem[] = [];
  for (const source of sources) {
    append(
      found,
      isList(source.text)
        ? readList(source, namespace, problems)
        : readManifests(source, namespace, problems),
    );
    if (found.length > maximumImages) {
      const position = { file: source.file, line: 1, column: 1 };
      const message = `more than ${maximumImages} images are named`;
      problems.push({ position, path: '', message, fix: 'ask about them in several runs' });
      break;
    }
  }
  if (problems.length > 0) throw invalid(sources, sortProblems(problems));
  return found;
}

/** A manifest has a line with a space in it, or begins with a bracket. A list has neither. */
function isList(text: string): boolean {
  const lines = text
    .split('\n')
    .map(contentOf)
    .filter((line) => line !== '');
  return lines.every((line) => !/\s/.test(line) && !/^[{[]|^---|:$/.test(line));
}

const contentOf = (line: string): string => line.replace(/(^|\s)#.*$/, '').trim();

function readList({ file, text }: ImageSource, namespace: string, problems: Problem[]): GateQuestion[] {
  const found = text.split('\n').flatMap((line, index) => {
    const reference = contentOf(line);
    if (reference === '') return [];
    const place = { file, line: index + 1, column: line.indexOf(reference) + 1 };
    const problem = problemOf(reference);
    if (problem !== undefined) problems.push({ position: place, path: '', message: problem, fix: correct });
    return [{ reference, namespace, places: [place] }];
  });
  if (found.length === 0) problems.push(empty(file));
  return found;
}

const correct = 'write it like registry.example.com/team/app:1';

function problemOf(reference: string): string | undefined {
  try {
    parseReference(reference);
    return undefined;
  } catch (error) {
    return `${JSON.stringify(reference.slice(0, 300))} is no image reference: ${reasonOf(error)}`;
  }
}

const empty = (file: string): Problem => ({
  position: { file, line: 1, column: 1 },
  path: '',
  message: 'it names no image',
  fix: 'name a list of references, or manifests with workloads',
});

/** What is read of one file. */
interface Reading {
  readonly document: Document;
  readonly namespace: string;
  readonly problems: Problem[];
  readonly found: GateQuestion[];
}

function readManifests({ file, text }: ImageSource, namespace: string, problems: Problem[]): GateQuestion[] {
  const otherEnd = otherLineEnd.exec(text);
  if (otherEnd !== null) {
    problems.push(dividedLine(file, text, otherEnd));
    return [];
  }
  const parsed = parseDocuments(text, file, { bytes: largestSource, documents: maximumDocuments });
  append(problems, parsed.problems);
  const found: GateQuestion[] = [];
  for (const document of parsed.documents)
    readObject(document.value, [], { document, namespace, problems, found });
  if (found.length === 0 && parsed.problems.length === 0) problems.push(empty(file));
  return found;
}

/** YAML 1.1, which kubectl reads, ends a line here (section 4.2): after a comment, for example. */
const otherLineEnd = /\r(?!\n)|[\u0085\u2028\u2029]/;

function dividedLine(file: string, text: string, { index, 0: end }: RegExpExecArray): Problem {
  const before = text.slice(0, index).split('\n');
  const code = end.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
  return {
    position: { file, line: before.length, column: (before.at(-1)?.length ?? 0) + 1 },
    path: '',
    message: `the character U+${code} ends a line for some readers of YAML, and not for others`,
    fix: 'end lines with a line feed, and write the character as an escape within quotes',
  };
}

function readObject(value: unknown, path: readonly PathSegment[], reading: Reading): void {
  const object = recordOf(value);
  if (object === undefined) return;
  const { items, ...rest } = object;
  // Whatever its kind, kubectl applies every item of an object that has items.
  if (Array.isArray(items))
    for (const [index, item] of items.entries()) readObject(item, [...path, 'items', index], reading);
  const kind = typeof object['kind'] === 'string' ? object['kind'] : '';
  const metadata = recordOf(object['metadata']);
  const own = textOf(metadata?.['namespace']) ?? '';
  const namespace = own === '' ? reading.namespace : own;
  const name = textOf(metadata?.['name']) ?? textOf(metadata?.['generateName']) ?? '';
  const called = `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`.trim();
  const builtIn = builtInGroups.test(textOf(object['apiVersion']) ?? '');
  const steps = builtIn && Object.hasOwn(podSpecs, kind) ? (podSpecs[kind] ?? []) : [];
  const spec = steps.reduce<unknown>((part, step) => recordOf(part)?.[step], object);
  if (recordOf(spec) === undefined)
    reading.problems.push(
      problemAt(reading.document, path, `the ${called} has no ${steps.join('.')}`, 'complete the object'),
    );
  readPart(Array.isArray(items) ? rest : object, path, called, { ...reading, namespace });
}

/** Reads every list of containers of an object, wherever it is. */
function readPart(part: unknown, path: readonly PathSegment[], called: string, reading: Reading): void {
  if (Array.isArray(part)) {
    for (const [index, entry] of part.entries()) readPart(entry, [...path, index], called, reading);
    return;
  }
  const record = recordOf(part);
  if (record === undefined) return;
  if (containerLists.some((list) => Array.isArray(record[list]))) readSpec(record, path, called, reading);
  for (const [key, value] of Object.entries(record))
    if (key === '<<')
      reading.problems.push(
        problemAt(
          reading.document,
          [...path, key],
          'kubectl adds fields for the merge key `<<`, which the gate does not read',
          'write the fields out',
        ),
      );
    else readPart(value, [...path, key], called, reading);
}

function readSpec(
  spec: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  called: string,
  reading: Reading,
): void {
  for (const list of containerLists) {
    const containers = spec[list];
    if (!Array.isArray(containers)) continue;
    for (const [index, container] of containers.entries()) {
      const object = `${called}, container ${textOf(recordOf(container)?.['name']) ?? index}`;
      readImage(recordOf(container)?.['image'], [...path, list, index, 'image'], object, reading);
    }
  }
  const volumes = spec['volumes'];
  for (const [index, volume] of (Array.isArray(volumes) ? volumes : []).entries()) {
    const image = recordOf(recordOf(volume)?.['image']);
    if (image === undefined) continue;
    const object = `${called}, volume ${textOf(recordOf(volume)?.['name']) ?? index}`;
    readImage(image['reference'], [...path, 'volumes', index, 'image', 'reference'], object, reading);
  }
}

function readImage(
  reference: unknown,
  path: readonly PathSegment[],
  object: string,
  { document, namespace, problems, found }: Reading,
): void {
  const problem =
    typeof reference === 'string' && reference !== ''
      ? problemOf(reference)
      : 'it names no image to decide about';
  if (problem !== undefined) problems.push(problemAt(document, path, `${object}: ${problem}`, correct));
  else
    found.push({
      reference: String(reference),
      namespace,
      places: [{ ...document.positionOf(path), object }],
    });
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function invalid(sources: readonly ImageSource[], problems: readonly Problem[]): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_GATE_IMAGES_INVALID',
    kind: 'invalid',
    attempted: 'read the images to decide about',
    on: sources.map(({ file }) => file).join(', '),
    why: describeProblems(problems),
    fix: 'correct the lines named',
    details: { problems },
  });
}
