import { writePem } from '../../../base/pem/index.ts';
import { writeYaml } from '../../../base/schema/index.ts';
import { parseImagePattern, patternMatches } from '../../requirements/image-pattern.ts';
import { otherNames } from '../../requirements/named-images.ts';
import type { Requirement, TrustPolicy, TrustRule } from '../../requirements/types.ts';
import type { Unmapped } from '../mapping/imported.ts';

type Json = Readonly<Record<string, unknown>>;

/** Each `**` inside a pattern doubles the number of its globs. */
const mostInner = 4;

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
    const problem = typeof said === 'string' ? said : undefined;
    if (problem !== undefined)
      unmapped.push({
        ...placeOf(rule),
        why: problem,
        became: 'its images fail in the exported policy',
      });
    const authorities = typeof said === 'string' ? [{ static: { action: 'fail', message: said } }] : said;
    const open = problem === undefined && rule.deny === undefined ? rule.images.filter(endsOpen) : [];
    if (open.length > 0)
      unmapped.push({
        ...placeOf(rule),
        why: 'a glob cannot end at the end of a name, because the digest follows it',
        became: `the exported policy also admits images whose names begin with ${open.join(', ')}, if they have the same signatures`,
      });
    // Without its exceptions a rule matches more images. The exported policy is then stricter.
    return {
      apiVersion: 'policy.sigstore.dev/v1beta1',
      kind: 'ClusterImagePolicy',
      metadata: { name: `portcullis-${index + 1}` },
      spec: {
        images: rule.images.flatMap(globsOf).map((glob) => ({ glob })),
        authorities,
        ...(rule.mode === 'report' && problem === undefined ? { mode: 'warn' } : {}),
      },
    };
  });
  const others = new Set<string>();
  for (const rule of policy.rules) {
    const patterns = otherPatterns(rule, policy);
    for (const pattern of patterns) others.add(pattern);
    if (patterns.length === 0) continue;
    unmapped.push({
      ...placeOf(rule),
      why: 'a ClusterImagePolicy does not apply to other names of a registry, which another rule may match',
      became: `the images of ${patterns.join(', ')} fail in the exported policy`,
    });
  }
  if (others.size > 0)
    documents.push({
      apiVersion: 'policy.sigstore.dev/v1beta1',
      kind: 'ClusterImagePolicy',
      metadata: { name: 'portcullis-other-names' },
      spec: {
        images: [...others].flatMap(globsOf).map((glob) => ({ glob })),
        authorities: [{ static: { action: 'fail', message: 'write the registry as the policy does' } }],
      },
    });
  return { text: documents.map((document) => writeYaml(document)).join('---\n'), unmapped };
}

function placeOf({ name }: TrustRule): Pick<Unmapped, 'file' | 'line' | 'column' | 'path'> {
  const [, file = name, line = '1'] = /^(.*):(\d+)$/.exec(name) ?? [];
  return { file, line: Number(line), column: 1, path: '' };
}

/**
 * Returns patterns for the images that a rule refuses by other names of their registries, where some rule may
 * match such a name. Here, the rule narrows the other one; there, the other one alone would admit the image.
 */
function otherPatterns({ images, allowUnverified }: TrustRule, { rules }: TrustPolicy): readonly string[] {
  if (allowUnverified) return [];
  const hosts = rules.flatMap((rule) => rule.images.map((text) => parseImagePattern(text).host));
  return images.flatMap((text) => {
    const { host, path, tag } = parseImagePattern(text.replace(/@.*$/, ''));
    if (host === '' || host === '*') return [];
    return (host.endsWith(':*') ? [host.slice(0, -2)] : otherNames(host))
      .filter((name) => name !== 'index.docker.io' && hosts.some((other) => mayMatch(other, name)))
      .map((name) => `${[name, ...path].join('/')}${tag === undefined ? '' : `:${tag}`}`)
      .filter((pattern) => !images.includes(pattern));
  });
}

/** Whether the host of a pattern may match another name of a registry. In doubt, the answer is yes. */
function mayMatch(host: string, name: string): boolean {
  if (host === '' || host === '*') return true;
  return name.includes('*')
    ? host.includes(':') === name.includes(':')
    : patternMatches({ host, path: ['**'] }, { registry: name, repository: 'any' });
}

function authoritiesOf(rule: TrustRule): readonly Json[] | string {
  if (rule.deny !== undefined) return [{ static: { action: 'fail', message: rule.deny } }];
  if (rule.namespaces !== undefined || rule.narrows !== undefined)
    return 'a ClusterImagePolicy cannot apply to some namespaces only';
  if (rule.images.some((pattern) => pattern.includes('@')))
    return 'a glob of a ClusterImagePolicy cannot contain a digest';
  if (rule.images.some((pattern) => parseImagePattern(pattern).tag !== undefined))
    return 'policy-controller replaces tags by digests before it compares names';
  if (rule.images.some((pattern) => parseImagePattern(pattern).host.startsWith('[')))
    return 'a glob of a ClusterImagePolicy cannot contain an IPv6 address';
  if (rule.images.some((pattern) => innerOf(['', ...parseImagePattern(pattern).path]) > mostInner))
    return `a pattern has more than ${mostInner} "**"`;
  if (rule.except !== undefined) return 'a ClusterImagePolicy cannot except images';
  if (rule.breakGlass !== undefined) return 'a ClusterImagePolicy has no breakGlass';
  if (rule.ceiling.require === 'signed') return 'a ClusterImagePolicy does not support entitlements';
  // There it passes even beside other policies; here it counts only alone.
  if (rule.allowUnverified)
    return rule.images.some(endsOpen)
      ? 'a glob also matches longer names, which would be admitted without a signature'
      : [{ static: { action: 'pass' } }];
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
 * Whether the last segment of a pattern is a whole name, which a glob cannot end: `*` matches the "@". With
 * more than one `*`, as in `*db*`, the rest of the segment may be a part of the digest.
 */
function endsOpen(pattern: string): boolean {
  const last = pattern.slice(pattern.lastIndexOf('/') + 1);
  return last !== '**' && last.indexOf('*') !== last.length - 1;
}

/**
 * Converts a pattern to globs that match all its images. There, a glob is matched against the name with its
 * digest, Docker Hub is `index.docker.io`, and `**` before a slash is never empty.
 */
function globsOf(pattern: string): readonly string[] {
  const { host: written, path } = parseImagePattern(pattern);
  // A glob cannot contain brackets. Only an IPv6 address has two colons before a slash and a port.
  const host = written === 'docker.io' ? 'index.docker.io' : written.replace(/^\[.*\]/, '*:*:*');
  const named = host === '' ? path : [host, ...path];
  if (innerOf(named) > mostInner) return [host === '' ? '**' : `${host}/**`];
  let globs: readonly string[] = [''];
  for (const [index, segment] of named.entries()) {
    const isLast = index === named.length - 1;
    const text = isLast ? (segment.endsWith('*') ? segment : `${segment}*`) : `${segment}/`;
    const more = globs.map((glob) => `${glob}${text}`);
    // A name has a registry and a path.
    const mayBeEmpty = segment === '**' && !isLast && (index > 0 || named.length > 2);
    globs = mayBeEmpty ? [...globs, ...more] : more;
  }
  // There, `*/*` means `index.docker.io/*/*`. A name always has a colon.
  return globs.map((glob) => (glob === '*/*' ? '*/*:*' : glob));
}

const innerOf = (path: readonly string[]): number => path.slice(1, -1).filter((part) => part === '**').length;
