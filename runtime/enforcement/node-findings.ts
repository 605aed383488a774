import type { TrustPolicy } from '../../trust/index.ts';
import { ruleMatchesReference } from '../../trust/policy/index.ts';
import { registryRulesOf } from '../config/registry-rules.ts';
import type { DaemonConfig } from '../config/types.ts';
import { found } from '../findings/finding-codes.ts';
import type { Found, WayCode } from '../findings/finding-codes.ts';

/** Facts about the node, apart from the policy's text. */
export interface NodeFacts {
  readonly policy: TrustPolicy | undefined;
  /** Why the latest load failed. */
  readonly problem: string | undefined;
  readonly policyPaths: readonly {
    readonly path: string;
    readonly state: 'there' | 'empty' | 'gone';
    readonly why?: string;
  }[];
  readonly outOfPolicy: {
    readonly containers: readonly { readonly rule: string; readonly count: number }[];
    readonly images: number;
  };
  /** Why the folder cannot be written. Undefined if it can. */
  readonly root?: string;
  readonly audit?: string;
  /** The socket that the kubelet's own configuration file names. Undefined if it names none. */
  readonly kubeletSocket?: string;
}

/** Returns the findings that are visible in the configuration and on the node. Pure. */
export function nodeFindings(
  config: Pick<DaemonConfig, 'socket' | 'root' | 'audit' | 'registries' | 'enforcement'>,
  facts: NodeFacts,
): readonly Found[] {
  const findings: Found[] = [];
  const note = (code: WayCode, on: string, detail?: string): void =>
    void findings.push(found(code, on, detail));
  const { policy, problem } = facts;
  if (policy === undefined) note('NO_POLICY', 'policy', problem);
  else if (problem !== undefined)
    note('POLICY_NOT_RELOADED', 'policy', `revision ${policy.revision}; ${problem}`);
  for (const { path, state, why } of facts.policyPaths) {
    if (state === 'empty') note('POLICY_FOLDER_EMPTY', path);
    if (state === 'gone') note('POLICY_PATH_GONE', path, why);
  }
  for (const { rule, count } of facts.outOfPolicy.containers)
    note('OUT_OF_POLICY_RUNS', rule === '' ? 'no rule' : `rule ${rule}`, `${count} running`);
  if (facts.outOfPolicy.images > 0) note('IMAGES_OUT_OF_POLICY', 'images', String(facts.outOfPolicy.images));
  for (const host of plainHosts(config)) {
    const rule = policy?.rules.find(
      (one) =>
        one.images.some((pattern) => pattern.startsWith(`${host}/`)) ||
        ruleMatchesReference(one, `${host}/any`),
    );
    if (rule !== undefined) note('PLAIN_HTTP', host, `rule ${rule.name}`);
  }
  if (facts.root !== undefined) note('VERDICT_LOG_UNWRITABLE', config.root, facts.root);
  if (facts.audit !== undefined) note('AUDIT_LOG_UNWRITABLE', config.audit.path, facts.audit);
  if (facts.kubeletSocket !== undefined && facts.kubeletSocket !== config.socket)
    note('KUBELET_ELSEWHERE', facts.kubeletSocket);
  const { admitted, refused } = config.enforcement;
  if (admitted === '' || refused === '') note('NO_PLANTED_PAIR', 'enforcement');
  return findings;
}

/** Returns the beginnings of names whose images are fetched over plain HTTP beyond this machine. */
function plainHosts({ registries }: Pick<DaemonConfig, 'registries'>): ReadonlySet<string> {
  const mirrored = [...registryRulesOf(registries)].flatMap(([prefix, { mirrors }]) => {
    const isPlain = mirrors
      .map(({ url }) => new URL(url))
      .some(({ protocol, hostname }) => protocol === 'http:' && !isLoopback(hostname));
    return isPlain ? [prefix.replace(/^\*/, 'any')] : [];
  });
  return new Set([...registries.insecure.filter((host) => !isLoopback(host)), ...mirrored]);
}

function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/.test(host);
}
