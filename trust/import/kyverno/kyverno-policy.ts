import { append } from '../../../base/lists/index.ts';
import type { PathSegment } from '../../../base/schema/index.ts';
import { recordOf } from '../../json/strict-json.ts';
import type { ImportedPolicy } from '../mapping/imported.ts';
import {
  allOf,
  importDocuments,
  listOf,
  nameOf,
  reportUnmapped,
  textOf,
} from '../mapping/source-documents.ts';
import type { Importing } from '../mapping/source-documents.ts';
import { attestationsOf, attestorsOf } from './attestors.ts';
import { importReferences, patternsOfReference } from './image-reference.ts';
import { readValidatingPolicy } from './validating-policy.ts';

type Json = Readonly<Record<string, unknown>>;
type Path = readonly PathSegment[];

/**
 * Converts Kyverno's verifyImages rules (ClusterPolicy and Policy of kyverno.io) and its
 * ImageValidatingPolicies to rules. Kyverno admits an image that no rule matches, while our policy denies it.
 * A selection of resources without a counterpart is left out, so that the rule applies everywhere. A signer
 * or condition without a counterpart denies the images.
 * @throws PortcullisError `TRUST_IMPORT_INVALID`
 */
export function importKyvernoPolicies(
  paths: readonly string[],
  standardInput?: Uint8Array,
): Promise<ImportedPolicy> {
  return importDocuments(
    paths,
    isOurs,
    'ClusterPolicy, Policy or ImageValidatingPolicy of Kyverno',
    readPolicy,
    standardInput,
  );
}

function isOurs({ apiVersion, kind }: Json): boolean {
  const group = textOf(apiVersion)?.split('/')[0];
  if (group === 'kyverno.io') return kind === 'ClusterPolicy' || kind === 'Policy';
  return (
    group === 'policies.kyverno.io' &&
    (kind === 'ImageValidatingPolicy' || kind === 'NamespacedImageValidatingPolicy')
  );
}

/** Actions of a rule besides the verification of images. */
const otherActions = ['validate', 'mutate', 'generate'];
const actions = ['verifyImages', ...otherActions];

function readPolicy(value: Json, base: Path, importing: Importing): void {
  if (textOf(value['apiVersion'])?.startsWith('policies.kyverno.io/') === true) {
    readValidatingPolicy(value, base, importing);
    return;
  }
  const spec = recordOf(value['spec']) ?? {};
  const own = value['kind'] === 'Policy' ? textOf(recordOf(value['metadata'])?.['namespace']) : undefined;
  const rules = listOf(spec['rules']);
  if (!rules.some((rule) => Object.keys(recordOf(rule) ?? {}).some((key) => actions.includes(key))))
    reportUnmapped(
      importing,
      [...base, 'spec'],
      'it has no rule that verifies images',
      'nothing is imported',
    );
  for (const [index, each] of rules.entries()) {
    const rule = recordOf(each) ?? {};
    const path = [...base, 'spec', 'rules', index];
    for (const action of otherActions.filter((one) => rule[one] !== undefined))
      reportUnmapped(
        importing,
        [...path, action],
        `\`${action}\` has no counterpart, because it verifies no signature`,
        'it is left out; keep it in Kyverno',
      );
    // Also for a Policy, which applies in its own namespace: it lists what has no counterpart.
    const selected = namespacesOf(rule, path, importing);
    const namespaces = own === undefined ? selected : [own];
    for (const [number, verify] of listOf(rule['verifyImages']).entries()) {
      const place = {
        policy: nameOf(value),
        rule: textOf(rule['name']) ?? String(index),
        audits: audits(spec, rule, recordOf(verify) ?? {}),
      };
      readVerifyImages(
        recordOf(verify) ?? {},
        [...path, 'verifyImages', number],
        namespaces,
        place,
        importing,
      );
    }
  }
}

/**
 * Whether a rule only reports: `Audit` (Kyverno's default). Actions for some namespaces are not considered:
 * the rule is then enforced.
 */
function audits(spec: Json, rule: Json, verify: Json): boolean {
  const overrides = [
    spec['validationFailureActionOverrides'],
    rule['failureActionOverrides'],
    verify['failureActionOverrides'],
  ];
  if (overrides.some((one) => listOf(one).length > 0)) return false;
  const action = textOf(verify['failureAction']) ?? textOf(spec['validationFailureAction']) ?? 'Audit';
  return action.toLowerCase() === 'audit';
}

/**
 * Returns the namespaces of `match` if it selects nothing but kinds and namespaces; otherwise none, so that
 * the rule applies everywhere.
 */
function namespacesOf(rule: Json, path: Path, importing: Importing): readonly string[] | undefined {
  const everywhere = 'the rule applies to every pod, which is stricter';
  for (const field of ['exclude', 'preconditions', 'context', 'celPreconditions'])
    if (rule[field] !== undefined)
      reportUnmapped(importing, [...path, field], `\`${field}\` has no counterpart`, everywhere);
  const match = recordOf(rule['match']) ?? {};
  const filters =
    match['any'] === undefined
      ? match['all'] === undefined
        ? [match]
        : listOf(match['all'])
      : listOf(match['any']);
  const chosen: string[] = [];
  for (const filter of filters) {
    const { resources, ...others } = recordOf(filter) ?? {};
    const { kinds: _kinds, operations: _operations, namespaces, ...more } = recordOf(resources) ?? {};
    const names = listOf(namespaces).filter((name): name is string => typeof name === 'string');
    const isOdd = names.some((name) => !/^[a-z0-9*]([a-z0-9*-]*[a-z0-9*])?$/.test(name));
    const odd = [...Object.keys(others), ...Object.keys(more), ...(isOdd ? ['namespaces in this form'] : [])];
    if (odd.length > 0)
      reportUnmapped(
        importing,
        [...path, 'match'],
        `a selection by ${odd.join(', ')} has no counterpart`,
        everywhere,
      );
    const isBoth = match['all'] !== undefined && filters.length > 1;
    if (isBoth && odd.length === 0)
      reportUnmapped(
        importing,
        [...path, 'match', 'all'],
        'a selection by several filters has no counterpart',
        everywhere,
      );
    if (odd.length > 0 || isBoth || names.length === 0) return undefined;
    append(chosen, names);
  }
  return chosen.length === 0 ? undefined : chosen;
}

interface Place {
  readonly policy: string;
  readonly rule: string;
  readonly audits: boolean;
}

const knownFields: readonly string[] = [
  ...['type', 'imageReferences', 'skipImageReferences', 'attestors', 'attestations', 'annotations'],
  // These settings do not affect the decision: digests always count here, and a matched image is always
  // verified.
  ...[
    'mutateDigest',
    'verifyDigest',
    'required',
    'failureAction',
    'failureActionOverrides',
    'imageRegistryCredentials',
    'useCache',
    'cosignOCI11',
    'validate',
  ],
];

function readVerifyImages(
  verify: Json,
  path: Path,
  namespaces: readonly string[] | undefined,
  place: Place,
  importing: Importing,
): void {
  const comment = `Kyverno policy ${place.policy}, rule ${place.rule}`;
  const where = namespaces === undefined ? {} : { namespaces };
  const images = importReferences(
    listOf(verify['imageReferences']).map((text, index) => [
      textOf(text) ?? '*',
      [...path, 'imageReferences', index],
    ]),
    importing,
  );
  const except = skipped(verify, path, importing);
  const head = { images, ...(except.length === 0 ? {} : { except }), ...where };
  const reported = importing.unmapped.length;
  for (const field of Object.keys(verify).filter((name) => !knownFields.includes(name)))
    reportUnmapped(importing, [...path, field], `\`${field}\` has no counterpart`, 'the images are denied');
  if (recordOf(verify['validate']) !== undefined)
    reportUnmapped(
      importing,
      [...path, 'validate'],
      'conditions of Kyverno have no counterpart; write them as CEL expressions of an attestation',
      'the images are denied',
    );
  const name = `${place.policy}-${place.rule}`;
  const signed = attestorsOf(verify, path, name, importing);
  const attested = attestationsOf(verify, path, name, importing);
  const require =
    signed === undefined || attested === undefined ? undefined : allOf([...signed, ...attested]);
  if (require === undefined || importing.unmapped.length > reported) {
    if (importing.unmapped.length === reported)
      reportUnmapped(importing, path, 'it names no attestor', 'the images are denied');
    importing.rules.push({
      comment,
      rule: {
        ...head,
        deny: `a part of Kyverno policy ${place.policy}, rule ${place.rule} has no counterpart`,
      },
    });
    return;
  }
  importing.rules.push({ comment, rule: { ...head, require, ...(place.audits ? { mode: 'report' } : {}) } });
}

/**
 * Returns the images that Kyverno does not verify, which get no rule here; only those where our pattern
 * matches no more than theirs.
 */
function skipped(verify: Json, path: Path, importing: Importing): readonly string[] {
  return listOf(verify['skipImageReferences']).flatMap((each, index) => {
    const { patterns, exact } = patternsOfReference(textOf(each) ?? '?');
    if (exact) return patterns;
    reportUnmapped(
      importing,
      [...path, 'skipImageReferences', index],
      'no pattern matches exactly these images',
      'they are not skipped, which is stricter',
    );
    return [];
  });
}
