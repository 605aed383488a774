import { PortcullisError } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import { describeProblems, parseDocuments, problemAt, sortProblems } from '../../base/schema/index.ts';
import type { Problem } from '../../base/schema/index.ts';
import { normaliseReference } from '../requirements/named-images.ts';
import type { GateQuestion, GateUnread } from './types.ts';
import { keyOf } from './unread-parts.ts';
import type { UnreadPart } from './unread-parts.ts';
import { correctReference, readWorkload, referenceProblem } from './workload-images.ts';
import type { WorkloadReader } from './workload-images.ts';

/** A text that names images, and the name of its file for messages. */
export interface ImageSource {
  readonly file: string;
  readonly text: string;
}

/** Images that sources name. */
interface NamedImages {
  readonly questions: readonly GateQuestion[];
  /** Parts of custom objects that may lead to images, which nobody has read. */
  readonly unread: readonly GateUnread[];
}

/** A rendered chart has some hundred kilobytes. Parsing takes about a second for each megabyte. */
export const largestSource = 4 * 1024 * 1024;
const maximumDocuments = 10_000;
const maximumImages = 10_000;

/**
 * Reads the images of lists (one reference on each line, `#` starts a comment) and of Kubernetes manifests
 * (YAML or JSON): those of containers of every kind and of image volumes, in each object and each List. Every
 * list of containers counts, wherever it is, so that a custom workload is not skipped. What a custom object
 * refers to by name counts as read if one of the sources has that object. A field of a custom object that is
 * called like an image counts as read if the same run decides about that image.
 * @param namespace the namespace of objects that name none, and of lists
 * @param named other references that the run decides about
 * @throws PortcullisError `TRUST_GATE_IMAGES_INVALID` with every problem, each with file, line and column
 */
export function readImageSources(
  sources: readonly ImageSource[],
  namespace: string,
  named: readonly string[] = [],
): NamedImages {
  const found: GateQuestion[] = [];
  const problems: Problem[] = [];
  const parts: FoundInManifests = { unread: [], objects: new Set() };
  for (const source of sources) {
    // Before anything else: a comment of a list could hide a manifest from this reader.
    const otherEnd = otherLineEnd.exec(source.text);
    if (otherEnd !== null) {
      problems.push(dividedLine(source.file, source.text, otherEnd));
      continue;
    }
    append(
      found,
      isList(source.text)
        ? readList(source, namespace, problems)
        : readManifests(source, namespace, problems, parts),
    );
    if (found.length > maximumImages) {
      const position = { file: source.file, line: 1, column: 1 };
      const message = `more than ${maximumImages} images are named`;
      problems.push({ position, path: '', message, fix: 'check them in several runs' });
      break;
    }
  }
  if (problems.length > 0) throw invalid(sources, sortProblems(problems));
  const asked = new Set([...named, ...found.map(({ reference }) => reference)].map(normalised));
  const unread = parts.unread.filter(
    ({ target, image }) =>
      (target === undefined || target.name === '' || !parts.objects.has(keyOf(target))) &&
      (image === undefined || !asked.has(normalised(image))),
  );
  return { questions: found, unread: unread.map(({ place, why, fix }) => ({ place, why, fix })) };
}

interface FoundInManifests {
  readonly unread: (UnreadPart & Pick<GateUnread, 'place'>)[];
  /** Names of the objects that were read. */
  readonly objects: Set<string>;
}

function normalised(reference: string): string {
  return referenceProblem(reference) === undefined ? normaliseReference(reference).text : reference;
}

/** A manifest has a line with a space in it, or begins with a bracket. A list has neither. */
function isList(text: string): boolean {
  const lines = text
    .split('\n')
    .map(contentOf)
    .filter((line) => line !== '');
  return lines.every((line) => !/\s/.test(line) && !/^[{[]|^---|:$/.test(line));
}

const contentOf = (line: string): string => line.replace(/(^|\s)#.*$/s, '').trim();

function readList({ file, text }: ImageSource, namespace: string, problems: Problem[]): GateQuestion[] {
  const found = text.split('\n').flatMap((line, index) => {
    const reference = contentOf(line);
    if (reference === '') return [];
    const place = { file, line: index + 1, column: line.indexOf(reference) + 1 };
    const problem = referenceProblem(reference);
    if (problem !== undefined)
      problems.push({ position: place, path: '', message: problem, fix: correctReference });
    return [{ reference, namespace, places: [place] }];
  });
  if (found.length === 0) problems.push(empty(file));
  return found;
}

const empty = (file: string): Problem => ({
  position: { file, line: 1, column: 1 },
  path: '',
  message: 'it names no image',
  fix: 'name a list of references, or manifests with workloads',
});

function readManifests(
  { file, text }: ImageSource,
  namespace: string,
  problems: Problem[],
  parts: FoundInManifests,
): GateQuestion[] {
  const parsed = parseDocuments(text, file, { bytes: largestSource, documents: maximumDocuments });
  append(problems, parsed.problems);
  const found: GateQuestion[] = [];
  const before = parts.unread.length;
  for (const document of parsed.documents) {
    const problem: WorkloadReader['problem'] = (path, message, fix) =>
      problems.push(problemAt(document, path, message, fix));
    readWorkload(document.value, namespace, {
      image: ({ path, object, ...image }) =>
        found.push({ ...image, places: [{ ...document.positionOf(path), object }] }),
      problem,
      mergeKey: (path) =>
        problem(
          path,
          'kubectl adds fields for the merge key `<<`, which the gate does not read',
          'write these fields without a merge key',
        ),
      object: (name) => parts.objects.add(keyOf(name)),
      unread: (part) =>
        parts.unread.push({ ...part, place: { ...document.positionOf(part.path), object: part.object } }),
    });
  }
  const isEmpty = found.length === 0 && parts.unread.length === before;
  if (isEmpty && parsed.problems.length === 0) problems.push(empty(file));
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
