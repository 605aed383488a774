import { writePem } from '../../../base/pem/index.ts';
import { writeYaml } from '../../../base/schema/index.ts';
import type { Requirement, TrustPolicy, TrustRule } from '../../requirements/types.ts';
import type { Unmapped } from '../mapping/imported.ts';

type Json = Readonly<Record<string, unknown>>;

/** ClusterImagePolicy documents, and the parts that they cannot express. */
export interface ClusterImagePolicyExport {
  /** YAML; empty when no rule can be converted. */
  readonly text: string;
  readonly unmapped: readonly Unmapped[];
}

/**
 * Converts rules to policy-controller's ClusterImagePolicy (v1beta1): a key or identity, or any of several. A
 * rule that requires more is exported as a policy that always fails, so that no image is admitted there that
 * is denied here. In both, every matching policy must pass.
 */
export function exportClusterImagePolicies(policy: TrustPolicy): ClusterImagePolicyExport {
  const unmapped: Unmapped[] = [];
  const documents = policy.rules.map((rule, index) => {
    const said = authoritiesOf(rule);
    const [, file = rule.name, line = '1'] = /^(.*):(\d+)$/.exec(rule.name) ?? [];
    const problem = typeof said === 'string' ? said : undefined;
    if (problem !== undefined)
      unmapped.push({
        file,
        line: Number(line),
        column: 1,
        path: '',
        why: problem,
        became: 'its images fail in the exported policy',
      });
    const authorities = typeof said === 'string' ? [{ static: { action: 'fail', message: said } }] : said;
    // Without its exceptions a rule matches more images. The exported policy is then stricter.
    return {
      apiVersion: 'policy.sigstore.dev/v1beta1',
      kind: 'ClusterImagePolicy',
      metadata: { name: `portcullis-${index + 1}` },
      spec: {
        images: rule.images.map((glob) => ({ glob: globOf(glob.replace(/@.*$/, '')) })),
        authorities,
        ...(rule.mode === 'report' && problem === undefined ? { mode: 'warn' } : {}),
      },
    };
  });
  return { text: documents.map((document) => writeYaml(document)).join('---\n'), unmapped };
}

function authoritiesOf(rule: TrustRule): readonly Json[] | string {
  if (rule.deny !== undefined) return [{ static: { action: 'fail', message: rule.deny } }];
  if (rule.namespaces !== undefined || rule.narrows !== undefined)
    return 'a ClusterImagePolicy cannot apply to some namespaces only';
  if (rule.images.some((pattern) => pattern.includes('@')))
    return 'a glob of a ClusterImagePolicy cannot contain a digest';
  if (rule.except !== undefined) return 'a ClusterImagePolicy cannot except images';
  if (rule.breakGlass !== undefined) return 'a ClusterImagePolicy has no breakGlass';
  if (rule.ceiling.require === 'signed') return 'a ClusterImagePolicy does not support entitlements';
  // There it passes even beside other policies; here it counts only alone.
  if (rule.allowUnverified) return [{ static: { action: 'pass' } }];
  if (rule.require === undefined) return 'the rule requires nothing';
  const parts = rule.require.kind === 'any' ? rule.require.of : [rule.require];
  const authorities: Json[] = [];
  for (const part of parts) {
    const authority = authorityOf(part);
    if (typeof authority === 'string') return authority;
    authorities.push(authority);
  }
  return authorities;
}

function authorityOf(requirement: Requirement): Json | string {
  if ('constraints' in requirement) return 'a ClusterImagePolicy checks neither annotations nor ages';
  if (requirement.kind === 'cosign-key') {
    if ('log' in requirement)
      return 'the log of a key names a root, which a ClusterImagePolicy takes from a TrustRoot';
    return { key: { data: writePem('PUBLIC KEY', Buffer.from(requirement.key.spki, 'base64')) } };
  }
  return `\`${requirement.kind}\` has no counterpart in a ClusterImagePolicy`;
}

/**
 * Converts a pattern to a glob: there, the glob is matched against the name with its tag, and Docker Hub is
 * `index.docker.io`.
 */
function globOf(pattern: string): string {
  const [host = ''] = pattern.split('/');
  const named =
    pattern.startsWith('**') || (pattern.includes('/') && (/[.:*]/.test(host) || host === 'localhost'))
      ? pattern
      : `docker.io/${pattern.includes('/') ? '' : 'library/'}${pattern}`;
  const full = named.replace(/^docker\.io\//, 'index.docker.io/');
  return /:[^/]*$|\*$/.test(full) ? full : `${full}:**`;
}
