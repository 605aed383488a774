import { basename } from 'node:path';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { fieldsOf, listOf, textOf } from '../../base/kubernetes/index.ts';
import type { Problem } from '../../base/schema/index.ts';
import type { ClusterDocument } from './documents.ts';

/** The result of loading all documents. */
export interface LoadResult {
  /** The revision of the loaded set; undefined: the set is not valid. */
  readonly revision: string | undefined;
  /** Problems by the file of the document. */
  readonly problems: ReadonlyMap<string, readonly Problem[]>;
  /** Why the set is not valid, if no document has a problem. */
  readonly failure: string | undefined;
}

/** Returns the result for documents without a TrustPolicy; undefined: there is one. */
export function lacksPolicy(
  documents: readonly Pick<ClusterDocument, 'kind'>[],
): (LoadResult & { readonly failure: string }) | undefined {
  if (documents.some(({ kind }) => kind === 'TrustPolicy')) return undefined;
  return { revision: undefined, problems: new Map(), failure: 'the cluster has no TrustPolicy' };
}

/**
 * Returns the result for documents that could not be loaded, with the problems of each file; undefined: this
 * machine failed, such as by a full disk, which says nothing about the documents.
 */
export function failedLoad(error: unknown): LoadResult | undefined {
  if (isFailureOfMachine(error)) return undefined;
  const found = isPortcullisError(error) ? error.failure.details?.['problems'] : undefined;
  const problems = Map.groupBy(Array.isArray(found) ? (found as Problem[]) : [], ({ position }) =>
    basename(position.file),
  );
  const failure = isPortcullisError(error) ? error.message : reasonOf(error);
  return { revision: undefined, problems, failure };
}

const isFailureOfMachine = (error: unknown): boolean =>
  isPortcullisError(error)
    ? error.code.startsWith('STORAGE_')
    : error instanceof Error && (error as NodeJS.ErrnoException).errno !== undefined;

interface Condition {
  readonly type: 'Valid' | 'InForce';
  readonly status: 'True' | 'False';
  readonly observedGeneration: number;
  readonly lastTransitionTime: string;
  readonly reason: string;
  readonly message: string;
}

export interface DocumentStatus {
  readonly observedGeneration: number;
  readonly revision: string;
  readonly rules: number;
  readonly conditions: readonly Condition[];
  readonly problems: readonly Readonly<Record<string, unknown>>[];
}

const lastStays = 'the last valid policy stays in force, if there was one';
const mostProblems = 20;
const longestText = 1024;

/** Returns the status of a document after a load. A condition that did not change keeps its time. */
export function statusOfDocument(
  document: ClusterDocument,
  { revision, problems, failure }: LoadResult,
  now: Date,
): DocumentStatus {
  const own = problems.get(document.file) ?? [];
  const valid = own.length === 0;
  const others = [...problems].filter(([file, of]) => file !== document.file && of.length > 0);
  const inForce = revision !== undefined;
  const before = listOf(fieldsOf(document.object['status'])['conditions']).map(fieldsOf);
  const condition = (type: Condition['type'], holds: boolean, reason: string, message: string): Condition => {
    const status = holds ? 'True' : 'False';
    const known = before.find((one) => one['type'] === type);
    const since = known?.['status'] === status ? textOf(known['lastTransitionTime']) : '';
    return {
      ...{ type, status, observedGeneration: document.generation, reason },
      lastTransitionTime: since === '' ? `${now.toISOString().slice(0, 19)}Z` : since,
      message: message.slice(0, longestText),
    };
  };
  return {
    observedGeneration: document.generation,
    revision: revision ?? '',
    rules: document.rules,
    conditions: [
      valid
        ? condition('Valid', true, 'Checked', 'the document has no problem')
        : condition(
            'Valid',
            false,
            'Problems',
            `${own.length} problem${own.length === 1 ? '' : 's'}: ${own.slice(0, 3).map(line).join('; ')}`,
          ),
      inForce
        ? condition('InForce', true, 'InForce', `part of revision ${revision}`)
        : valid
          ? condition(
              'InForce',
              false,
              others.length > 0 ? 'OthersInvalid' : 'NotLoaded',
              others.length > 0
                ? `${lastStays}: the policy takes effect only as a whole, and other documents have problems: ${others.map(([file]) => file).join(', ')}`
                : (failure ?? 'the policy could not be loaded'),
            )
          : condition('InForce', false, 'Invalid', `the document has problems; ${lastStays}`),
    ],
    problems: own.slice(0, mostProblems).map(({ position, path, message, fix }) => ({
      path,
      line: position.line,
      column: position.column,
      message: message.slice(0, longestText),
      ...(fix !== undefined && { fix: fix.slice(0, longestText) }),
    })),
  };
}

const line = ({ position, path, message }: Problem): string =>
  `${position.line}:${position.column}${path === '' ? '' : ` ${path}`}: ${message}`;

/** Whether the object already has this status. */
export function saysTheSame(document: ClusterDocument, status: DocumentStatus): boolean {
  const plain = (value: unknown): unknown =>
    Array.isArray(value)
      ? value.map(plain)
      : typeof value === 'object' && value !== null
        ? Object.fromEntries(
            Object.entries(value)
              .sort(([a], [b]) => (a < b ? -1 : 1))
              .map(([key, of]) => [key, plain(of)]),
          )
        : value;
  return JSON.stringify(plain(document.object['status'])) === JSON.stringify(plain(status));
}
