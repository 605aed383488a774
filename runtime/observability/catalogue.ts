/** One metric, as Prometheus shows it and docs/observability.md lists it. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** Each label has few values: never a name, an id or an image. */
  readonly labels: readonly string[];
  readonly buckets?: readonly number[];
}

const rpcSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const actSeconds = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60];
const pullSeconds = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

function metric(
  name: string,
  type: MetricDefinition['type'],
  help: string,
  labels: readonly string[] = [],
  buckets?: readonly number[],
) {
  return {
    name: `portcullis_${name}`,
    type,
    help,
    labels,
    ...(buckets !== undefined && { buckets }),
  } satisfies MetricDefinition;
}

/** All metrics. */
export const metricCatalogue = {
  buildInfo: metric('build_info', 'gauge', 'Always 1; the labels are the running versions.', [
    'version',
    'node',
  ]),
  rpcDuration: metric(
    'rpc_duration_seconds',
    'histogram',
    'How long calls took, streams until their end.',
    ['method', 'code'],
    rpcSeconds,
  ),
  rpcsInFlight: metric('rpcs_in_flight', 'gauge', 'Calls that are being served.', ['method']),
  pods: metric('pods', 'gauge', 'Pod sandboxes that are listed.', ['state']),
  containers: metric('containers', 'gauge', 'Containers that are listed.', ['state']),
  containersDegraded: metric(
    'containers_degraded',
    'gauge',
    'Running containers whose profile this node cannot enforce completely.',
  ),
  containersUnmonitored: metric(
    'containers_unmonitored',
    'gauge',
    'Running containers whose monitor has ended: their output is lost.',
  ),
  containerStarts: metric(
    'container_starts_total',
    'counter',
    'Container starts that succeeded (ok) or failed (failed).',
    ['outcome'],
  ),
  containerExits: metric(
    'container_exits_total',
    'counter',
    'Containers that ended, by the reason in their status.',
    ['reason'],
  ),
  containerOoms: metric(
    'container_ooms_total',
    'counter',
    'Containers that ended because the OOM killer killed a process.',
  ),
  images: metric(
    'images',
    'gauge',
    'Images that are listed; verified=false: a rule with `allow: unverified` let them in.',
    ['verified'],
  ),
  imageBytes: metric('image_bytes', 'gauge', 'Disk space of all images, compressed and unpacked.'),
  pulls: metric(
    'image_pulls_total',
    'counter',
    'Pulls by outcome: admitted, denied, undecided, cancelled, failed.',
    ['outcome'],
  ),
  pullDuration: metric(
    'image_pull_duration_seconds',
    'histogram',
    'How long pulls took.',
    ['outcome'],
    pullSeconds,
  ),
  fetchedBytes: metric(
    'image_fetched_bytes_total',
    'counter',
    'Bytes of image content fetched from registries, whatever the decision.',
  ),
  pullsRunning: metric(
    'image_pulls_running',
    'gauge',
    'Pulls that are receiving content, or wait for the rest of a pull.',
  ),
  pullBytes: metric(
    'image_pull_bytes',
    'gauge',
    'Bytes of the layers of these pulls, compressed: received, missing.',
    ['state'],
  ),
  verdicts: metric(
    'verdicts_total',
    'counter',
    'Verdicts on images: admit, deny, undecided; act: pull, run.',
    ['outcome', 'act'],
  ),
  verifications: metric(
    'signature_verifications_total',
    'counter',
    'Sigstore bundles verified, each with all of its parts; cached answers are not counted.',
  ),
  poolSize: metric('namespace_pool_size', 'gauge', 'Sets of namespaces that are ready for the next pods.'),
  poolTarget: metric('namespace_pool_target', 'gauge', 'How many sets should be ready.'),
  networkReady: metric('network_ready', 'gauge', '1 when pods can get a network.'),
  networkAttachments: metric(
    'network_attachments',
    'gauge',
    'Attachments of pods, and of other runtimes by our plugins: attaching, ready, detaching.',
    ['network', 'state'],
  ),
  networkLeases: metric(
    'network_leases',
    'gauge',
    'Addresses that are in use; addresses of third-party address plugins are not known.',
    ['network'],
  ),
  networkLeasesSize: metric('network_leases_size', 'gauge', 'Addresses that can be assigned.', ['network']),
  networkActs: metric(
    'network_act_duration_seconds',
    'histogram',
    'How long attaching and detaching a pod took; act: attach, detach; outcome: ok, failed.',
    ['act', 'outcome'],
    actSeconds,
  ),
  dnsQueries: metric(
    'network_dns_queries_total',
    'counter',
    'Name queries: answered, denied, forwarded (answered by other servers), failed, refused, malformed, ignored.',
    ['result'],
  ),
  dnsForwards: metric(
    'network_dns_forwards_total',
    'counter',
    'Queries to other name servers: answered, failed, limited (too many at once).',
    ['outcome'],
  ),
  dnsForwardSeconds: metric('network_dns_forward_seconds_total', 'counter', 'Total time of these queries.', [
    'outcome',
  ]),
  dnsGates: metric(
    'network_dns_gates',
    'gauge',
    'Addresses at which the name server listens (open), and at which it should listen but does not (closed).',
    ['state'],
  ),
  networkRepairs: metric(
    'network_repairs_total',
    'counter',
    'Links and rules that differed from their records and were corrected.',
  ),
  networkLinksLost: metric(
    'network_links_lost',
    'gauge',
    'Links of running pods that another program removed and that could not be recreated. Alert above 0.',
  ),
  networkLinksAltered: metric(
    'network_links_altered',
    'gauge',
    'Links of running pods whose end in the pod was changed there. `portcullis network gc --altered` restores it.',
  ),
  networkPolicies: metric('network_policies', 'gauge', 'NetworkPolicies in force.'),
  networkPolicyProblems: metric(
    'network_policy_problems',
    'gauge',
    'Files and objects of NetworkPolicies that are not in force as they are written. Alert above 0.',
  ),
  clusterSynced: metric(
    'network_cluster_synced',
    'gauge',
    'Whether everything that the cluster had at the start has arrived: pods, namespaces, NetworkPolicies (0, 1).',
  ),
  clusterAway: metric(
    'network_cluster_away',
    'gauge',
    'Whether the API server is not watched (0, 1): NetworkPolicies stay as they are. Alert if it stays 1.',
  ),
  clusterObjects: metric(
    'network_cluster_objects',
    'gauge',
    'What is kept of the cluster for NetworkPolicies; kind: pods, namespaces, policies, groups, members.',
    ['kind'],
  ),
  clusterEvents: metric(
    'network_cluster_events_total',
    'counter',
    'What came from the API server for NetworkPolicies; kind: events, lists, failures.',
    ['kind'],
  ),
  clusterLag: metric(
    'network_cluster_lag_seconds',
    'gauge',
    'Time from the arrival of the last change of the cluster until the kernel had it.',
  ),
  services: metric(
    'services',
    'gauge',
    'Services that are defined; source: files, command, kubernetes, overlay, networks.',
    ['source'],
  ),
  servicesRefused: metric(
    'services_refused',
    'gauge',
    'Services that the balancer cannot serve: they have no load balancing.',
  ),
  serviceBalancer: metric('service_balancer_info', 'gauge', 'Always 1; the load balancer: nftables, ipvs.', [
    'balancer',
  ]),
  serviceServers: metric(
    'service_virtual_servers',
    'gauge',
    'Addresses, protocols and ports with load balancing.',
  ),
  serviceRepairs: metric(
    'service_repairs_total',
    'counter',
    'Virtual servers that another program had changed, and that were recreated.',
  ),
  serviceDenied: metric(
    'service_denied_packets_total',
    'counter',
    'Packets from outside the source ranges of a service, which were dropped.',
    ['service'],
  ),
  serviceWeight: metric(
    'service_backend_weight',
    'gauge',
    'Weight with which a backend gets connections; 0: none.',
    ['service', 'port', 'backend'],
  ),
  serviceWell: metric('service_backend_well', 'gauge', '0 while the health checks of a backend fail.', [
    'service',
    'port',
    'backend',
  ]),
  serviceActive: metric(
    'service_backend_active_connections',
    'gauge',
    'Connections to a backend that are open.',
    ['service', 'port', 'backend'],
  ),
  serviceConnections: metric(
    'service_backend_connections_total',
    'counter',
    'Connections to a backend, where the kernel counts them. Metrics cover the first 10,000 backends by the name of their service.',
    ['service', 'port', 'backend'],
  ),
  networkDeniedPackets: metric(
    'network_denied_packets_total',
    'counter',
    'Packets that the link of a pod denied, by rule: `network.none`, `network.address`, `network.egress`, `network.ingress`, a NetworkPolicy.',
    ['direction', 'rule'],
  ),
  networkDeniedBytes: metric('network_denied_bytes_total', 'counter', 'Their bytes.', ['direction', 'rule']),
  exceptions: metric(
    'policy_exceptions_total',
    'counter',
    'Refusals overridden by an exception: break-glass, report; act: pull, run.',
    ['kind', 'act'],
  ),
  nriCalls: metric(
    'nri_calls_total',
    'counter',
    'Calls of NRI plugins: ok, refused (by the plugin), timeout, lost.',
    ['method', 'outcome'],
  ),
  nriAdjustments: metric(
    'nri_adjustments_total',
    'counter',
    'Requests that NRI plugins adjusted: applied, refused.',
    ['outcome'],
  ),
  policyExceptions: metric(
    'policy_exceptions',
    'gauge',
    'Rules in force that do not refuse: break-glass, report, logs.',
    ['kind'],
  ),
  outOfPolicy: metric(
    'containers_out_of_policy',
    'gauge',
    'Running containers that the policy in force would not admit.',
    ['namespace', 'rule'],
  ),
  imagesOutOfPolicy: metric(
    'images_out_of_policy',
    'gauge',
    'Recorded images that the policy in force would not admit again.',
  ),
  evidenceRenewals: metric(
    'evidence_renewals_total',
    'counter',
    'Attempts to renew expiring parts of recorded evidence, such as revocation answers: renewed, failed.',
    ['outcome'],
  ),
  evidenceEnded: metric(
    'evidence_ended',
    'gauge',
    'Images with expired evidence: not admitted until it is renewed.',
  ),
  rootUpdates: metric(
    'sigstore_root_updates_total',
    'counter',
    'Updates of sigstore roots from TUF: updated, unchanged, failed.',
    ['outcome'],
  ),
  rootsFailing: metric(
    'sigstore_roots_failing',
    'gauge',
    'TUF repositories of sigstore roots whose latest update failed.',
  ),
  policyLoads: metric('policy_loads_total', 'counter', 'Loads of the policy: loaded, failed.', ['outcome']),
  policyInForce: metric(
    'policy_in_force',
    'gauge',
    '1 when there is a valid policy; without one everything new is denied.',
  ),
  policyReloadFailed: metric(
    'policy_reload_failed',
    'gauge',
    '1 when the latest load failed; the policy before it stays in force.',
  ),
  policyInfo: metric('policy_info', 'gauge', 'Always 1; the label is the revision in force.', ['revision']),
  policyRelease: metric(
    'policy_release',
    'gauge',
    'Number of the policy release in force, on a node that follows releases.',
    ['channel'],
  ),
  policyReleaseState: metric(
    'policy_release_state',
    'gauge',
    'Always 1; the label is how the node stands to the releases that it follows: none, current, pending, watching, halted, refused, withdrawn, stale.',
    ['state'],
  ),
  policyReleaseExpires: metric(
    'policy_release_expires_timestamp_seconds',
    'gauge',
    'Unix time at which the signed metadata of the policy releases expire.',
    ['channel'],
  ),
  policyReleaseContact: metric(
    'policy_release_contact_timestamp_seconds',
    'gauge',
    'Unix time of the last accepted answer from the source of the policy releases.',
    ['channel'],
  ),
  policyRules: metric(
    'policy_rules',
    'gauge',
    'Rules in force; verified=false: those with `allow: unverified`.',
    ['verified'],
  ),
  enforcement: metric(
    'enforcement',
    'gauge',
    '1 for the enforcement result, else 0: pass, fail, could-not-tell.',
    ['result'],
  ),
  enforcementFindings: metric(
    'enforcement_findings',
    'gauge',
    'Ways in which the policy is ineffective on this node, by code; accepted: those that the configuration accepts.',
    ['code', 'accepted'],
  ),
  enforcementTried: metric(
    'enforcement_last_try_timestamp_seconds',
    'gauge',
    'When the planted pair was last tested, in seconds since 1970; 0: never.',
  ),
  eventClients: metric('event_clients', 'gauge', 'Clients that receive container events.'),
  eventsWaiting: metric('events_waiting', 'gauge', 'Events that wait for clients to read.'),
  eventsSent: metric('events_sent_total', 'counter', 'Events queued for clients, one for each client.'),
  eventsLost: metric(
    'events_lost_total',
    'counter',
    'Events that slow clients missed; the stream of each was ended to report it.',
  ),
  auditFailures: metric(
    'audit_failures_total',
    'counter',
    'Lines of the audit log that could not be written.',
  ),
  loopDelay: metric(
    'event_loop_delay_seconds',
    'gauge',
    'Delay of the main thread since the last scrape, by quantile.',
    ['quantile'],
  ),
  cpuSeconds: metric(
    'process_cpu_seconds_total',
    'counter',
    'Processor time of the daemon, user and system.',
  ),
  residentBytes: metric('process_resident_memory_bytes', 'gauge', 'Resident memory of the daemon.'),
  heapBytes: metric('process_heap_bytes', 'gauge', "JavaScript heap of the daemon's main thread in use."),
  openFds: metric('process_open_fds', 'gauge', 'Open file descriptors of the daemon.'),
  startTime: metric('process_start_time_seconds', 'gauge', 'When the daemon started, in seconds since 1970.'),
} as const;
