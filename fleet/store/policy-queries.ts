import type { UpcomingRelease } from './api.types.ts';
import { parseJson } from '../../base/json/index.ts';
import { listNodes } from './queries.ts';
import type { Reader } from './queries.ts';

/** A revision of a policy. */
export interface PolicyRevision {
  readonly revision: string;
  /** Names of the nodes where it is in force; at most 100 of them. */
  readonly nodes: readonly string[];
  readonly inForce: number;
  /** ISO 8601: when a node last sent its sources. Absent: no node has sent them. */
  readonly received?: string;
}

/**
 * Lists the revisions that are in force on any node, the most frequent first, and then the earlier revisions
 * whose sources are stored, the latest first.
 */
export async function listRevisions(reader: Reader): Promise<readonly PolicyRevision[]> {
  const stored = await reader.all(
    'SELECT revision, max(received) AS received FROM policy_node GROUP BY revision ORDER BY 2 DESC, 1 LIMIT 1000',
  );
  const received = new Map(
    stored.map((row) => [String(row['revision']), new Date(Number(row['received'])).toISOString()]),
  );
  const revisions = await revisionsInForce(reader);
  const inForce = [...revisions]
    .map(([revision, nodes]) => ({
      ...{ revision, nodes: nodes.slice(0, 100), inForce: nodes.length },
      ...(received.has(revision) && { received: received.get(revision) ?? '' }),
    }))
    .sort((a, b) => b.inForce - a.inForce);
  const earlier = [...received].filter(([revision]) => !revisions.has(revision));
  return [
    ...inForce,
    ...earlier.map(([revision, at]) => ({ revision, nodes: [], inForce: 0, received: at })),
  ];
}

/** Returns the sources of a policy as JSON, or undefined when no node has sent them. */
export async function textOfPolicy(reader: Reader, revision: string): Promise<string | undefined> {
  const row = await reader.get('SELECT json FROM policy WHERE revision = ?', [revision]);
  return row === undefined ? undefined : String(row['json']);
}

async function revisionsInForce(reader: Reader): Promise<ReadonlyMap<string, readonly string[]>> {
  const revisions = new Map<string, string[]>();
  for (const { name, summary } of await listNodes(reader)) {
    const { revision } = summary === '' ? {} : (parseJson(summary) as { revision?: string });
    if (revision === undefined) continue;
    const nodes = revisions.get(revision);
    if (nodes === undefined) revisions.set(revision, [name]);
    else nodes.push(name);
  }
  return revisions;
}

/** A workload that a policy that is not in force yet would refuse, and the number of nodes. */
export interface RefusedWorkload {
  readonly namespace: string;
  readonly reference: string;
  readonly outcome: string;
  /** `FILE:LINE` of the rule; empty when none applies. */
  readonly rule: string;
  readonly nodes: number;
}

const upcoming = "nullif(node.upcoming, '')";

/** Lists the releases that nodes have evaluated without putting them in force. */
export async function listUpcoming(reader: Reader): Promise<readonly UpcomingRelease[]> {
  // One node cannot define a release: the revision that most nodes name counts. States are large, so each is
  // read once.
  const rows = await reader.all(
    `WITH report AS MATERIALIZED (SELECT ${upcoming} AS one FROM node),
       named AS (SELECT one ->> '$.release' AS release, one ->> '$.revision' AS revision, count(*) AS nodes
         FROM report WHERE one ->> '$.revision' IS NOT NULL GROUP BY 1, 2),
       chosen AS (SELECT release, revision,
         row_number() OVER (PARTITION BY release ORDER BY nodes DESC, revision) AS place FROM named)
     SELECT one ->> '$.release' AS release, coalesce(max(chosen.revision), '') AS revision,
       count(*) AS nodes, sum(one ->> '$.count' > 0) AS refusing,
       count(one ->> '$.problem') AS failed, min(one ->> '$.problem') AS problem
     FROM report LEFT JOIN chosen ON chosen.release = one ->> '$.release' AND chosen.place = 1
     WHERE one IS NOT NULL GROUP BY 1 ORDER BY refusing DESC, 1 LIMIT 100`,
  );
  return rows.map((row) => ({
    release: String(row['release']),
    revision: String(row['revision']),
    nodes: Number(row['nodes']),
    refusing: Number(row['refusing']),
    failed: Number(row['failed']),
    ...(row['problem'] !== null && { problem: String(row['problem']) }),
  }));
}

/** Lists the workloads that a release would refuse. The workloads on the most nodes come first. */
export async function listRefused(
  reader: Reader,
  release: string,
  most: number,
): Promise<readonly RefusedWorkload[]> {
  const rows = await reader.all(
    `WITH report AS MATERIALIZED (SELECT id AS sender, ${upcoming} AS one FROM node)
     SELECT lost.value ->> '$.namespace' AS namespace, lost.value ->> '$.reference' AS reference,
       lost.value ->> '$.outcome' AS outcome, lost.value ->> '$.rule' AS rule, count(DISTINCT sender) AS nodes
     FROM report, json_each(one, '$.denials') AS lost
     WHERE one ->> '$.release' = ? GROUP BY 1, 2, 3, 4 ORDER BY nodes DESC, 2, 1, 4 LIMIT ?`,
    [release, most],
  );
  return rows.map((row) => ({
    namespace: String(row['namespace']),
    reference: String(row['reference']),
    outcome: String(row['outcome']),
    rule: String(row['rule']),
    nodes: Number(row['nodes']),
  }));
}

/** Reports whether a node would refuse more workloads than it names: a node names only the first of them. */
export async function hasUnnamedRefusals(reader: Reader, release: string): Promise<boolean> {
  const row = await reader.get(
    `WITH report AS MATERIALIZED (SELECT ${upcoming} AS one FROM node)
     SELECT 1 FROM report WHERE one ->> '$.release' = ?
       AND one ->> '$.count' > json_array_length(one, '$.denials') LIMIT 1`,
    [release],
  );
  return row !== undefined;
}
