import { realpath } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { fileReason } from '../../base/errors/index.ts';
import { readPlainFile } from '../../base/files/index.ts';
import {
  describeProblems,
  parseDocuments,
  problemAt,
  sortProblems,
  validate,
  validateParts,
} from '../../base/schema/index.ts';
import type { Document, JsonSchema, PathSegment, Problem } from '../../base/schema/index.ts';
import { readServices } from '../../cni-plugins/index.ts';
import { headOfService, serviceDocument } from '../controllers/services.ts';
import { isAllowedSysctl } from '../controllers/sysctls.ts';
import type { Controller, NodeState, PolicyFile, WantedService } from '../model/types.ts';
import { stateWithDefaults } from './defaults.ts';
import type { WrittenState } from './defaults.ts';
import { nodeApiVersion, nodeGroupSchema, nodeStateSchema } from './schema.ts';
import { unfitItems } from './unfit-items.ts';
import type { ProblemOf } from './unfit-items.ts';

/** How a change of a group reaches its nodes, with defaults. */
export interface Rollout {
  readonly maxUnavailable: number;
  readonly pauseSeconds: number;
  readonly deadlineSeconds: number;
  readonly gate: { readonly healthySeconds: number; readonly daemonReady: boolean };
}

export interface NodeSelector {
  readonly names?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
}

/** A NodeGroup document. */
export interface NodeGroup {
  readonly name: string;
  readonly selector: NodeSelector;
  readonly rollout: Rollout;
  readonly state: NodeState;
}

/** The value that was read, or all problems of the document. */
export type ReadDocument<Value> = { readonly value: Value } | { readonly problems: readonly Problem[] };

/** Reads documents of the kinds NodeState and NodeGroup. */
export interface DocumentReader {
  /**
   * Reads a NodeState document, and the files that it refers to.
   * @param file path of the document, for positions and for relative paths
   */
  nodeState(text: string, file: string): Promise<ReadDocument<NodeState>>;
  /** Reads a NodeGroup document in the same way. */
  nodeGroup(text: string, file: string): Promise<ReadDocument<NodeGroup>>;
  /** Returns why a value from elsewhere is not a state with its defaults; undefined: it is one. */
  refuses(state: unknown): string | undefined;
}

/** etcd refuses requests of more than 1.5 MiB, and a state with all its policies must fit into one. */
export const mostStateBytes = 1024 * 1024;

/** Creates a reader for the sections of these controllers. */
export function documentReader(controllers: readonly Controller[]): DocumentReader {
  const stateSchema = nodeStateSchema(controllers);
  const groupSchema = nodeGroupSchema(controllers);
  return {
    async nodeState(text, file) {
      const { problems, document } = only(text, file, stateSchema);
      if (document === undefined) return { problems };
      return withProblems(problems, await readState(document as Document<WrittenState>, []));
    },
    refuses(state) {
      const position = { file: '', line: 0, column: 0 };
      const value = { apiVersion: nodeApiVersion, kind: 'NodeState', ...(state as object) };
      const document: Document = { value, file: 'the state', positionOf: () => position };
      const problems = validate(document, stateSchema);
      if (problems.length > 0) return describeProblems(problems);
      const missing = controllers.find(({ section }) => !Object.hasOwn(value, section));
      if (missing !== undefined) return `it has no section ${missing.section}`;
      const written = value as WrittenState;
      const unread = (written.policies ?? []).find(({ content }) => content === undefined);
      if (unread !== undefined) return `the policy file ${unread.name} has no content`;
      const more = stateProblems(written, (path, message, fix) => problemAt(document, path, message, fix));
      return more.length === 0 ? undefined : describeProblems(more);
    },
    async nodeGroup(text, file) {
      const { problems, document } = only(text, file, groupSchema);
      if (document === undefined) return { problems };
      const { value } = document as Document<WrittenGroup>;
      const read = await readState(document as Document<WrittenGroup>, ['template']);
      const state = withProblems(problems, read);
      if ('problems' in state) return state;
      const { rollout = {}, selector } = value;
      const { gate = {} } = rollout;
      return {
        value: {
          name: value.metadata.name,
          selector,
          state: state.value,
          rollout: {
            maxUnavailable: 1,
            pauseSeconds: 0,
            deadlineSeconds: 600,
            ...rollout,
            gate: { healthySeconds: 10, daemonReady: true, ...gate },
          },
        },
      };
    },
  };
}

interface WrittenGroup {
  readonly metadata: { readonly name: string };
  readonly selector: NodeSelector;
  readonly template: WrittenState;
  readonly rollout?: Partial<Omit<Rollout, 'gate'>> & { readonly gate?: Partial<Rollout['gate']> };
}

const withProblems = <Value>(
  problems: readonly Problem[],
  read: ReadDocument<Value>,
): ReadDocument<Value> => {
  const all = [...problems, ...('problems' in read ? read.problems : [])];
  return all.length > 0 ? { problems: sortProblems(all) } : read;
};

type Kind = 'NodeGroup' | 'NodeState';

/** The command for each kind. */
const commands: Readonly<Record<Kind, string>> = {
  NodeGroup: 'portcullis node group apply',
  NodeState: 'portcullis node apply',
};

/** Returns the one document of a text, without what its schema refuses, and every problem so far. */
function only(
  text: string,
  file: string,
  schema: JsonSchema,
): { readonly problems: readonly Problem[]; readonly document?: Document } {
  const { documents, problems } = parseDocuments(text, file, { bytes: 2 * mostStateBytes });
  if (problems.length > 0) return { problems };
  const [document, second] = documents;
  const start = { file, line: 1, column: 1 };
  if (document === undefined)
    return { problems: [{ position: start, path: '', message: 'the file has no document' }] };
  if (second !== undefined)
    return {
      problems: [
        problemAt(second, [], 'a second document', 'write one document: it contains the complete state'),
      ],
    };
  const { kind } = schema.properties as { readonly kind: { readonly const: Kind } };
  const written = (document.value as { readonly kind?: unknown } | null)?.kind;
  if (typeof written === 'string' && written !== kind.const && Object.hasOwn(commands, written))
    return {
      problems: [
        problemAt(
          document,
          ['kind'],
          `it is a ${written as Kind}, and this command takes a ${kind.const}`,
          `use \`${commands[written as Kind]}\``,
        ),
      ],
    };
  const { problems: found, rest } = validateParts(document, schema, ['apiVersion', 'kind', 'metadata']);
  return { problems: found, ...(rest !== undefined && { document: rest }) };
}

async function readState(
  document: Document<WrittenGroup | WrittenState>,
  at: readonly PathSegment[],
): Promise<ReadDocument<NodeState>> {
  const written = (
    at.length === 0 ? document.value : (document.value as WrittenGroup).template
  ) as WrittenState;
  const problem = (path: readonly PathSegment[], message: string, fix?: string): Problem =>
    problemAt(document, [...at, ...path], message, fix);
  const files = await readPolicies(written, dirname(resolve(document.file)), problem);
  const value = stateWithDefaults(written, files.read);
  const problems = [...files.problems, ...stateProblems(written, problem), ...unfitItems(value, problem)];
  if (problems.length === 0 && Buffer.byteLength(JSON.stringify(value)) > mostStateBytes)
    problems.push(problem([], `the state has more than ${mostStateBytes} bytes`, 'remove some files'));
  return problems.length > 0 ? { problems: sortProblems(problems) } : { value };
}

/** Returns what is wrong with a state beyond its schema. */
function stateProblems(written: WrittenState, problem: ProblemOf): Problem[] {
  return [
    ...repeatedNames(written, problem),
    ...Object.keys(written.sysctls ?? {})
      .filter((name) => !isAllowedSysctl(name))
      .map((name) => problem(['sysctls', name], `${name} is not a setting that a state may set`, seeAllowed)),
    ...(written.services ?? []).flatMap((service, index) => serviceProblems(service, index, problem)),
  ];
}

const seeAllowed = 'see docs/node-state.md for the settings that a state may set';

const moveFile = 'move the file into this folder, or one of its subfolders; symbolic links are followed';

async function readPolicies(
  { policies = [] }: WrittenState,
  folder: string,
  problem: ProblemOf,
): Promise<{ readonly read: readonly PolicyFile[]; readonly problems: readonly Problem[] }> {
  const read: PolicyFile[] = [];
  const problems: Problem[] = [];
  for (const [index, { name, content, from }] of policies.entries()) {
    const at = ['policies', index];
    if ((content === undefined) === (from === undefined)) {
      problems.push(problem(at, 'one of `content` and `from` is needed', 'write one of the two'));
      continue;
    }
    if (content !== undefined) read.push({ name, content });
    if (from === undefined) continue;
    const file = resolve(folder, from);
    try {
      const real = await realpath(file);
      // The content goes to files that every user can read, to etcd, and in part to errors. A document from
      // elsewhere must not get other files of the host there.
      if (!real.startsWith(`${(await realpath(folder)).replace(/\/$/u, '')}${sep}`)) {
        problems.push(problem([...at, 'from'], `${file} is not in the folder of the document`, moveFile));
        continue;
      }
      const bytes = await readPlainFile(real, mostStateBytes);
      read.push({ name, content: new TextDecoder('utf-8', { fatal: true }).decode(bytes) });
    } catch (thrown) {
      const why = thrown instanceof TypeError ? 'it is not UTF-8' : fileReason(thrown, file);
      problems.push(problem([...at, 'from'], `${file} cannot be read: ${why}`));
    }
  }
  return { read, problems };
}

function repeatedNames(written: WrittenState, problem: ProblemOf): Problem[] {
  const problems: Problem[] = [];
  const check = (path: readonly PathSegment[], field: string, keys: readonly string[]): void => {
    const seen = new Set<string>();
    for (const [index, key] of keys.entries()) {
      if (seen.has(key))
        problems.push(problem([...path, index, field], `${key} occurs twice`, 'remove one of the two'));
      seen.add(key);
    }
  };
  const { images = [], networks = [], policies = [], services = [], staticPods = [] } = written;
  check(
    ['images'],
    'image',
    images.map(({ image }) => image),
  );
  check(
    ['networks'],
    'name',
    networks.map(({ name }) => name),
  );
  check(
    ['policies'],
    'name',
    policies.map(({ name }) => name),
  );
  check(
    ['services'],
    'name',
    services.map(({ name }) => name),
  );
  check(
    ['staticPods'],
    'name',
    staticPods.map(({ name, namespace = 'default' }) => `${namespace}/${name}`),
  );
  for (const [index, { containers }] of staticPods.entries())
    check(
      ['staticPods', index, 'containers'],
      'name',
      containers.map(({ name }) => name),
    );
  return problems;
}

/** A service is read by the reader of its own kind, and its problems get the places of this document. */
function serviceProblems(service: WantedService, index: number, problem: ProblemOf): Problem[] {
  const { problems } = readServices([{ file: service.name, text: serviceDocument(service) }]);
  const head = headOfService.filter((field) => Object.hasOwn(service, field));
  return [
    ...head.map((field) =>
      problem(['services', index, field], `unknown field \`${field}\``, 'remove it; `name` is the name'),
    ),
    ...problems.map(({ path, message, fix }) =>
      problem(['services', index, ...segmentsOf(path)], message, fix),
    ),
  ];
}

/** Returns the segments of a path such as `ports[0].port`; the name of a service is `metadata.name` there. */
const segmentsOf = (path: string): PathSegment[] =>
  (path === 'metadata.name' ? 'name' : path)
    .split(/[.[\]]+/u)
    .filter((part) => part !== '')
    .map((part) => (/^\d+$/u.test(part) ? Number(part) : part));
