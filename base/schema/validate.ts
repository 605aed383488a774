import type { ErrorObject } from 'ajv';
import { compile } from './compile.ts';
import { explain } from './explain-error.ts';
import { pointerSegments } from './path.ts';
import { problemAt, sortProblems } from './problems.ts';
import type { Document, JsonSchema, PathSegment, Problem } from './types.ts';

/**
 * The maximum number of problems reported for one document. To find the position of each problem, the code
 * walks the document.
 */
const problemLimit = 100;

/**
 * Checks one document and reports every problem at once, sorted by position. If there is no problem,
 * `document.value` has the shape that the schema describes. The schema object is compiled once and cached, so
 * pass the same object each time. Formats are not checked: use `pattern`.
 */
export function validate(document: Document, schema: JsonSchema): Problem[] {
  return sortProblems(faultsOf(document, schema, problemLimit).map(({ problem }) => problem));
}

/** A problem, and the part of the document that has it. */
interface Fault {
  readonly at: readonly PathSegment[];
  readonly problem: Problem;
}

/**
 * Returns the problems that {@link validate} reports, each with its path in `document.value`; at most
 * `limit`.
 */
export function faultsOf(document: Document, schema: JsonSchema, limit: number): Fault[] {
  return failures(document.value, schema)
    .slice(0, limit)
    .map((error): Fault => {
      const { message, fix, extra } = explain(error);
      const path = pointerSegments(error.instancePath, document.value);
      const at = extra === undefined ? path : [...path, extra];
      const problem = problemAt(document, at, message, fix, extra === undefined ? 'value' : 'key');
      // Nothing is hidden behind a field that nobody knows.
      return { at, problem: extra === undefined ? { ...problem, hidesOthers: true } : problem };
    });
}

function failures(value: unknown, schema: JsonSchema): ErrorObject[] {
  const validator = compile(schema);
  if (validator(value)) return [];
  return withoutBranches([...(validator.errors ?? [])], schema);
}

/**
 * ajv reports the errors of every branch of anyOf and oneOf, but the reader needs only the branch that was
 * meant. This function runs each branch again by itself. The branch's number of errors shows which of the
 * reported errors belong to it (they come directly before the error of anyOf itself). The errors of the
 * nearest branch are kept.
 */
function withoutBranches(errors: ErrorObject[], root: JsonSchema): ErrorObject[] {
  // From the last error to the first.
  const kept: ErrorObject[] = [];
  while (errors.length > 0) {
    const error = errors.pop() as ErrorObject;
    if (error.keyword !== 'anyOf' && error.keyword !== 'oneOf') {
      if (error.keyword !== 'if') kept.push(error);
      continue;
    }
    const branches = (Array.isArray(error.schema) ? error.schema : []).map((branch: JsonSchema) => {
      const schema = branchSchema(branch, root);
      const validator = compile(schema);
      return { schema, errors: validator(error.data) ? [] : [...(validator.errors ?? [])] };
    });
    let own = branches.reduce((sum, branch) => sum + branch.errors.length, 0);
    while (own-- > 0 && errors.at(-1)?.instancePath.startsWith(error.instancePath) === true) errors.pop();
    const failed = branches.filter((branch) => branch.errors.length > 0);
    const nearest = failed.toSorted((a, b) => distance(a.errors) - distance(b.errors))[0];
    if (nearest === undefined || failed.length < branches.length || distance(nearest.errors) >= wrongType)
      kept.push(error);
    else {
      for (const inner of withoutBranches(nearest.errors, nearest.schema).toReversed()) {
        kept.push({ ...inner, instancePath: error.instancePath + inner.instancePath });
      }
    }
  }
  return kept.reverse();
}

const branchSchemas = new WeakMap<JsonSchema, JsonSchema>();

function branchSchema(branch: JsonSchema, root: JsonSchema): JsonSchema {
  const known = branchSchemas.get(branch);
  if (known !== undefined) return known;
  const schema: JsonSchema = root['$defs'] === undefined ? branch : { $defs: root['$defs'], ...branch };
  branchSchemas.set(branch, schema);
  return schema;
}

const wrongType = 1000;

/**
 * Measures how far a value is from a branch by the errors of the value itself. Errors deeper inside count
 * only to break a tie.
 */
function distance(errors: readonly ErrorObject[]): number {
  return errors.reduce((sum, { keyword, instancePath }) => {
    const depth = instancePath.split('/').length - 1;
    if (keyword === 'type' && depth === 0) return sum + wrongType;
    if ((keyword === 'const' || keyword === 'enum') && depth === 1) return sum + 100;
    return sum + (depth === 0 ? 1 : 0.001);
  }, 0);
}
