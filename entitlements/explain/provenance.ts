import { formatPath, parseDocuments } from '../../base/schema/index.ts';
import type { Document, PathSegment } from '../../base/schema/index.ts';
import { isPortcullisError, tolerate } from '../../base/errors/index.ts';
import type { OperandSource } from '../import/operand.ts';
import { importSeccomp } from '../import/seccomp.ts';
import { checkProfiles } from '../document/check.ts';
import type { SourceFile } from '../document/check.ts';
import type { Profile } from '../profile/model.ts';
import { PROFILE_KIND } from '../document/schema.ts';
import { parseSeccompJson } from '../seccomp/oci-shape.ts';

/** A part of a source without which the answer is different. */
export interface DecidingPart {
  /** `web.yaml:9:5`. */
  readonly place: string;
  /** `entitlements[2]`. */
  readonly path: string;
  /** The part as written, on one line. */
  readonly text: string;
}

/** The parts that decide an answer. */
export interface Provenance {
  /**
   * Each of them is necessary for the answer. With `several parts`, each of them alone is sufficient for it.
   */
  readonly parts: readonly DecidingPart[];
  /**
   * No single part of the source is necessary: the default profile already decides it, or several parts do.
   */
  readonly otherwise?: 'several parts' | 'the built-in profile' | 'the default profile';
}

/** If there are more parts, they are not tried one by one. */
const MAX_PARTS = 400;

/**
 * Finds the parts of a source that decide an answer: those without which it is different. Each part is
 * removed in turn, and the profile is built again.
 * @param said returns the answer to the question under a profile
 */
export function provenance(source: OperandSource, said: (profile: Profile) => boolean): Provenance {
  if (source.kind === 'builtin') return { parts: [], otherwise: 'the built-in profile' };
  const { whole, parts, without } = source.kind === 'seccomp' ? seccompParts(source) : documentParts(source);
  const answer = whole === undefined ? undefined : said(whole);
  if (answer === undefined || parts.length > MAX_PARTS) return { parts: [], otherwise: 'several parts' };
  const flips = (removed: readonly Place[]): boolean => {
    const left = without(removed);
    return left !== undefined && said(left) !== answer;
  };
  const deciding = parts.filter((part) => flips([part]));
  if (deciding.length > 0) return { parts: deciding.map(partOf) };
  if (!flips(parts)) return { parts: [], otherwise: 'the default profile' };
  // More than one of them is sufficient. Return those that are sufficient alone.
  const enough = parts.filter((part) => !flips(parts.filter((other) => other !== part)));
  return { parts: enough.map(partOf), otherwise: 'several parts' };
}

/** A part of a document. */
interface Place {
  readonly document: Document;
  readonly path: readonly PathSegment[];
}

interface Taken {
  readonly whole: Profile | undefined;
  readonly parts: readonly Place[];
  /** Returns the profile without these parts; undefined if no valid profile remains. */
  readonly without: (removed: readonly Place[]) => Profile | undefined;
}

function partOf({ document, path }: Place): DecidingPart {
  const { file, line, column } = document.positionOf(path);
  const value = path.reduce<unknown>(
    (of, key) => (of as Readonly<Record<PathSegment, unknown>>)[key],
    document.value,
  );
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return {
    place: `${file}:${line}:${column}`,
    path: formatPath(path),
    text: text.length > 120 ? `${text.slice(0, 119)}…` : text,
  };
}

function documentParts({ files, name }: Extract<OperandSource, { kind: 'documents' }>): Taken {
  const documents = files.flatMap(({ file, text }) => parseDocuments(text, file).documents);
  const profiles = documents.filter(
    ({ value }) => (value as { readonly kind?: unknown } | null)?.kind === PROFILE_KIND,
  );
  const made = (sources: readonly SourceFile[]): Profile | undefined => {
    const { profiles: found, exact, problems } = checkProfiles(sources);
    return problems.length > 0 ? undefined : [...found, ...exact].find((one) => one.name === name)?.profile;
  };
  return {
    whole: made(files),
    parts: profiles.flatMap((document) => pathsOf(document.value).map((path) => ({ document, path }))),
    // Each document becomes a separate file: positions do not matter here.
    without: (removed) =>
      made(
        documents.map((document, at) => ({
          file: `${document.file}#${at}`,
          text: JSON.stringify(
            pruned(
              document.value,
              removed.filter((place) => place.document === document).map(({ path }) => path),
            ),
          ),
        })),
      ),
  };
}

/** Keys that do not affect what is granted. */
const LABELS: readonly string[] = ['$schema', 'apiVersion', 'kind', 'metadata', 'parameters'];

/**
 * Returns the exceptions within an item of a list: the items of `except` of a rule, and of `not` of an
 * argument.
 */
function exceptionsOf(value: unknown, path: readonly PathSegment[]): PathSegment[][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, part]: [string, unknown]) => {
    const at = [...path, Array.isArray(value) ? Number(key) : key];
    if (EXCEPTIONS.includes(key) && Array.isArray(part)) return part.map((_, index) => [...at, index]);
    return exceptionsOf(part, at);
  });
}

const EXCEPTIONS: readonly string[] = ['except', 'not'];

/**
 * Returns the parts of a profile that can be removed individually: items of lists, their exceptions, and
 * limits.
 */
function pathsOf(value: unknown, path: readonly PathSegment[] = []): PathSegment[][] {
  if (Array.isArray(value))
    return value.flatMap((item: unknown, at) => [[...path, at], ...exceptionsOf(item, [...path, at])]);
  if (typeof value !== 'object' || value === null) return path.length > 1 ? [[...path]] : [];
  return Object.entries(value).flatMap(([key, part]) =>
    path.length === 0 && LABELS.includes(key) ? [] : pathsOf(part, [...path, key]),
  );
}

function pruned(
  value: unknown,
  removed: readonly (readonly PathSegment[])[],
  path: readonly PathSegment[] = [],
): unknown {
  const key = JSON.stringify(path);
  const gone = new Set(removed.map((one) => JSON.stringify(one)));
  const kept = (segment: PathSegment): boolean => !gone.has(JSON.stringify([...path, segment]));
  if (removed.length === 0 || key === '' || typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value))
    return value.flatMap((item: unknown, at) => (kept(at) ? [pruned(item, removed, [...path, at])] : []));
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, part]) =>
      kept(name) ? [[name, pruned(part, removed, [...path, name])]] : [],
    ),
  );
}

function seccompParts({ file, text, target }: Extract<OperandSource, { kind: 'seccomp' }>): Taken {
  const document = parseDocuments(text, file).documents[0];
  const json = parseSeccompJson(text) as Readonly<Record<string, unknown>>;
  const rules = Array.isArray(json['syscalls']) ? (json['syscalls'] as readonly unknown[]) : [];
  const made = (left: readonly unknown[]): Profile | undefined => {
    return tolerate(isPortcullisError, () => importSeccomp({ ...json, syscalls: left }, target).profile);
  };
  return {
    whole: made(rules),
    parts: document === undefined ? [] : rules.map((_, at) => ({ document, path: ['syscalls', at] })),
    without: (removed) => made(rules.filter((_, at) => !removed.some(({ path }) => path[1] === at))),
  };
}
