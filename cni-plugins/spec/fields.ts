import { closest } from '../../base/lists/index.ts';
import type { JsonText } from './json-text.ts';

/**
 * Typed access to a JSON object that is being checked. Each read records a problem with its position and
 * continues. If a name is missing, it is looked up again without regard to case.
 */
export interface Fields {
  has(name: string): boolean;
  text(name: string): string | undefined;
  flag(name: string, fallback: boolean): boolean;
  whole(name: string): number | undefined;
  object(name: string): Fields | undefined;
  objects(name: string): Fields[];
  /** Reads a list of lists of objects. */
  lists(name: string): Fields[][];
  /** Reads a list of strings. */
  texts(name: string): string[];
  /** Returns the names of the object's members, in their order. */
  names(): string[];
  /** Records a problem at a field, or at the object itself (`''`). */
  problem(name: string, message: string): void;
  /**
   * Records that a field is known but not supported, with its value. This is an error of its own (CNI
   * specification 1.1, section 5, code 2).
   */
  unsupported(name: string, why: string): void;
  hasProblems(): boolean;
  /**
   * Returns the fields that no reader has requested: of this object, and of the objects below it that were
   * read. Call it when everything is read; read each field independently of the values of others. Returns the
   * first 50.
   * @param free fields whose content belongs to others
   */
  unknown(free: ReadonlySet<string>): UnknownField[];
}

export interface UnknownField {
  /** `file:line:column: message` */
  readonly problem: string;
  /** Whether it is close to the name of a field that a reader requested. */
  readonly isMisspelled: boolean;
}

/** Lines of the form `file:line:column: message`. */
export type Problems = string[];

/** The number of unsupported fields among the problems. */
const unsupportedOnes = new WeakMap<Problems, number>();

/** Returns whether all problems are unsupported fields. */
export const areUnsupported = (problems: Problems): boolean =>
  problems.length > 0 && unsupportedOnes.get(problems) === problems.length;

const longestValue = 200;

type Path = readonly (string | number)[];

export function fieldsOf(
  value: unknown,
  path: Path,
  file: string,
  source: JsonText,
  problems: Problems,
): Fields | undefined {
  return fieldsAt(value, path, { file, source, problems, asked: new Map() });
}

/** State that the objects of one document share. */
interface Document {
  readonly file: string;
  readonly source: JsonText;
  readonly problems: Problems;
  /** By position of an object: the names that readers requested; absent: the object was not read. */
  readonly asked: Map<string, Set<string>>;
}

const placeOf = (path: Path): string => JSON.stringify(path);

function fieldsAt(value: unknown, path: Path, document: Document): Fields | undefined {
  const { file, source, problems } = document;
  const note = (at: Path, message: string): void => {
    const { line, column } = source.positionOf(at);
    problems.push(`${file}:${line}:${column}: ${message}`);
  };
  const labelOf = (at: Path): string =>
    at
      .map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`))
      .join('') || 'the document';
  const isRecord = (candidate: unknown): candidate is Record<string, unknown> =>
    typeof candidate === 'object' && candidate !== null && !Array.isArray(candidate);
  if (!isRecord(value)) {
    note(path, `${labelOf(path)} must be an object`);
    return undefined;
  }
  // Looks names up as Go's encoding/json does. Callers rely on it: containerd writes its port mappings as
  // `HostPort`.
  const keyOf = (name: string): string =>
    Object.hasOwn(value, name)
      ? name
      : (Object.keys(value).findLast((key) => key.toLowerCase() === name.toLowerCase()) ?? name);
  const asked = document.asked.get(placeOf(path)) ?? new Set<string>();
  document.asked.set(placeOf(path), asked);
  const child = (name: string): unknown => {
    asked.add(name);
    return value[keyOf(name)] ?? undefined;
  };
  const at = (name: string): Path => (name === '' ? path : [...path, keyOf(name)]);
  const list = (name: string): unknown[] => {
    const found = child(name);
    if (found === undefined) return [];
    if (Array.isArray(found)) return found as unknown[];
    note(at(name), `${labelOf(at(name))} must be a list`);
    return [];
  };
  const typed = <T>(
    name: string,
    matches: (candidate: unknown) => candidate is T,
    what: string,
  ): T | undefined => {
    const found = child(name);
    if (found === undefined || matches(found)) return found;
    note(at(name), `${labelOf(at(name))} must be ${what}`);
    return undefined;
  };
  const nested = (entry: unknown, where: Path): Fields | undefined => fieldsAt(entry, where, document);
  return {
    has: (name) => child(name) !== undefined,
    text: (name) => typed(name, (found) => typeof found === 'string', 'a string'),
    flag: (name, fallback) => typed(name, (found) => typeof found === 'boolean', 'true or false') ?? fallback,
    whole: (name) => typed(name, (found): found is number => Number.isSafeInteger(found), 'a whole number'),
    object: (name) => (child(name) === undefined ? undefined : nested(child(name), at(name))),
    objects: (name) => list(name).flatMap((entry, index) => nested(entry, [...at(name), index]) ?? []),
    lists: (name) =>
      list(name).map((entry, index) => {
        const where = [...at(name), index];
        if (!Array.isArray(entry)) {
          note(where, `${labelOf(where)} must be a list`);
          return [];
        }
        return entry.flatMap((item: unknown, inner) => nested(item, [...where, inner]) ?? []);
      }),
    texts: (name) =>
      list(name).flatMap((entry, index) => {
        if (typeof entry === 'string') return [entry];
        note([...at(name), index], `${labelOf([...at(name), index])} must be a string`);
        return [];
      }),
    names() {
      for (const name of Object.keys(value)) asked.add(name);
      return Object.keys(value);
    },
    problem: (name, message) => note(at(name), message),
    unsupported(name, why) {
      unsupportedOnes.set(problems, (unsupportedOnes.get(problems) ?? 0) + 1);
      note(
        at(name),
        `'${name}' is not supported (${JSON.stringify(child(name)).slice(0, longestValue)}): ${why}`,
      );
    },
    hasProblems: () => problems.length > 0,
    unknown(free) {
      const found: UnknownField[] = [];
      addUnknown(found, value, path, document, free);
      return found;
    },
  };
}

/** A document may have many unknown fields. These are enough to show what is wrong. */
const mostUnknown = 50;

function addUnknown(
  found: UnknownField[],
  value: unknown,
  path: Path,
  document: Document,
  free: ReadonlySet<string> = new Set(),
): void {
  if (typeof value !== 'object' || value === null || found.length >= mostUnknown) return;
  if (Array.isArray(value))
    return value.forEach((entry, index) => addUnknown(found, entry, [...path, index], document));
  const asked = document.asked.get(placeOf(path));
  if (asked === undefined) return;
  const known = new Map([...asked].map((name) => [name.toLowerCase(), name]));
  for (const [key, entry] of Object.entries(value)) {
    if (found.length >= mostUnknown) return;
    if (free.has(key)) continue;
    const at = [...path, key];
    const name = known.get(key.toLowerCase());
    // The same name in another case: the exact one is read, and this one is not.
    if (name !== undefined && (name === key || !Object.hasOwn(value, name))) {
      addUnknown(found, entry, at, document);
      continue;
    }
    const { line, column } = document.source.positionOf(at);
    const near = closest(key, [...asked, ...free]);
    const fix = near === undefined ? 'remove it' : `did you mean '${near}'?`;
    const message = `unknown field ${JSON.stringify(key.slice(0, longestValue))}: ${fix}`;
    found.push({
      problem: `${document.file}:${line}:${column}: ${message}`,
      isMisspelled: near !== undefined,
    });
  }
}
