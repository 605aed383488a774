import { append } from '../../../base/lists/index.ts';
import { formatProblems, validate } from '../../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../../base/schema/index.ts';
import type { FileResult as ResultOf, SourceText } from '../../followed-files/messages.ts';
import { documentsIn, limits, withoutNulls } from './documents.ts';
import type { FileReading } from './join.ts';
import type { Labels, NetworkPolicy, Selector } from './network-policy.ts';
import { selectorOf, specOf } from './policy-spec.ts';
import type { Report, WrittenPolicy, WrittenSelector } from './policy-spec.ts';
import { namespaceSchema, networkPolicySchema, selectorSchema } from './schema.ts';

/**
 * Reads policies and namespaces from the text of one file. Pure.
 *
 * Two kinds of problems are distinguished. A file that cannot be read as a whole (it is empty, not YAML, or
 * has a document of another kind) defines nothing: it may be half written. In a valid file, an object that is
 * not a valid NetworkPolicy isolates the pods that it may select, and the other objects of the file apply.
 */

export type { FileReading, SourceText };

export type FileResult = ResultOf<FileReading>;

/** Number of problems that are reported: a reader corrects the first ones first. */
const mostProblems = 100;

export function readFile(source: SourceText): FileResult {
  const { documents, problems: unread, isEmpty } = documentsIn(source);
  const policies: NetworkPolicy[] = [];
  const namespaces: [string, Labels | 'unknown'][] = [];
  const problems: Problem[] = [];
  for (const document of documents) {
    if (unread.length > mostProblems) break;
    const { kind } = document.value as { kind?: unknown };
    const name = textAt(document.value, 'metadata', 'name');
    if (kind !== 'NetworkPolicy' && kind !== 'Namespace')
      unread.push(
        problemAt(
          document,
          ['kind'],
          'only NetworkPolicy, Namespace and List are read here',
          'move the object to another folder',
        ),
      );
    else if (name === undefined || (kind === 'NetworkPolicy' && !isObject(memberOf(document.value, 'spec'))))
      // A file that is cut off in the middle looks like this.
      unread.push(
        problemAt(
          document,
          [],
          `the ${kind} has no ${name === undefined ? 'metadata.name' : 'spec'}`,
          'write the whole object',
        ),
      );
    else if (kind === 'Namespace') namespaces.push([name, labelsOf(document, problems)]);
    else policies.push(policyOf(document, name, problems));
  }
  if (policies.length + namespaces.length > limits.objects) unread.push(tooManyObjects(source.file));
  if (unread.length > 0)
    return {
      unreadable: formatProblems(unread.slice(0, mostProblems)).split('\n'),
      ...(isEmpty !== undefined && { isEmpty }),
    };
  return {
    policies,
    namespaces,
    problems: problems.length === 0 ? [] : formatProblems(problems.slice(0, mostProblems)).split('\n'),
  };
}

/**
 * Reads a NetworkPolicy as the API sends it. An object that is not valid here isolates the pods that it may
 * select: the API may know fields that this version does not.
 * @returns undefined for an object without a name or a spec
 */
export function readPolicyObject(
  object: unknown,
): { readonly policy: NetworkPolicy; readonly problem?: string } | undefined {
  const name = textAt(object, 'metadata', 'name');
  if (name === undefined || !isObject(object) || !isObject(memberOf(object, 'spec'))) return undefined;
  const place = `NetworkPolicy ${textAt(object, 'metadata', 'namespace') ?? 'default'}/${name}`;
  const document: Document = {
    // Items of a list have no kind of their own.
    value: { ...withoutNulls(object), apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' },
    file: place,
    positionOf: () => ({ file: place, line: 1, column: 1 }),
  };
  const problems: Problem[] = [];
  const policy = policyOf(document, name, problems);
  const [first] = problems;
  if (first === undefined) return { policy };
  const problem = `${place}: ${first.path}: ${first.message}`;
  return { policy: { ...policy, unreadable: problem }, problem };
}

function policyOf(document: Document, name: string, problems: Problem[]): NetworkPolicy {
  const found = validate(document, networkPolicySchema);
  const report: Report = (path, message, fix) => found.push(problemAt(document, path, message, fix));
  const policy = found.length > 0 ? undefined : specOf(document.value as WrittenPolicy, report);
  if (policy !== undefined && found.length === 0) return policy;
  append(problems, found);
  return { ...reachOf(document.value), name, unreadable: formatProblems(found.slice(0, 1)) };
}

/**
 * Reads as much as possible of which pods the object selects, and in which directions. An unreadable part
 * selects all.
 */
function reachOf(value: unknown): Omit<NetworkPolicy, 'name' | 'unreadable'> {
  const metadata = memberOf(value, 'metadata');
  const written = memberOf(metadata, 'namespace');
  const namespace =
    written === undefined
      ? 'default'
      : typeof written === 'string' && /^[a-z0-9.-]+$/u.test(written)
        ? written
        : undefined;
  const spec = memberOf(value, 'spec');
  const types = memberOf(spec, 'policyTypes');
  const isKnown =
    Array.isArray(types) &&
    types.length > 0 &&
    types.every((type) => type === 'Ingress' || type === 'Egress');
  const isolates = (type: 'Ingress' | 'Egress'): boolean => !isKnown || types.includes(type);
  return {
    ...(namespace !== undefined && { namespace }),
    podSelector: readableSelector(memberOf(spec, 'podSelector')),
    ...(isolates('Ingress') && { ingress: [] }),
    ...(isolates('Egress') && { egress: [] }),
  };
}

function readableSelector(value: unknown): Selector {
  const everything: Selector = [];
  if (value === undefined) return everything;
  const document: Document = { value, file: '', positionOf: () => ({ file: '', line: 1, column: 1 }) };
  if (validate(document, selectorSchema).length > 0) return everything;
  const refused: string[] = [];
  const selector = selectorOf(value as WrittenSelector, [], (_path, message) => void refused.push(message));
  return refused.length === 0 ? selector : everything;
}

function labelsOf(document: Document, problems: Problem[]): Labels | 'unknown' {
  const found = validate(document, namespaceSchema);
  append(problems, found);
  return found.length > 0
    ? 'unknown'
    : ((document.value as { metadata: { labels?: Labels } }).metadata.labels ?? {});
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const memberOf = (value: unknown, name: string): unknown =>
  isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;

function textAt(value: unknown, outer: string, inner: string): string | undefined {
  const found = memberOf(memberOf(value, outer), inner);
  return typeof found === 'string' && found !== '' && found.length <= 253 ? found : undefined;
}

function problemAt(document: Document, path: readonly PathSegment[], message: string, fix: string): Problem {
  return { position: document.positionOf(path), path: path.join('.'), message, fix };
}

const tooManyObjects = (file: string): Problem => ({
  position: { file, line: 1, column: 1 },
  path: '',
  message: `the file contains more than ${limits.objects} objects`,
  fix: 'split it',
});
