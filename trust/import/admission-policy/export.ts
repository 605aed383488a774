import { writeYaml } from '../../../base/schema/index.ts';
import { namesDigest } from '../../requirements/named-images.ts';
import type { TrustPolicy, TrustRule } from '../../requirements/types.ts';
import type { Unmapped } from '../mapping/imported.ts';
import { celText, globExpression, patternExpression } from './pattern-expression.ts';

/** Objects of admissionregistration.k8s.io/v1 as YAML, and the parts that they cannot express. */
export interface AdmissionPolicyExport {
  /** Refuses images by the rules of the policy. */
  readonly images: string;
  /** Refuses images without a digest. */
  readonly digests: string;
  readonly unmapped: readonly Unmapped[];
}

/** A condition that must be true, and the message if it is false. */
interface Validation {
  readonly expression: string;
  readonly message: string;
}

/**
 * Converts a policy to ValidatingAdmissionPolicies, which the API server evaluates itself. CEL sees an object
 * and no evidence: what remains are rules that deny, and `default: deny` for images that no rule matches.
 * Nothing that the policy admits is refused, except an unusual text for an address. As in the webhook, images
 * that an object had before count as decided.
 */
export function exportAdmissionPolicies(policy: TrustPolicy): AdmissionPolicyExport {
  const unmapped: Unmapped[] = [];
  const denials = policy.rules.flatMap((rule): Validation[] => {
    const why = whyNotHere(rule);
    if (why !== undefined)
      unmapped.push({
        ...placeOf(rule),
        column: 1,
        path: '',
        why,
        became: 'the API server does not check it',
      });
    if (rule.deny === undefined || why !== undefined) return [];
    if (rule.images.some(namesDigest))
      unmapped.push({
        ...placeOf(rule),
        ...{ column: 1, path: '', why: 'CEL does not know the digest to which a tag leads' },
        became: 'the API server denies only references by this digest',
      });
    return [
      {
        expression: `variables.images.all(i, !${denies(rule)})`,
        message: `rule ${rule.name} (${rule.images.join(', ')}) denies: ${rule.deny}`,
      },
    ];
  });
  const admitting = policy.rules.filter(({ narrows, deny }) => narrows === undefined && deny === undefined);
  const any = admitting.length === 0 ? 'false' : admitting.map(matches).join(' || ');
  const unnamed = {
    expression: `variables.images.all(i, ${[any, ...denyingAlone(policy)].join(' || ')})`,
    message:
      'no rule of the policy matches an image of the object, and an image that no rule matches is denied',
  };
  return {
    images: objects('portcullis-images', [...denials, unnamed, usualAddress]),
    // The files are printed one after the other.
    digests: `---\n${objects('portcullis-digests', [
      {
        expression: "variables.images.all(i, i.digest != '')",
        message: 'an image of the object is not named by its digest',
      },
    ])}`,
    unmapped,
  };
}

/**
 * A second text for the address of a registry, such as `10.1` for `10.0.0.1`, would evade the rules for the
 * first. `parseReference` translates such a text, and CEL cannot.
 */
const usualAddress: Validation = {
  expression: `variables.images.all(i, [i.repository.find('^(?:\\\\[[^/]*\\\\]|[^/:]*)')].all(h, !h.matches('^\\\\[|(?:^|[.])(?:[0-9]+|0x[0-9a-f]*)$') || [h.replace('[', '').replace(']', '')].all(a, isIP(a) && ip.isCanonical(a))))`,
  message: 'the registry of an image is an address that is not written in its usual form',
};

/** An image that a denying rule matches has its own message, or is admitted by an exception. */
function denyingAlone({ rules }: TrustPolicy): readonly string[] {
  return rules.filter(({ deny, narrows }) => deny !== undefined && narrows === undefined).map(denies);
}

function whyNotHere({ deny, mode, breakGlass, require }: TrustRule): string | undefined {
  if (deny !== undefined) {
    if (mode === 'report') return 'the rule only reports';
    return breakGlass === undefined
      ? undefined
      : 'CEL has no current time, and the rule has a breakGlass exception';
  }
  return require === undefined
    ? undefined
    : 'the rule requires evidence, which only the webhook and the node read';
}

function placeOf({ name }: TrustRule): { readonly file: string; readonly line: number } {
  const [, file = name, line = '1'] = /^(.*):(\d+)$/u.exec(name) ?? [];
  return { file, line: Number(line) };
}

/** Returns the condition that a rule matches the image `i` in the namespace of the request. */
const matches = (rule: TrustRule): string => within(rule, [imagesOf(rule, 'as written')]);

/** Returns the same for a rule that denies: it also applies to other names of a registry. */
const denies = (rule: TrustRule): string =>
  within(
    rule,
    rule.except === undefined || rule.except.length === 0
      ? [imagesOf(rule, 'others')]
      : [imagesOf(rule, 'as written'), imagesOf(rule, 'others')],
  );

function imagesOf({ images, except = [] }: TrustRule, names: 'as written' | 'others'): string {
  const anyOf = (patterns: readonly string[]): string =>
    `(${patterns.map((pattern) => patternExpression(pattern, names)).join(' || ')})`;
  return except.length === 0 ? anyOf(images) : `(${anyOf(images)} && !${anyOf(except)})`;
}

/** Returns the condition that one of these conditions holds, in the namespaces of the rule. */
function within({ namespaces, narrows }: TrustRule, conditions: readonly string[]): string {
  const among = (names: readonly string[]): string =>
    `(${names.map((name) => `request.namespace.matches(${celText(globExpression(name))})`).join(' || ')})`;
  const parts = [
    ...[narrows, namespaces].flatMap((names) => (names === undefined ? [] : [among(names)])),
    conditions.length === 1 ? String(conditions[0]) : `(${conditions.join(' || ')})`,
  ];
  return `(${parts.join(' && ')})`;
}

const rules = [
  {
    apiGroups: [''],
    resources: ['pods', 'pods/ephemeralcontainers', 'podtemplates', 'replicationcontrollers'],
  },
  { apiGroups: ['apps'], resources: ['deployments', 'replicasets', 'statefulsets', 'daemonsets'] },
  { apiGroups: ['batch'], resources: ['jobs', 'cronjobs'] },
].map((rule) => ({ ...rule, apiVersions: ['v1'], operations: ['CREATE', 'UPDATE'] }));

/** As in the configurations of the webhook: its own pods must start, or nothing is admitted any more. */
const notTheWebhook = {
  matchExpressions: [
    { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['portcullis-webhook'] },
  ],
};

const specOf = (object: string): string =>
  `${object}.kind == 'Pod' ? ${object}.spec : ${object}.kind == 'PodTemplate' ? ${object}.template.spec : ${object}.kind == 'CronJob' ? ${object}.spec.jobTemplate.spec.template.spec : ${object}.spec.template.spec`;

/** Returns the images of a pod's spec, as written. */
function writtenIn(spec: string): string {
  const lists = ['containers', 'initContainers', 'ephemeralContainers'].map(
    (list) => `(has(${spec}.${list}) ? ${spec}.${list}.filter(c, has(c.image)).map(c, string(c.image)) : [])`,
  );
  const volumes = `(has(${spec}.volumes) ? ${spec}.volumes.filter(v, has(v.image) && has(v.image.reference)).map(v, string(v.image.reference)) : [])`;
  return [...lists, volumes].join(' + ');
}

/** Completes docker's short names, and removes zeros before a port, as `parseReference` does. */
const repository = [
  "[i.find('^[^@]*').find('^(?:[^/]*/)*[^/:]*')]",
  "map(r, r.matches('^(?:[^/]*[.:][^/]*|(?i:localhost))/') ? r.lowerAscii() : r.contains('/') ? 'docker.io/' + r : 'docker.io/library/' + r)",
  "map(r, r.matches('^[^/]*:0+[1-9][0-9]*/') ? r.find('^[^/]*:') + r.find(':0+[1-9][0-9]*/.*$').find('[1-9].*$') : r)",
  "map(r, r.startsWith('index.docker.io/') ? r.substring(6) : r)",
  "map(r, r.matches('^docker[.]io/[^/]+$') ? 'docker.io/library/' + r.substring(10) : r)[0]",
].join('.');
const tag = "i.contains('@') ? '' : i.matches(':[^/]*$') ? i.find(':[^/]*$').substring(1) : 'latest'";
const digest = "i.contains('@') ? i.find('@.*$').substring(1) : ''";

const variables = [
  { name: 'spec', expression: specOf('object') },
  { name: 'written', expression: writtenIn('variables.spec') },
  {
    name: 'before',
    expression: `oldObject == null ? [] : [${specOf('oldObject')}].map(s, ${writtenIn('s')})[0]`,
  },
  {
    name: 'images',
    expression: `variables.written.filter(i, !(i in variables.before)).map(i, {'repository': ${repository}, 'tag': ${tag}, 'digest': ${digest}})`,
  },
];

function objects(name: string, validations: readonly Validation[]): string {
  const kinds = 'admissionregistration.k8s.io/v1';
  return [
    {
      apiVersion: kinds,
      kind: 'ValidatingAdmissionPolicy',
      metadata: { name },
      spec: {
        failurePolicy: 'Fail',
        matchConstraints: { namespaceSelector: notTheWebhook, resourceRules: rules },
        variables,
        validations: validations.map(({ expression, message }) => ({
          expression,
          message: message.replace(/[\r\n]+/gu, ' ').slice(0, 1000),
          reason: 'Forbidden',
        })),
      },
    },
    {
      apiVersion: kinds,
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata: { name },
      spec: { policyName: name, validationActions: ['Deny', 'Audit'] },
    },
  ]
    .map(writeYaml)
    .join('---\n');
}
