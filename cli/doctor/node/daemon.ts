import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseJson } from '../../../base/json/index.ts';
import { errnoOf, isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { networksIn } from '../../../cni-plugins/index.ts';
import type { NetworkFigures } from '../../../cni-plugins/index.ts';
import { createCriClient, endedInDatabase, loadPolicySet } from '../../../runtime/index.ts';
import type { CriClient, DaemonConfig, EnforcementState } from '../../../runtime/index.ts';
import type { TrustPolicy } from '../../../trust/index.ts';
import { standingExceptions } from '../../../trust/policy/index.ts';
import type { StandingException } from '../../../trust/policy/index.ts';
import type { Finding } from '../finding.ts';
import { lostLinkFindings } from './lost-links.ts';
import { changeablePolicy } from './changeable-files.ts';

/** Answers of a running daemon (Status and RuntimeConfig of the CRI). */
export interface Answers {
  readonly version: string;
  /** Why no pod or no container can start. */
  readonly obstacle?: string;
  readonly network: { readonly ready: boolean; readonly message: string };
  readonly cniConfDir?: string | undefined;
  readonly networkPolicies?: NetworkFigures['policies'];
  readonly policy: PolicyInForce;
  /** Absent for an older daemon, which does not prove enforcement. */
  readonly enforcement?: EnforcementState;
  readonly cgroupDriver: 'cgroupfs' | 'systemd';
  /** Ids of containers whose monitor is lost. */
  readonly unmonitored?: readonly string[];
}

interface PolicyInForce {
  readonly inForce: boolean;
  readonly revision: string;
  readonly rules: number;
  readonly unverified: readonly { readonly rule: string; readonly images: readonly string[] }[];
  readonly exceptions?: readonly StandingException[];
  readonly problem?: string;
  readonly endedEvidence?: readonly { readonly names: readonly string[]; readonly since?: string }[];
  readonly failingRoots?: readonly { readonly url: string; readonly why: string; readonly until?: string }[];
}

type PolicySources = Pick<DaemonConfig, 'policy' | 'policySubscription' | 'cluster'>;

const patienceMs = 5_000;

/** Asks the daemon at the socket. Returns a string that says why when it does not answer. */
export async function askDaemon(socket: string): Promise<Answers | string> {
  const absent = absenceOf(socket);
  if (absent !== undefined) return absent;
  const client = createCriClient(socket);
  try {
    return await answersOf(client);
  } catch (thrown) {
    return isPortcullisError(thrown) ? thrown.failure.why : reasonOf(thrown);
  } finally {
    client.close();
  }
}

/** Returns why there is no socket, or undefined if there is one. A folder can be closed to this user. */
function absenceOf(socket: string): string | undefined {
  try {
    statSync(socket);
    return undefined;
  } catch (thrown) {
    return errnoOf(thrown) === 'EACCES'
      ? `this user may not look at ${socket}`
      : `nothing listens at ${socket}`;
  }
}

/** Returns what to do about a daemon that does not answer. */
export function silentDaemonFix(
  why: string,
  isRoot: boolean,
  systemd = existsSync('/run/systemd/system'),
): string {
  if (!isRoot && !why.startsWith('nothing listens')) return 'run as root';
  return systemd ? 'systemctl start portcullisd' : 'start the program portcullisd, as root';
}

async function answersOf({ runtime }: CriClient): Promise<Answers | string> {
  const options = { timeoutMs: patienceMs };
  const { runtimeName, runtimeVersion } = await runtime.version({}, options);
  if (runtimeName !== 'portcullis') return `${runtimeName} ${runtimeVersion} is behind this socket`;
  const { status, info } = await runtime.status({ verbose: true }, options);
  const { linux } = await runtime.runtimeConfig({}, options);
  const conditionOf = (wanted: string) => status?.conditions.find(({ type }) => type === wanted);
  const [itself, network] = [conditionOf('RuntimeReady'), conditionOf('NetworkReady')];
  const shown = parseJson(info['config'] ?? '{}') as Pick<Answers, 'cniConfDir' | 'unmonitored'>;
  return {
    version: runtimeVersion,
    ...(itself?.status === false && { obstacle: itself.message }),
    network: { ready: network?.status ?? false, message: network?.message ?? '' },
    cniConfDir: shown.cniConfDir,
    policy: parseJson(info['policy'] ?? '{}') as PolicyInForce,
    ...(info['networkPolicies'] !== undefined && {
      networkPolicies: parseJson(info['networkPolicies']) as NonNullable<Answers['networkPolicies']>,
    }),
    ...(info['enforcement'] !== undefined && {
      enforcement: parseJson(info['enforcement']) as EnforcementState,
    }),
    cgroupDriver: linux?.cgroupDriver === 0 ? 'systemd' : 'cgroupfs',
    unmonitored: shown.unmonitored ?? [],
  };
}

/** Reports the configured daemon and what the running daemon says about itself. */
export async function daemonFindings(
  config: DaemonConfig,
  answers: Answers | string,
): Promise<readonly Finding[]> {
  const running: Finding =
    typeof answers === 'string'
      ? {
          topic: 'daemon',
          state: 'missing',
          found: answers,
          meaning: ['the findings below come from its configuration'],
          fix: silentDaemonFix(answers, process.getuid?.() === 0),
        }
      : answeringDaemon(answers, config.socket);
  const reported = typeof answers === 'string' ? undefined : answers;
  return [
    running,
    ...(await policyFindingsOf(config, reported?.policy)),
    ...(await changeablePolicy(config)),
    reported === undefined ? networkOnDisk(config) : networkFinding(reported, config),
    ...networkPolicyFindings(reported, config),
    ...monitorFindings(reported?.unmonitored ?? []),
    ...(await lostLinkFindings(config, reported !== undefined)),
  ];
}

/** Returns the finding about a daemon that answers at this socket. */
export function answeringDaemon({ version, obstacle }: Answers, socket: string): Finding {
  const found = { topic: 'daemon', found: `${version} at ${socket}` };
  // The message of an obstacle ends with the advice.
  return obstacle === undefined
    ? { ...found, state: 'fine' }
    : { ...found, state: 'missing', meaning: [obstacle] };
}

/** @param policy what a running daemon reports */
async function policyFindingsOf(
  config: DaemonConfig,
  policy: PolicyInForce | undefined,
): Promise<readonly Finding[]> {
  if (policy !== undefined) return policyFindings(policy, config);
  const { policySubscription, cluster } = config;
  if (policySubscription === undefined && cluster?.policies !== true)
    return policyFindings(await policyOnDisk(config), config);
  const found =
    policySubscription === undefined
      ? 'objects of the cluster'
      : `releases of ${policySubscription.service}, channel ${policySubscription.channel}`;
  const meaning = ['the files of `policy` are not used, and only a running daemon knows what is in force'];
  const fix = 'systemctl start portcullisd, then portcullis policy status';
  return [{ topic: 'policy', state: 'degraded', found, meaning, fix }];
}

function policyFindings(policy: PolicyInForce, config: DaemonConfig): readonly Finding[] {
  const topic = 'policy';
  const found = policy.inForce
    ? `revision ${policy.revision.replace(/^sha256:/, '').slice(0, 12)}, ${policy.rules} ${policy.rules === 1 ? 'rule' : 'rules'}`
    : 'none in force';
  const fix = policyFix(config);
  const meaning = [
    ...(policy.inForce ? [] : ['everything new is denied']),
    ...(policy.problem === undefined ? [] : [policy.problem]),
  ];
  const first: Finding =
    meaning.length === 0
      ? { topic, state: 'fine', found }
      : { topic, state: policy.inForce ? 'degraded' : 'missing', found, meaning, fix };
  const exceptions = [...(policy.exceptions ?? []).map(exceptionFinding), ...troubleFindings(policy)];
  if (policy.unverified.length === 0) return [first, ...exceptions];
  const rules = policy.unverified.map(
    ({ rule, images }) => `rule ${rule} admits ${images.join(', ')} without any proof`,
  );
  return [
    first,
    {
      topic: 'unverified images',
      state: 'degraded',
      found: `${rules.length} ${rules.length === 1 ? 'rule' : 'rules'}`,
      meaning: rules,
      fix: 'require a signature',
    },
    ...exceptions,
  ];
}

/** Returns what to do about a policy that is not valid, or of which nothing exists yet. */
export function policyFix({ policy, policySubscription, cluster }: PolicySources): string {
  if (policySubscription !== undefined || cluster?.policies === true)
    return 'portcullis policy status says why';
  return policy.some((path) => existsSync(path))
    ? 'portcullis policy check PATH names every problem; the daemon loads corrected files by itself'
    : 'portcullis setup writes a first policy, and a network if there is none; the daemon loads both by itself';
}

/** Reports evidence that has ended and roots that cannot be updated, on which the policy relies. */
function troubleFindings({ endedEvidence = [], failingRoots = [] }: PolicyInForce): readonly Finding[] {
  const ended = endedEvidence.map(
    ({ names, since }) =>
      `${names.join(', ')}: not admitted${since === undefined ? '' : ` since ${since}`}, until a new answer can be fetched`,
  );
  const roots = failingRoots.map(({ url, why, until }): Finding => {
    const over = until !== undefined && Date.parse(until) <= Date.now();
    const holds =
      until === undefined
        ? 'the existing root stays valid'
        : over
          ? `the root has proved nothing since ${until}`
          : `the fetched root is valid until ${until}`;
    return {
      topic: 'sigstore root',
      state: 'degraded',
      found: url === '' ? 'a TUF repository' : url,
      meaning: [`it could not be updated: ${why}`, holds],
      fix: `let this machine reach it, or: portcullis sigstore-root update --url ${url}`,
    };
  });
  if (ended.length === 0) return roots;
  const fix =
    'let this machine reach the OCSP responders and revocation lists that the certificates name, over plain HTTP';
  return [
    { topic: 'ended evidence', state: 'degraded', found: `${ended.length} images`, meaning: ended, fix },
    ...roots,
  ];
}

/** Reports a rule that does not refuse, or whose `breakGlass` period is over. */
function exceptionFinding({ kind, rule, images, until, reason, by, ended }: StandingException): Finding {
  if (kind === 'report') {
    const meaning = [
      `images of ${images.join(', ')} that the rule would refuse are admitted, and only reported`,
    ];
    return {
      topic: 'policy reports only',
      state: 'degraded',
      found: `rule ${rule}`,
      meaning,
      fix: 'remove `mode: report` when the rule would refuse no image that must run',
    };
  }
  if (kind === 'logs') {
    const meaning = [`any signer of ${images.join(', ')} is admitted: the signer is only logged`];
    return {
      topic: 'policy logs only',
      state: 'degraded',
      found: `rule ${rule}`,
      meaning,
      fix: 'write `level: strict` or `permissive`',
    };
  }
  const who = `${reason ?? ''} (${by ?? ''})`;
  const meaning = ended
    ? [`it ended at ${until ?? ''}, and the rule refuses images again: ${who}`]
    : [`it admits ${images.join(', ')} until ${until ?? ''}: ${who}`];
  return {
    topic: 'break-glass',
    state: ended ? 'fine' : 'degraded',
    found: `rule ${rule}`,
    meaning,
    fix: 'remove `breakGlass`',
  };
}

async function policyOnDisk(config: DaemonConfig): Promise<PolicyInForce> {
  try {
    const { policy, tufRoots } = await loadPolicySet({ paths: config.policy });
    const unverified = policy.rules
      .filter((rule) => rule.allowUnverified)
      .map(({ name, images }) => ({ rule: name, images }));
    const exceptions = standingExceptions(policy, new Date());
    const failingRoots = tufRoots.flatMap(({ url, expires }) =>
      expires !== undefined && expires <= Date.now()
        ? [{ url, why: 'nothing has updated it', until: new Date(expires).toISOString() }]
        : [],
    );
    const endedEvidence = await endedOnDisk(config, policy);
    return {
      inForce: true,
      revision: policy.revision,
      rules: policy.rules.length,
      unverified,
      exceptions,
      failingRoots,
      endedEvidence,
    };
  } catch (thrown) {
    return {
      inForce: false,
      revision: '',
      rules: 0,
      unverified: [],
      problem: isPortcullisError(thrown) ? thrown.message : reasonOf(thrown),
    };
  }
}

/**
 * Reads ended evidence from the database. Returns nothing when no daemon has run yet or the database cannot
 * be read: `portcullis verdicts verify` reports the latter.
 */
async function endedOnDisk(
  { root }: DaemonConfig,
  policy: TrustPolicy,
): Promise<NonNullable<PolicyInForce['endedEvidence']>> {
  const database = join(root, 'state.db');
  return existsSync(database) ? endedInDatabase(database, policy, new Date()).catch(() => []) : [];
}

/** The daemon may run with flags that the configuration file lacks. */
function networkFinding({ network, cniConfDir }: Answers, { cni }: DaemonConfig): Finding {
  const [topic, confDir] = ['network', cniConfDir ?? cni.confDir];
  if (network.ready) return { topic, state: 'fine', found: `by ${confDir}` };
  return {
    topic,
    state: 'missing',
    found: 'not ready',
    meaning: [network.message],
    fix: `correct ${confDir}: it is read again at once`,
  };
}

/**
 * Reports the NetworkPolicies of a running daemon. They depend on what the daemon read before, so the files
 * alone do not determine them.
 */
function networkPolicyFindings(answers: Answers | undefined, { network }: DaemonConfig): readonly Finding[] {
  const { policies = 0, problems = [], cluster } = answers?.networkPolicies ?? {};
  const ofCluster = cluster === undefined ? [] : [clusterFinding(cluster)];
  if (policies === 0 && problems.length === 0) return ofCluster;
  const topic = 'NetworkPolicies';
  const found = `${policies} in force, from ${network.policies}${cluster === undefined ? '' : ' and the cluster'}`;
  if (problems.length === 0) return [{ topic, state: 'fine', found }, ...ofCluster];
  const fix = 'correct the files, which are read again within two seconds, or the objects of the cluster';
  return [{ topic, state: 'degraded', found, meaning: problems, fix }, ...ofCluster];
}

/** Reports what the node knows of the cluster, and whether the API server is watched. */
function clusterFinding({
  synced,
  isolated,
  away,
  awayFix,
  ...counts
}: NonNullable<NetworkFigures['policies']['cluster']>): Finding {
  const topic = 'cluster';
  const { pods, namespaces, policies } = counts;
  const found = `${policies} NetworkPolicies, ${pods} pods, ${namespaces} namespaces`;
  if (away === undefined && synced) return { topic, state: 'fine', found };
  const meaning = [
    ...(away === undefined ? [] : [`the API server is not watched: ${away}`]),
    isolated
      ? 'policies of the cluster are not known: every pod of this node is isolated'
      : 'the last known NetworkPolicies stay in force',
  ];
  const fix = awayFix ?? 'check network.kubernetes and the API server; the daemon retries by itself';
  return { topic, state: isolated ? 'missing' : 'degraded', found, meaning, fix };
}

function monitorFindings(unmonitored: readonly string[]): readonly Finding[] {
  if (unmonitored.length === 0) return [];
  const meaning = unmonitored.map(
    (id) =>
      `${id.slice(0, 13)} runs, but its output is lost; its exit code is known only if the kernel reports it`,
  );
  const fix =
    'restart these containers, and find out what ended their monitors (conmon): see the system log and the OOM killer';
  return [{ topic: 'monitors', state: 'degraded', found: `${unmonitored.length} lost`, meaning, fix }];
}

function networkOnDisk(config: DaemonConfig): Finding {
  const topic = 'network';
  try {
    const { networks, skipped } = networksIn(config.cni.confDir, config.network);
    return {
      topic,
      state: 'fine',
      found: `${networks.map(({ name }) => name).join(', ')}, by ${config.cni.confDir}`,
      ...(skipped.length > 0 && { meaning: skipped }),
    };
  } catch (thrown) {
    const [why, fix] = isPortcullisError(thrown)
      ? [thrown.failure.why, thrown.failure.fix]
      : [reasonOf(thrown), `correct ${config.cni.confDir}`];
    return {
      topic,
      state: 'missing',
      found: config.cni.confDir,
      meaning: [why, 'no pod gets an address'],
      fix,
    };
  }
}
