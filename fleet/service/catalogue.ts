/** A metric of the aggregator. */
export interface FleetMetric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly labels: readonly string[];
  readonly help: string;
}

const metric = (
  type: FleetMetric['type'],
  name: string,
  labels: readonly string[],
  help: string,
): FleetMetric => ({ type, name: `portcullis_fleet_${name}`, labels, help });

/** Every metric of the aggregator. docs/fleet.md lists them. */
export const fleetMetrics = {
  nodes: metric('gauge', 'nodes', [], 'Nodes that have sent something.'),
  silent: metric('gauge', 'nodes_silent', [], 'Nodes that have sent nothing for five minutes.'),
  alerts: metric('gauge', 'alerts', ['code'], 'Alerts by their code. Each alert is about one node.'),
  enforcement: metric(
    'gauge',
    'nodes_enforcement',
    ['result'],
    'Nodes by the result of their enforcement check.',
  ),
  revisions: metric(
    'gauge',
    'policy_revisions',
    [],
    'Number of policy revisions that are in force on any node.',
  ),
  outOfPolicy: metric(
    'gauge',
    'containers_out_of_policy',
    [],
    'Running containers that the policy in force on their node would not admit.',
  ),
  degraded: metric(
    'gauge',
    'containers_degraded',
    [],
    'Running containers with less confinement than their profile requires.',
  ),
  running: metric('gauge', 'containers_running', [], 'Containers that run on all nodes.'),
  rootDays: metric(
    'gauge',
    'root_days',
    ['root'],
    'Days until a root or certificate that a policy depends on expires, for the 50 that expire first; negative after the expiry.',
  ),
  rows: metric(
    'counter',
    'rows_total',
    ['outcome'],
    'Rows of verdict logs received since the start, by outcome.',
  ),
  requests: metric(
    'counter',
    'requests_total',
    ['code'],
    'Requests answered, by status. 499: the client left before its answer.',
  ),
  refused: metric('counter', 'records_refused_total', [], 'Log records of nodes that were refused.'),
  bytes: metric('gauge', 'stored_bytes', [], 'Bytes of the rows and texts that are stored.'),
} as const satisfies Readonly<Record<string, FleetMetric>>;
