import { parseJson } from '../../base/json/index.ts';
import type { NodeSummary } from '../intake/summary.ts';
import { logProblems } from '../store/node-record.ts';
import { listNodes } from '../store/queries.ts';
import type { ListedNode, Reader } from '../store/queries.ts';

/** Conditions that an operator should look at. */
export const alertCodes = {
  ...logProblems,
  NODE_SILENT: 'The node has sent nothing for five minutes.',
  POLICY_MISSING: 'No policy is in force on the node, so it admits no new images and no new containers.',
  POLICY_NOT_LOADED: 'The latest load of the policy failed. The earlier policy is in force.',
  ENFORCEMENT_FAILS: 'The node did not prove that its policy refuses images.',
  CONTAINERS_OUT_OF_POLICY: 'Containers run that the policy in force would not admit.',
  CONTAINERS_DEGRADED: 'Containers run with less confinement than their profile requires.',
  PODS_WITHOUT_NETWORK: 'Pods of the node get no network.',
  ROOT_ENDS: 'A root or certificate that the policy depends on expires within fourteen days, or has expired.',
} as const;

export type AlertCode = keyof typeof alertCodes;

/** An alert about a node. */
export interface Alert {
  readonly code: AlertCode;
  readonly node: string;
  readonly text: string;
}

/** A node that sends nothing for this time, in ms, is silent. */
export const silentMs = 300_000;
const rootSoonMs = 14 * 86_400_000;

/** Returns the summary of a node for lists, or undefined when it has sent no state. */
export const summaryOf = ({ summary }: ListedNode): NodeSummary | undefined =>
  summary === '' ? undefined : (parseJson(summary) as NodeSummary);

/** Returns the alerts about a node. Pure. */
export function alertsOf(node: ListedNode, now: number): readonly Alert[] {
  const alerts: Alert[] = [];
  const add = (code: AlertCode, isTrue: boolean, detail: string): void => {
    if (isTrue) alerts.push({ code, node: node.name, text: detail });
  };
  for (const code of node.problems)
    if (Object.hasOwn(logProblems, code)) add(code as AlertCode, true, alertCodes[code as AlertCode]);
  // A time in the future is one of a clock that was ahead. A node that still sends has sent since then.
  const seen = new Date(node.seen).toISOString();
  const from = node.seen > now ? 'since the clock of the aggregator was set back from' : 'since';
  add('NODE_SILENT', Math.abs(now - node.seen) > silentMs, `${from} ${seen}`);
  const summary = summaryOf(node);
  if (summary === undefined) return alerts;
  const { revision, policyProblem, enforcement, outOfPolicy, degraded, networkReady, root } = summary;
  add('POLICY_MISSING', revision === undefined, policyProblem ?? 'no policy is configured');
  add('POLICY_NOT_LOADED', revision !== undefined && policyProblem !== undefined, policyProblem ?? '');
  add('ENFORCEMENT_FAILS', enforcement === 'fail', 'read the findings of the node');
  add('CONTAINERS_OUT_OF_POLICY', outOfPolicy > 0, `containers: ${outOfPolicy}`);
  add('CONTAINERS_DEGRADED', degraded > 0, `containers: ${degraded}`);
  add('PODS_WITHOUT_NETWORK', !networkReady, 'the network of its pods is not ready');
  add(
    'ROOT_ENDS',
    root !== undefined && Date.parse(root.ends) - now < rootSoonMs,
    root === undefined ? '' : `${root.name} expires at ${root.ends}`,
  );
  return alerts;
}

/** Returns the alerts about all nodes. */
export async function listAlerts(reader: Reader, now: number): Promise<readonly Alert[]> {
  return (await listNodes(reader)).flatMap((node) => alertsOf(node, now));
}
