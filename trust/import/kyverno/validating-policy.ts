import type { PathSegment } from '../../../base/schema/index.ts';
import { predicateTypeOf } from '../../attestation/predicate-types.ts';
import { recordOf, textsOf } from '../../json/strict-json.ts';
import { allOf, anyOf, listOf, nameOf, reportUnmapped, textOf } from '../mapping/source-documents.ts';
import type { Importing } from '../mapping/source-documents.ts';
import { attestedBy, keylessOf, keysOf, notaryOf } from './attestors.ts';
import { importReferences } from './image-reference.ts';

type Json = Readonly<Record<string, unknown>>;
type Path = readonly PathSegment[];

const denied = 'the images are denied';
const everywhere = 'the rule applies to every pod, which is stricter';

/**
 * Converts an ImageValidatingPolicy (policies.kyverno.io, Kyverno 1.14 and later) to a rule. Its validations
 * are CEL expressions. An expression that counts how many of some attestors have signed or attested, for
 * every image, becomes a requirement. Any other expression denies the images, and is listed.
 */
export function readValidatingPolicy(value: Json, base: Path, importing: Importing): void {
  const spec = recordOf(value['spec']) ?? {};
  const path = [...base, 'spec'];
  const name = nameOf(value);
  const images = importReferences(
    listOf(spec['matchImageReferences']).map((one, index) => [
      textOf(recordOf(one)?.['glob']) ?? '*',
      [...path, 'matchImageReferences', index, 'glob'],
    ]),
    importing,
    'as-written',
  );
  const own =
    value['kind'] === 'NamespacedImageValidatingPolicy'
      ? textOf(recordOf(value['metadata'])?.['namespace'])
      : undefined;
  const head = { images, ...(own === undefined ? {} : { namespaces: [own] }) };
  if (listOf(spec['matchConditions']).length > 0)
    reportUnmapped(
      importing,
      [...path, 'matchConditions'],
      'conditions on pods have no counterpart',
      everywhere,
    );
  for (const field of ['namespaceSelector', 'objectSelector', 'excludeResourceRules'])
    if (recordOf(spec['matchConstraints'])?.[field] !== undefined)
      reportUnmapped(
        importing,
        [...path, 'matchConstraints', field],
        'a selection by labels or resources has no counterpart',
        everywhere,
      );
  const reported = importing.unmapped.length;
  const context = { spec, path, name, importing };
  const demands = listOf(spec['validations']).map((one, index) =>
    demandOf(recordOf(one) ?? {}, [...path, 'validations', index], context),
  );
  const whole = demands.filter((demand) => demand !== undefined);
  const require = whole.length === demands.length && whole.length > 0 ? allOf(whole) : undefined;
  const comment = `ImageValidatingPolicy ${name}`;
  if (require === undefined || importing.unmapped.length > reported) {
    if (importing.unmapped.length === reported)
      reportUnmapped(importing, path, 'it has no validations', denied);
    importing.rules.push({
      comment,
      rule: { ...head, deny: `a part of ImageValidatingPolicy ${name} has no counterpart` },
    });
    return;
  }
  const actions = listOf(spec['validationActions']);
  const reports = actions.length > 0 && actions.every((action) => action === 'Audit' || action === 'Warn');
  importing.rules.push({ comment, rule: { ...head, require, ...(reports ? { mode: 'report' } : {}) } });
}

interface Context {
  readonly spec: Json;
  readonly path: Path;
  readonly name: string;
  readonly importing: Importing;
}

/**
 * `images.containers.map(image, verifyImageSignatures(image, [attestors.a, attestors.b])).all(e, e > 0)`, and
 * the same form for attestations.
 */
const counting =
  /^images\.\w+\.map\((\w+),(verifyImageSignatures|verifyAttestationSignatures)\(\1,(?:attestations\.(\w+),)?\[(attestors\.\w+(?:,attestors\.\w+)*)\]\)\)\.all\((\w+),\5(>|>=|==)(\d{1,2})\)$/;

function demandOf(validation: Json, path: Path, context: Context): Json | undefined {
  const { importing } = context;
  const report = (why: string): undefined =>
    void reportUnmapped(importing, [...path, 'expression'], why, denied);
  const text = textOf(validation['expression'])?.replace(/\s+/g, '') ?? '';
  const found = counting.exec(text);
  if (found === null)
    return report(
      'only expressions that count how many attestors have signed have a counterpart; write others as CEL expressions of an attestation',
    );
  const [, , called, attestation, list = '', , sign, number = ''] = found;
  if ((called === 'verifyAttestationSignatures') !== (attestation !== undefined))
    return report('the arguments of the function are not valid');
  const names = list.split(',').map((one) => one.slice('attestors.'.length));
  const count = Number(number) + (sign === '>' ? 1 : 0);
  if (
    count < 1 ||
    count > names.length ||
    (sign === '==' && count < names.length) ||
    new Set(names).size < names.length
  )
    return report(`"${sign ?? ''} ${number}" of ${names.length} attestors is not a requirement`);
  const attestors = names.map((name) => attestorNamed(name, context));
  if (attestors.includes(undefined)) return undefined;
  const type = attestation === undefined ? undefined : typeNamed(attestation, context);
  if (attestation !== undefined && type === undefined) return undefined;
  const signers = attestors
    .filter((one) => one !== undefined)
    .map((one) => (type === undefined ? one : attestedBy(one, type)));
  if (type !== undefined && JSON.stringify(signers).includes('"notation"'))
    return report('attestations signed by notation have no counterpart');
  if (count === signers.length) return allOf(signers);
  return count === 1 ? anyOf(signers) : { threshold: { count, of: signers } };
}

function typeNamed(name: string, { spec, path, importing }: Context): string | undefined {
  const list = listOf(spec['attestations']).map((one) => recordOf(one) ?? {});
  const index = list.findIndex((one) => one['name'] === name);
  const type = predicateTypeOf(textOf(recordOf(list[index]?.['intoto'])?.['type']) ?? '');
  if (type === undefined)
    reportUnmapped(
      importing,
      [...path, 'attestations', Math.max(0, index)],
      `${name} is not an in-toto attestation with a known predicate type`,
      denied,
    );
  return type;
}

function attestorNamed(name: string, { spec, path, name: policy, importing }: Context): Json | undefined {
  const list = listOf(spec['attestors']).map((one) => recordOf(one) ?? {});
  const index = list.findIndex((one) => one['name'] === name);
  const attestor = list[index];
  const at = [...path, 'attestors', Math.max(0, index)];
  const report = (why: string): undefined => void reportUnmapped(importing, at, why, denied);
  if (attestor === undefined) return report(`there is no attestor ${name}`);
  const context = { name: `${policy}-${name}`, keysInUse: 'first', importing } as const;
  const notary = recordOf(attestor['notary']);
  const cosign = recordOf(attestor['cosign']);
  if (notary !== undefined && cosign === undefined) {
    const { certs, ...others } = notary;
    const [other] = Object.keys(others);
    if (other !== undefined) return report(`\`${other}\` has no counterpart`);
    return anyOf(
      notaryOf(
        { cert: recordOf(certs)?.['value'] },
        [...at, 'notary'],
        { ...context, type: 'Notary', annotations: {} },
        {},
      ) ?? [],
    );
  }
  if (cosign === undefined || notary !== undefined)
    return report('it is neither a cosign nor a notary attestor');
  const { key, keyless, ctlog, annotations, ...others } = cosign;
  const [other] = Object.keys(others);
  if (other !== undefined) return report(`\`${other}\` has no counterpart`);
  const wanted = textsOf(annotations);
  if (Object.values(wanted).some((one) => one.includes('*')))
    return report('an annotation with a literal * has no counterpart');
  const signed = Object.keys(wanted).length === 0 ? {} : { annotations: wanted };
  const cosignContext = { ...context, type: 'Cosign' as const, annotations: {} };
  const { url, insecureIgnoreTlog, insecureIgnoreSCT, rekorPubKey, ctLogPubKey, tsaCertChain, ...more } =
    recordOf(ctlog) ?? {};
  if (Object.keys(more).length > 0) return report('a part of its ctlog has no counterpart');
  const rekor = {
    ...(url === undefined ? {} : { url }),
    ...(rekorPubKey === undefined ? {} : { pubkey: rekorPubKey }),
    ignoreTlog: insecureIgnoreTlog,
  };
  if (recordOf(key) !== undefined && keyless === undefined) {
    const { data, hashAlgorithm, ...rest } = recordOf(key) ?? {};
    if (tsaCertChain !== undefined) return report('a custom time stamp authority has no counterpart');
    const algorithm = hashAlgorithm === undefined ? {} : { signatureAlgorithm: hashAlgorithm };
    const keys = keysOf(
      { publicKeys: data, rekor, ...algorithm, ...rest },
      [...at, 'cosign', 'key'],
      cosignContext,
      signed,
    );
    return keys === undefined ? undefined : anyOf(keys);
  }
  const { identities, ...rest } = recordOf(keyless) ?? {};
  if (key !== undefined || listOf(identities).length === 0)
    return report('it names neither a key nor identities');
  // Here, Kyverno passes the identities to cosign, which compares the subject exactly.
  if (listOf(identities).some((one) => textOf(recordOf(one)?.['subject'])?.includes('*') === true))
    return report('a subject with a literal * has no counterpart: write it as subjectRegExp');
  const logs = {
    ignoreSCT: insecureIgnoreSCT,
    ...(ctLogPubKey === undefined ? {} : { pubkey: ctLogPubKey }),
    ...(tsaCertChain === undefined ? {} : { tsaCertChain }),
  };
  const all = listOf(identities).map((one, number) =>
    keylessOf(
      { ...recordOf(one), ...rest, rekor, ctlog: logs },
      [...at, 'cosign', 'keyless', 'identities', number],
      cosignContext,
      signed,
    ),
  );
  return all.includes(undefined) ? undefined : anyOf(all.flatMap((one) => one ?? []));
}
