import { failure } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { validate } from '../../base/schema/index.ts';
import type { JsonSchema } from '../../base/schema/index.ts';
import type { NodeSelector, Rollout } from '../document/read.ts';
import { mostLabels } from '../document/schema.ts';

export const groupsPrefix = '/portcullis/node-groups/';
const revisionsPrefix = '/portcullis/node-revisions/';

/** The specification of a group, as the commands request it. */
export interface GroupSpec {
  /** Fingerprint of the state. */
  readonly revision: string;
  /** Counts the changes of the group. */
  readonly generation: number;
  /** Counts the attempts at this generation: failures of earlier attempts no longer halt it. */
  readonly attempt: number;
  /** The last revision that every node had. */
  readonly stable?: string;
  readonly selector: NodeSelector;
  readonly rollout: Rollout;
}

/** The record of a node about itself. */
export interface NodeRecord {
  readonly generation: number;
  readonly attempt: number;
  readonly revision: string;
  readonly phase: 'changing' | 'failed' | 'ready' | 'waiting';
  readonly why?: string;
  readonly labels: Readonly<Record<string, string>>;
  /** RFC 3339. */
  readonly at: string;
}

export const specKey = (group: string): string => `${groupsPrefix}${group}/spec`;
export const nodePrefix = (group: string): string => `${groupsPrefix}${group}/nodes/`;
export const placePrefix = (group: string): string => `${groupsPrefix}${group}/changing/`;
export const revisionPrefix = (group: string): string => `${revisionsPrefix}${group}/`;
export const revisionKey = (group: string, revision: string): string => `${revisionPrefix(group)}${revision}`;

/** The parts of a key below {@link groupsPrefix}; undefined for any other key. */
export type GroupKey =
  | { readonly group: string; readonly part: 'spec' }
  | { readonly group: string; readonly part: 'changing' | 'nodes'; readonly node: string };

export function readGroupKey(key: string): GroupKey | undefined {
  if (!key.startsWith(groupsPrefix)) return undefined;
  const [group = '', part, node, ...more] = key.slice(groupsPrefix.length).split('/');
  if (group === '' || more.length > 0) return undefined;
  if (part === 'spec' && node === undefined) return { group, part };
  return (part === 'nodes' || part === 'changing') && node !== undefined && node !== ''
    ? { group, part, node }
    : undefined;
}

/** The default limit of etcd for a request. A selector can name thousands of nodes. */
const mostSpecBytes = 1.5 * 1024 * 1024;
/** More than the labels and the reason of a node can have. */
const mostNodeBytes = 64 * 1024;

const whole = { type: 'integer', minimum: 0 } as const;
const hash = { type: 'string', pattern: '^[0-9a-f]{64}$' } as const;
const labels = {
  type: 'object',
  maxProperties: mostLabels,
  additionalProperties: { type: 'string', maxLength: 63 },
} as const;
const specSchema: JsonSchema = {
  type: 'object',
  required: ['revision', 'generation', 'attempt', 'selector', 'rollout'],
  properties: {
    revision: hash,
    generation: whole,
    attempt: whole,
    stable: hash,
    selector: {
      type: 'object',
      properties: { names: { type: 'array', items: { type: 'string' } }, labels },
    },
    rollout: {
      type: 'object',
      required: ['maxUnavailable', 'pauseSeconds', 'deadlineSeconds', 'gate'],
      properties: {
        maxUnavailable: { type: 'integer', minimum: 1 },
        pauseSeconds: whole,
        deadlineSeconds: whole,
        gate: {
          type: 'object',
          required: ['healthySeconds', 'daemonReady'],
          properties: { healthySeconds: whole, daemonReady: { type: 'boolean' } },
        },
      },
    },
  },
};
const nodeSchema: JsonSchema = {
  type: 'object',
  required: ['generation', 'attempt', 'revision', 'phase', 'labels', 'at'],
  properties: {
    generation: whole,
    attempt: whole,
    revision: { type: 'string', maxLength: 64 },
    phase: { enum: ['changing', 'failed', 'ready', 'waiting'] },
    why: { type: 'string', maxLength: 4096 },
    labels,
    at: { type: 'string', maxLength: 40 },
  },
};

/** A value that another host wrote may be anything. Undefined: it is not a record. */
const readRecord = (bytes: Buffer, schema: JsonSchema, mostBytes: number): unknown => {
  if (bytes.length > mostBytes) return undefined;
  try {
    const value = parseJson(bytes.toString());
    const position = { file: '', line: 0, column: 0 };
    const problems = validate({ value, file: '', positionOf: () => position }, schema);
    return problems.length === 0 ? value : undefined;
  } catch {
    return undefined;
  }
};

export const readSpec = (bytes: Buffer): GroupSpec | undefined =>
  readRecord(bytes, specSchema, mostSpecBytes) as GroupSpec | undefined;
export const readNodeRecord = (bytes: Buffer): NodeRecord | undefined =>
  readRecord(bytes, nodeSchema, mostNodeBytes) as NodeRecord | undefined;

/** Maximum length of the reason that a node gives, in characters. */
const longestWhy = 2000;

export const writeRecord = (value: GroupSpec | NodeRecord | object): Buffer =>
  Buffer.from(JSON.stringify(value));
export const shortened = (why: string): string =>
  why.length > longestWhy ? `${why.slice(0, longestWhy)}…` : why;

export function unknownGroup(group: string) {
  return failure(
    'NODE_GROUP_UNKNOWN',
    'not-found',
    'find the group',
    group,
    'etcd has no group of that name',
    'see `portcullis node group status`, or apply the group first',
  );
}
