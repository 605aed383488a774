import { parseJson } from '../../base/json/index.ts';
import type { JsonSchema } from '../../base/schema/index.ts';
import {
  countVerdicts,
  listNodes,
  listRows,
  listVerdicts,
  readNode,
  rowsOfVerdict,
  textOfVerdict,
} from '../store/queries.ts';
import type { Reader, VerdictFilter } from '../store/queries.ts';
import { listContainersOf, listRunning } from '../store/running-queries.ts';
import {
  hasUnnamedRefusals,
  listRefused,
  listRevisions,
  listUpcoming,
  textOfPolicy,
} from '../store/policy-queries.ts';
import { alertsOf, listAlerts, summaryOf } from './alerts.ts';
import { positionOf, writePosition } from './position.ts';

/**
 * The API of the aggregator for readers. This file is its only description: the server checks each request by
 * its schema, and `docs/fleet-api.md` is generated from it.
 */

/** The first segment of each path. An incompatible change gets another version. */
export const apiVersion = 'v1';

export interface ApiOperation {
  readonly summary: string;
  /** The schema of the query and of the parameter of the path. All values of a query are text. */
  readonly request: JsonSchema;
  /** @returns the answer, or undefined when the named thing is unknown */
  readonly answer: (reader: Reader, query: Query, now: number) => Promise<object | undefined>;
}

/** The checked values of a request. */
export type Query = Readonly<Record<string, string | undefined>>;

const name = { type: 'string', minLength: 1, maxLength: 253 } as const;
const text = { type: 'string', minLength: 1, maxLength: 512 } as const;
const mostField = {
  type: 'string',
  pattern: '^[1-9][0-9]{0,3}$',
  description: 'the maximum number of entries to return, 1 to 1000; default: 100',
} as const;
const time = {
  type: 'string',
  // Only times that Date.parse can read: no verdict is before or after an invalid time.
  pattern:
    '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])' +
    '(T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?Z)?$',
} as const;
const request = (
  properties: Readonly<Record<string, unknown>> = {},
  required: readonly string[] = [],
): JsonSchema => ({ type: 'object', additionalProperties: false, properties, required });

const filters = {
  node: { ...name, description: 'only verdicts of this node' },
  outcome: { enum: ['admit', 'deny', 'undecided'], type: 'string', description: 'only this outcome' },
  namespace: { type: 'string', maxLength: 253, description: 'only this namespace' },
  image: { ...text, description: 'a part of the reference or of the digest of the image' },
  reason: {
    type: 'string',
    pattern: '^[A-Z][A-Z0-9_]{0,63}$',
    description: 'a code of the reasons, such as `TRUST_RULE_UNSATISFIED`',
  },
  would: {
    enum: ['deny', 'undecided'],
    type: 'string',
    description:
      'only images that an exception of the policy admitted, by the outcome that the rule would have had',
  },
  since: { ...time, description: 'only verdicts from this time on (ISO 8601, UTC)' },
  until: { ...time, description: 'only verdicts before this time' },
} as const;

const mostOf = ({ most }: Query): number => Math.min(Number(most ?? '100'), 1000);
const timeOf = (value: string | undefined): number | undefined =>
  value === undefined ? undefined : Date.parse(value);

function filterOf({ node, outcome, namespace, image, reason, would, since, until }: Query): VerdictFilter {
  const given = {
    node,
    outcome,
    namespace,
    image,
    reason,
    would,
    since: timeOf(since),
    until: timeOf(until),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** The operations, by their path without the version. `{…}` is one segment, and a field of the request. */
export const apiOperations: Readonly<Record<string, ApiOperation>> = {
  summary: {
    summary: 'Counts nodes, verdicts and alerts.',
    request: request(),
    answer: async (reader, _query, now) => {
      const nodes = await listNodes(reader);
      const alerts = nodes.flatMap((node) => alertsOf(node, now));
      const count = (code: string): number => alerts.filter((alert) => alert.code === code).length;
      return {
        nodes: nodes.length,
        silent: count('NODE_SILENT'),
        alerts: alerts.length,
        verdicts: await countVerdicts(reader, {}),
      };
    },
  },
  nodes: {
    summary: 'Lists nodes in the order of their names. `next` is set if there are more.',
    request: request({
      after: { ...name, description: 'only nodes whose names come after this name' },
      most: mostField,
    }),
    answer: async (reader, query, now) => {
      const most = mostOf(query);
      const found = await listNodes(reader, query['after'], most + 1);
      const nodes = found.slice(0, most).map((node) => ({
        name: node.name,
        labels: node.labels,
        seen: new Date(node.seen).toISOString(),
        rows: node.seq,
        signed: node.signed,
        alerts: alertsOf(node, now).map(({ code }) => code),
        ...summaryOf(node),
      }));
      return { nodes, ...(found.length > most && { next: nodes.at(-1)?.name }) };
    },
  },
  'nodes/{node}': {
    summary:
      'Returns a node: its state as the node sent it, the key and the latest checkpoint of its log, and the problems of the log.',
    request: request({ node: { ...name, description: 'name of the node' } }, ['node']),
    answer: async (reader, { node = '' }) => {
      const found = await readNode(reader, node);
      if (found === undefined) return undefined;
      const { state, key, note, problems } = found;
      return {
        name: node,
        ...(state !== '' && { state: parseJson(state) }),
        key,
        checkpoint: note,
        problems,
      };
    },
  },
  'nodes/{node}/log': {
    summary:
      'Lists rows of the verdict log of a node as the node wrote them, in their order. With the key and the checkpoint of the node, a client can verify the chain itself. `next` is set if there are more, and is the value of `after` of the next request.',
    request: request(
      {
        node: { ...name, description: 'name of the node' },
        after: {
          type: 'string',
          pattern: '^[0-9]{1,15}$',
          description: 'only rows after the row of this number',
        },
        most: mostField,
      },
      ['node'],
    ),
    answer: async (reader, query) => {
      const { node = '', after = '0' } = query;
      if ((await readNode(reader, node)) === undefined) return undefined;
      const { entries, next } = await listRows(reader, node, Number(after), mostOf(query));
      return { rows: entries, ...(next !== undefined && { next: String(next) }) };
    },
  },
  verdicts: {
    summary: 'Lists verdicts of all nodes, the newest first. `next` is set if there are more.',
    request: request({
      ...filters,
      after: { type: 'string', maxLength: 64, description: '`next` of the previous page' },
      most: mostField,
    }),
    answer: async (reader, query) => {
      const after = query['after'] === undefined ? undefined : positionOf(query['after']);
      const { entries, next } = await listVerdicts(reader, filterOf(query), after, mostOf(query));
      return { verdicts: entries, ...(next !== undefined && { next: writePosition(next) }) };
    },
  },
  'verdicts/count': {
    summary: 'Counts verdicts by outcome.',
    request: request(filters),
    answer: async (reader, query) => ({ outcomes: await countVerdicts(reader, filterOf(query)) }),
  },
  'verdicts/{id}': {
    summary:
      'Returns a verdict with its tree of reasons, and the newest rows with this verdict. `text` is absent when no node has sent it.',
    request: request(
      { id: { type: 'string', pattern: '^sha256:[0-9a-f]{64}$', description: 'id of the verdict' } },
      ['id'],
    ),
    answer: async (reader, { id = '' }) => {
      const rows = await rowsOfVerdict(reader, id, 50);
      if (rows.length === 0) return undefined;
      const json = await textOfVerdict(reader, id);
      return { id, ...(json !== undefined && { text: parseJson(json) }), rows };
    },
  },
  images: {
    summary:
      'Lists the images that run, with the number of their containers and nodes. `next` is set if there are more, and contains the fields of the next request.',
    request: request({
      image: { ...text, description: 'a part of the reference' },
      after: { ...text, maxLength: 4096, description: 'only references that come after this reference' },
      afterId: {
        type: 'string',
        maxLength: 4096,
        description: 'also images of the reference `after` whose ids come after this id',
      },
      most: mostField,
    }),
    answer: async (reader, query) => {
      const { image = '', after = '', afterId } = query;
      const most = mostOf(query);
      const begin = { reference: after, ...(afterId !== undefined && { imageId: afterId }) };
      const found = await listRunning(reader, image, begin, most + 1);
      const last = found[most - 1];
      return {
        images: found.slice(0, most),
        ...(found.length > most &&
          last !== undefined && { next: { after: last.reference, afterId: last.imageId } }),
      };
    },
  },
  'images/containers': {
    summary:
      'Lists the containers that run from an image, with their nodes. `next` is set if there are more, and contains the fields of the next request.',
    request: request(
      {
        reference: { ...text, maxLength: 4096, description: 'a reference of `images`' },
        imageId: { type: 'string', maxLength: 4096, description: 'only the image with this id' },
        after: { ...name, description: 'only containers of this node and of the nodes that come after it' },
        afterId: {
          type: 'string',
          maxLength: 4096,
          description: 'on the node `after`: only containers whose ids come after this id',
        },
        most: mostField,
      },
      ['reference'],
    ),
    answer: async (reader, query) => {
      const { reference = '', imageId, after, afterId = '' } = query;
      const image = { reference, ...(imageId !== undefined && { imageId }) };
      const begin = after === undefined ? undefined : { node: after, id: afterId };
      const { entries, next } = await listContainersOf(reader, image, begin, mostOf(query));
      return {
        containers: entries,
        ...(next !== undefined && { next: { after: next.node, afterId: next.id } }),
      };
    },
  },
  policies: {
    summary:
      'Lists the revisions of policies that are in force, with their nodes, and then earlier revisions. `received` is set if the sources are stored.',
    request: request(),
    answer: async (reader) => ({ policies: await listRevisions(reader) }),
  },
  'policies/{revision}': {
    summary:
      'Returns the sources of a policy: the text of its files, with the profiles in them, and the digests of the keys that they refer to. The revision is computed from them.',
    request: request(
      {
        revision: { type: 'string', pattern: '^sha256:[0-9a-f]{64}$', description: 'revision of the policy' },
      },
      ['revision'],
    ),
    answer: async (reader, { revision = '' }) => {
      const json = await textOfPolicy(reader, revision);
      return json === undefined ? undefined : { revision, ...(parseJson(json) as object) };
    },
  },
  upcoming: {
    summary:
      'Lists the releases of policies that nodes have not put in force, and on how many nodes each would refuse what runs.',
    request: request(),
    answer: async (reader) => ({ releases: await listUpcoming(reader) }),
  },
  'upcoming/denials': {
    summary:
      'Lists the workloads that a release would refuse. The workloads on the most nodes come first. `more` is set if there are more, also if a node has sent only the first of its workloads.',
    request: request(
      {
        release: { ...text, description: 'a release of `upcoming`, such as `stable/7`' },
        most: mostField,
      },
      ['release'],
    ),
    answer: async (reader, query) => {
      const [most, release] = [mostOf(query), query['release'] ?? ''];
      const found = await listRefused(reader, release, most + 1);
      const more = found.length > most || (await hasUnnamedRefusals(reader, release));
      return { denials: found.slice(0, most), ...(more && { more }) };
    },
  },
  alerts: {
    summary: 'Lists the conditions that an operator should check.',
    request: request(),
    answer: async (reader, _query, now) => ({ alerts: await listAlerts(reader, now) }),
  },
};
