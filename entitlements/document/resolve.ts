import { append, closest } from '../../base/lists/index.ts';
import type { Document, PathSegment, Problem } from '../../base/schema/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { CAPABILITIES } from '../capabilities/capability-names.ts';
import { entitlementNamed } from '../catalog/catalog.ts';
import { composed } from '../catalog/compose.ts';
import { conflictsOf } from '../catalog/conflicts.ts';
import { NOTHING, partOf, unionParts } from '../catalog/part.ts';
import type { Part } from '../catalog/part.ts';
import { builtinNames, builtinProfile } from '../profile/builtin.ts';
import { cycles } from './cycles.ts';
import type { Profile } from '../profile/model.ts';
import { nameProblem } from './name-problem.ts';
import { changed, decidedBy } from './own-words.ts';
import { parameterProblem, referencesOf, sampleOf, substitute } from './parameters.ts';
import type { ParameterValue } from './parameters.ts';
import { valueOf } from './profile-document.ts';
import type { ProfileDocument } from './profile-document.ts';
import { reporter } from './report.ts';
import type { Report } from './report.ts';
import { sectionNames } from './section-names.ts';
import { readSections } from './sections.ts';
import type { Own } from './sections.ts';

export interface NamedProfile {
  readonly name: string;
  /** The names under `entitlements`, as written, with parameters replaced. */
  readonly entitlements: readonly string[];
  readonly profile: Profile;
}

/** A profile with its source, for tools that inspect its parts. */
export interface ResolvedProfile extends NamedProfile {
  readonly document: Document;
  readonly value: ProfileDocument;
  /** The part from parents and entitlements, without the profile's own keys. */
  readonly inherited: Part;
  readonly own: Own;
}

export interface Resolution {
  /** Complete profiles, in the order of the documents. */
  readonly defined: readonly ResolvedProfile[];
  /** The complete profiles, and the incomplete ones with samples for missing values. For inspection only. */
  readonly examined: readonly ResolvedProfile[];
  /** Profiles that only another profile can complete, by name, with the parameters that have no value. */
  readonly incomplete: ReadonlyMap<string, readonly string[]>;
  readonly problems: readonly Problem[];
}

/** Facts about documents that a check before has found to be broken. */
interface Broken {
  /**
   * Whether a broken document may define the profile: a parent with that name is not a problem of its own.
   */
  mayExist(name: string): boolean;
  /** Documents without the parts that have a problem: they are checked, but nothing is built from them. */
  readonly partial: ReadonlySet<Document>;
}

const noneBroken: Broken = { mayExist: () => false, partial: new Set() };

/** The number of different parameter values in one set of documents. Each creates a separate profile. */
const MAX_INSTANCES = 200;

/**
 * Resolves the profiles in documents, including parents and parameters.
 * @param documents each passes the schema of profiles
 * @param broken what is known about documents with problems
 * @returns the profiles, and every problem that the schema cannot detect
 */
export function resolveProfiles(documents: readonly Document[], broken: Broken = noneBroken): Resolution {
  const problems: Problem[] = [];
  const byName = new Map<string, Document>();
  for (const document of documents) {
    const { name } = valueOf(document).metadata;
    const position = document.positionOf(['metadata', 'name']);
    const earlier = byName.get(name)?.positionOf(['metadata', 'name']);
    const problem = nameProblem(name, position, earlier);
    if (problem === undefined) byName.set(name, document);
    else problems.push(problem);
  }
  const looped = cycles(byName, problems);
  const context: Context = { byName, looped, broken, instances: new Map(), given: { count: 0 }, problems };
  const defined: ResolvedProfile[] = [];
  const examined: ResolvedProfile[] = [];
  const incomplete = new Map<string, readonly string[]>();
  for (const document of documents) {
    const { name } = valueOf(document).metadata;
    const { unbound, found } = checked(document, context);
    if (byName.get(name) !== document) continue;
    if (found !== undefined) examined.push(found);
    if (unbound.length > 0) incomplete.set(name, unbound);
    else if (found !== undefined) defined.push(found);
  }
  return { defined, examined, incomplete, problems };
}

interface Context {
  readonly byName: ReadonlyMap<string, Document>;
  readonly looped: ReadonlySet<string>;
  readonly broken: Broken;
  readonly instances: Map<string, Instance>;
  /** Counts instances whose values come from another profile. */
  readonly given: { count: number };
  readonly problems: Problem[];
}

interface Instance {
  /** Undefined if there are problems. */
  readonly resolved?: ResolvedProfile;
  readonly part?: Part;
  readonly problems: readonly Problem[];
}

/**
 * Checks the profile itself: parameters have their defaults; those without a default have a sample, only for
 * the check.
 */
function checked(
  document: Document,
  context: Context,
): { readonly unbound: readonly string[]; readonly found?: ResolvedProfile } {
  const value = valueOf(document);
  const { report, problems } = reporter(document);
  const parameters = Object.entries(value.parameters ?? {});
  for (const [name, { type, default: usual }] of parameters) {
    const wrong = usual === undefined ? undefined : parameterProblem(type, usual);
    if (wrong !== undefined) report(['parameters', name, 'default'], wrong.problem, wrong.fix);
  }
  for (const { name, path } of sectionNames
    .flatMap((key) => referencesOf(value[key], [key]))
    .concat(referencesOf(value.extends, ['extends']))) {
    if (parameters.some(([known]) => known === name)) continue;
    const near = closest(
      name,
      parameters.map(([known]) => known),
    );
    report(
      path,
      `there is no parameter \`${name.slice(0, 80)}\``,
      near === undefined ? 'declare it under parameters' : `did you mean \`${near}\`?`,
    );
  }
  append(context.problems, problems);
  if (problems.length > 0) return { unbound: [] };
  const unbound = parameters.filter(([, { default: usual }]) => usual === undefined);
  const values = new Map(unbound.map(([name, parameter]) => [name, sampleOf(parameter)]));
  const instance = instantiate(document, values, context);
  append(context.problems, instance.problems);
  return {
    unbound: unbound.map(([name]) => name),
    ...(instance.resolved !== undefined && { found: instance.resolved }),
  };
}

function instantiate(
  document: Document,
  given: ReadonlyMap<string, ParameterValue>,
  context: Context,
): Instance {
  const value = valueOf(document);
  const values = new Map(
    Object.entries(value.parameters ?? {}).flatMap(([name, { default: usual }]) => {
      const one = given.get(name) ?? usual;
      return one === undefined ? [] : [[name, one] as const];
    }),
  );
  const { file, line, column } = document.positionOf(['metadata', 'name']);
  const key = JSON.stringify([file, line, column, [...values].sort(([a], [b]) => (a < b ? -1 : 1))]);
  const known = context.instances.get(key);
  if (known !== undefined) return known;
  if (given.size > 0) context.given.count += 1;
  const instance = context.given.count > MAX_INSTANCES ? tooMany(document) : made(document, values, context);
  context.instances.set(key, instance);
  return instance;
}

function tooMany(document: Document): Instance {
  const { report, problems } = reporter(document);
  report(
    ['extends'],
    `parameters are given more than ${MAX_INSTANCES} different values`,
    'use fewer values of parameters',
    'key',
  );
  return { problems };
}

function made(document: Document, values: ReadonlyMap<string, ParameterValue>, context: Context): Instance {
  const { report, problems } = reporter(document);
  const value = substitute(valueOf(document), values) as ProfileDocument;
  const { name } = value.metadata;
  try {
    const own = readSections(value, name, report);
    const parts = [
      ...parentParts(value, context, report),
      ...entitlementParts(value.entitlements ?? [], report),
    ];
    if (context.broken.partial.has(document)) return { problems };
    const complete = parts.flatMap(({ part }) => part ?? []);
    const left = complete.map((part) => decidedBy(own, part, report));
    reportConflicts(
      left,
      parts.filter(({ part }) => part !== undefined),
      report,
    );
    if (problems.length > 0 || complete.length < parts.length) return { problems };
    const inherited = unionParts(name, complete);
    const part = changed(unionParts(name, left), own, report);
    if (problems.length > 0) return { problems };
    const profile = composed(part);
    return {
      problems,
      part,
      resolved: { name, entitlements: value.entitlements ?? [], profile, document, value, inherited, own },
    };
  } catch (error) {
    if (!isPortcullisError(error)) throw error;
    report([], error.failure.why, error.failure.fix);
    return { problems };
  }
}

interface Source {
  readonly part: Part | undefined;
  readonly path: readonly PathSegment[];
}

function entitlementParts(names: readonly string[], report: Report): Source[] {
  return names.map((text, at) => {
    const path = ['entitlements', at];
    const found = entitlementNamed(text);
    if (!('problem' in found)) return { part: partOf(text, found), path };
    report(path, found.problem, found.fix);
    return { part: undefined, path };
  });
}

function parentParts(value: ProfileDocument, context: Context, report: Report): Source[] {
  return (value.extends ?? []).map((parent, at) => {
    const path = ['extends', at];
    const name = typeof parent === 'string' ? parent : parent.profile;
    const given = typeof parent === 'string' ? {} : (parent.with ?? {});
    return { part: parentPart(name, given, path, context, report), path };
  });
}

function parentPart(
  name: string,
  given: Readonly<Record<string, ParameterValue>>,
  path: readonly PathSegment[],
  context: Context,
  report: Report,
): Part | undefined {
  const document = context.byName.get(name);
  if (document === undefined) {
    const part = builtinParts().get(name);
    if (part === undefined && context.broken.mayExist(name)) return undefined;
    if (part === undefined) report(path, ...unknownParent(name, context));
    else if (Object.keys(given).length > 0) report(path, `${name} has no parameters`, 'remove them');
    return part;
  }
  if (context.looped.has(name)) return undefined;
  const parameters = valueOf(document).parameters ?? {};
  let faults = 0;
  const wrong = (place: readonly PathSegment[], message: string, fix: string): void => {
    faults += 1;
    report(place, message, fix);
  };
  for (const [key, one] of Object.entries(given)) {
    const parameter = Object.hasOwn(parameters, key) ? parameters[key] : undefined;
    const problem = parameter === undefined ? undefined : parameterProblem(parameter.type, one);
    if (parameter === undefined)
      wrong(
        [...path, 'with', key],
        `${name} has no parameter \`${key.slice(0, 80)}\``,
        known(Object.keys(parameters)),
      );
    else if (problem !== undefined) wrong([...path, 'with', key], problem.problem, problem.fix);
  }
  const missing = Object.entries(parameters).filter(
    ([key, { default: usual }]) => usual === undefined && !Object.hasOwn(given, key),
  );
  if (missing.length > 0) {
    const names = missing.map(([key]) => key);
    wrong(
      path,
      `${name} needs a value for ${names.join(', ')}`,
      `write { profile: ${name}, with: { ${names.map((key) => `${key}: …`).join(', ')} } }`,
    );
  }
  if (faults > 0) return undefined;
  const instance = instantiate(document, new Map(Object.entries(given)), context);
  const usual = Object.keys(given).length === 0;
  const [first] = instance.problems;
  // The parent's own check reports the parent's problems at their positions. Problems caused by the values
  // given here are reported here.
  if (!usual && first !== undefined && checkedAlone(document, context)) {
    report(path, `${name} with these values: ${first.message}`, first.fix ?? 'give other values');
  }
  return instance.part;
}

/** Returns true if the profile has no problem with its own values. */
function checkedAlone(document: Document, context: Context): boolean {
  const value = valueOf(document);
  const samples = Object.entries(value.parameters ?? {}).filter(
    ([, { default: usual }]) => usual === undefined,
  );
  return (
    instantiate(document, new Map(samples.map(([name, parameter]) => [name, sampleOf(parameter)])), context)
      .problems.length === 0
  );
}

function known(names: readonly string[]): string {
  return names.length === 0 ? 'remove it' : `use one of: ${names.join(', ')}`;
}

let kept: ReadonlyMap<string, Part> | undefined;

/**
 * Returns the built-in profiles as parents: their differences from the default profile. Their filters take
 * some 25 ms, so they are made when they are first asked for.
 */
function builtinParts(): ReadonlyMap<string, Part> {
  kept ??= new Map([
    ['default', { ...NOTHING, name: 'default' }],
    ['baseline', builtinPart('baseline', {})],
    ['restricted', builtinPart('restricted', { privilegeGain: true, root: true })],
  ]);
  return kept;
}

function builtinPart(name: string, excludes: { readonly privilegeGain?: true; readonly root?: true }): Part {
  const profile = builtinProfile(name);
  const capabilities = CAPABILITIES.filter((one) => profile?.capabilities.includes(one) !== true);
  return partOf(name, {
    grants: { ambient: profile?.ambient ?? [] },
    excludes: { capabilities, ...excludes },
  });
}

function unknownParent(name: string, { byName }: Context): [string, string] {
  if (builtinNames().includes(name))
    return [`${name} has no filter to which calls can be added`, 'name the entitlements that are needed'];
  const names = [...builtinParts().keys(), ...byName.keys()];
  const near = closest(name, names);
  return [
    `there is no profile \`${name.slice(0, 80)}\``,
    near === undefined ? `known here: ${names.slice(0, 20).join(', ')}` : `did you mean \`${near}\`?`,
  ];
}

function reportConflicts(parts: readonly Part[], sources: readonly Source[], report: Report): void {
  for (const { first, second, on } of conflictsOf(parts)) {
    const at = parts.findLastIndex(({ name }) => name === second);
    // A profile may have the name of an entitlement, and a parent with other parameters has the same name.
    const other = first === second ? 'another parent or entitlement of this name' : first;
    report(
      sources[at]?.path ?? [],
      `${second} conflicts with ${other} on ${on}`,
      'keep one of the two, or decide between them under capabilities, syscalls or devices',
    );
  }
}
