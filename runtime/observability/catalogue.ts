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

function metric(name: string, type: MetricDefinition['type'], help: string, labels: readonly string[] = [], buckets?: readonly number[]) {
  return { name: `portcullis_${name}`, type, help, labels, ...(buckets !== undefined && { buckets }) } satisfies MetricDefinition;
}

/** All metrics. */
export const metricCatalogue = {
  buildInfo: metric('build_info', 'gauge', 'Always 1; the labels say what runs.', ['version', 'node']),
  rpcDuration: metric('rpc_duration_seconds', 'histogram', 'How long calls took, streams until their end.', ['method', 'code'], rpcSeconds),
  rpcsInFlight: metric('rpcs_in_flight', 'gauge', 'Calls that are being served.', ['method']),
  pods: metric('pods', 'gauge', 'Pod sandboxes that are listed.', ['state']),
  containers: metric('containers', 'gauge', 'Containers that are listed.', ['state']),
  containersDegraded: metric('containers_degraded', 'gauge', 'Running containers whose profile this node cannot enforce completely.'),
  containersUnmonitored: metric('containers_unmonitored', 'gauge', 'Running containers whose monitor has ended: their output is lost.'),
  containerStarts: metric('container_starts_total', 'counter', 'Containers that were started (ok) or could not be (failed).', ['outcome']),
  containerExits: metric('container_exits_total', 'counter', 'Containers that ended, by the reason that their status tells.', ['reason']),
  containerOoms: metric('container_ooms_total', 'counter', 'Containers that ended because the kernel killed a process for want of memory.'),
  images: metric('images', 'gauge', 'Images that are listed; verified=false: a rule with `allow: unverified` let them in.', ['verified']),
  imageBytes: metric('image_bytes', 'gauge', 'Disk space of all images, compressed and unpacked.'),
  pulls: metric('image_pulls_total', 'counter', 'Pulls by outcome: admitted, denied, undecided, cancelled, failed.', ['outcome']),
  pullDuration: metric('image_pull_duration_seconds', 'histogram', 'How long pulls took.', ['outcome'], pullSeconds),
  fetchedBytes: metric('image_fetched_bytes_total', 'counter', 'Bytes of image content fetched from registries, whatever was decided.'),
  verdicts: metric('verdicts_total', 'counter', 'Verdicts on images: admit, deny, undecided; act: pull, run.', ['outcome', 'act']),
  verifications: metric(
    'signature_verifications_total',
    'counter',
    'Sigstore bundles verified, each with all that belongs to it; answers that were given before cost none.',
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
  networkLeases: metric('network_leases', 'gauge', 'Addresses that are given away; those of address plugins of others are not known.', [
    'network',
  ]),
  networkLeasesSize: metric('network_leases_size', 'gauge', 'Addresses that there are to give away.', ['network']),
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
    'Questions for names: answered, denied, forwarded (and answered by others), failed, refused, malformed, ignored.',
    ['result'],
  ),
  dnsForwards: metric(
    'network_dns_forwards_total',
    'counter',
    'Questions to other name servers: answered, failed, limited (too many were under way).',
    ['outcome'],
  ),
  dnsForwardSeconds: metric('network_dns_forward_seconds_total', 'counter', 'What they took, in all.', ['outcome']),
  dnsGates: metric(
    'network_dns_gates',
    'gauge',
    'Addresses at which names are answered (open), and where they should be and are not (closed).',
    ['state'],
  ),
  networkRepairs: metric('network_repairs_total', 'counter', 'Links and rules that were found other than recorded, and made right.'),
  networkLinksLost: metric(
    'network_links_lost',
    'gauge',
    'Links of running pods that another program took away and that could not be made again. Alert above 0.',
  ),
  networkLinksAltered: metric(
    'network_links_altered',
    'gauge',
    'Links of running pods whose end in the pod was changed there. `portcullis network gc --altered` gives back what it had.',
  ),
  networkPolicies: metric('network_policies', 'gauge', 'NetworkPolicies in force.'),
  networkPolicyProblems: metric(
    'network_policy_problems',
    'gauge',
    'Files and objects of the folder network.policies that are not in force as they are written. Alert above 0.',
  ),
  services: metric('services', 'gauge', 'Services that are described; source: files, command, kubernetes, overlay, networks.', ['source']),
  servicesRefused: metric('services_refused', 'gauge', 'Services that the balancer cannot serve: they are not balanced.'),
  serviceBalancer: metric('service_balancer_info', 'gauge', 'Always 1; what balances: nftables, ipvs.', ['balancer']),
  serviceServers: metric('service_virtual_servers', 'gauge', 'Addresses, protocols and ports that are balanced.'),
  serviceRepairs: metric('service_repairs_total', 'counter', 'Virtual servers that another program had changed, and that were made anew.'),
  serviceDenied: metric(
    'service_denied_packets_total',
    'counter',
    'Packets from outside the source ranges of a service, which were dropped.',
    ['service'],
  ),
  serviceWeight: metric('service_backend_weight', 'gauge', 'Weight with which a backend gets connections; 0: none.', [
    'service',
    'port',
    'backend',
  ]),
  serviceWell: metric('service_backend_well', 'gauge', '0 while the health checks of a backend fail.', ['service', 'port', 'backend']),
  serviceActive: metric('service_backend_active_connections', 'gauge', 'Connections to a backend that stand.', [
    'service',
    'port',
    'backend',
  ]),
  serviceConnections: metric(
    'service_backend_connections_total',
    'counter',
    'Connections to a backend, where the kernel counts them. Metrics tell the first 10,000 backends by the name of their service.',
    ['service', 'port', 'backend'],
  ),
  networkDeniedPackets: metric(
    'network_denied_packets_total',
    'counter',
    'Packets that the link of a pod denied, by rule: `network.none`, `network.address`, `network.egress`, `network.ingress`, a NetworkPolicy.',
    ['direction', 'rule'],
  ),
  networkDeniedBytes: metric('network_denied_bytes_total', 'counter', 'Their bytes.', ['direction', 'rule']),
  exceptions: metric('policy_exceptions_total', 'counter', 'Refusals that did not hold: break-glass, report; act: pull, run.', [
    'kind',
    'act',
  ]),
  policyExceptions: metric('policy_exceptions', 'gauge', 'Rules in force that do not refuse, by why: break-glass, report, logs.', ['kind']),
  outOfPolicy: metric('containers_out_of_policy', 'gauge', 'Containers that run and that the policy in force would not admit.', [
    'namespace',
    'rule',
  ]),
  imagesOutOfPolicy: metric('images_out_of_policy', 'gauge', 'Recorded images that the policy in force would not admit again.'),
  evidenceRenewals: metric(
    'evidence_renewals_total',
    'counter',
    'Tries to renew what ends in recorded evidence, such as answers about revocation: renewed, failed.',
    ['outcome'],
  ),
  evidenceEnded: metric('evidence_ended', 'gauge', 'Images with evidence whose time is over: not admitted until it is renewed.'),
  rootUpdates: metric('sigstore_root_updates_total', 'counter', 'Updates of sigstore roots from TUF: updated, unchanged, failed.', [
    'outcome',
  ]),
  rootsFailing: metric('sigstore_roots_failing', 'gauge', 'TUF repositories of sigstore roots whose latest update failed.'),
  policyLoads: metric('policy_loads_total', 'counter', 'Loads of the policy: loaded, failed.', ['outcome']),
  policyInForce: metric('policy_in_force', 'gauge', '1 when there is a valid policy; without one everything new is denied.'),
  policyReloadFailed: metric('policy_reload_failed', 'gauge', '1 when the latest load failed; the policy before it stays in force.'),
  policyInfo: metric('policy_info', 'gauge', 'Always 1; the label is the revision in force.', ['revision']),
  policyRules: metric('policy_rules', 'gauge', 'Rules in force; verified=false: those with `allow: unverified`.', ['verified']),
  enforcement: metric('enforcement', 'gauge', '1 for what is known of enforcement, else 0: pass, fail, could-not-tell.', ['result']),
  enforcementFindings: metric(
    'enforcement_findings',
    'gauge',
    'Ways in which the policy is inert on this node, by code; accepted: those that the configuration lets pass.',
    ['code', 'accepted'],
  ),
  enforcementTried: metric(
    'enforcement_last_try_timestamp_seconds',
    'gauge',
    'When the planted pair was last tried, in seconds since 1970; 0: never.',
  ),
  eventClients: metric('event_clients', 'gauge', 'Clients that get container events.'),
  eventsWaiting: metric('events_waiting', 'gauge', 'Events that wait for clients to read.'),
  eventsSent: metric('events_sent_total', 'counter', 'Events queued for clients, one for each client.'),
  eventsLost: metric('events_lost_total', 'counter', 'Events that slow clients missed; each was told by the end of its stream.'),
  auditFailures: metric('audit_failures_total', 'counter', 'Lines of the audit log that could not be written.'),
  loopDelay: metric('event_loop_delay_seconds', 'gauge', 'Delay of the main thread since the last scrape, by quantile.', ['quantile']),
  cpuSeconds: metric('process_cpu_seconds_total', 'counter', 'Processor time of the daemon, user and system.'),
  residentBytes: metric('process_resident_memory_bytes', 'gauge', 'Resident memory of the daemon.'),
  heapBytes: metric('process_heap_bytes', 'gauge', "JavaScript heap of the daemon's main thread in use."),
  openFds: metric('process_open_fds', 'gauge', 'Open file descriptors of the daemon.'),
  startTime: metric('process_start_time_seconds', 'gauge', 'When the daemon started, in seconds since 1970.'),
} as const;
