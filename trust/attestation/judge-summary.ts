import { parseReference } from '../../base/distribution/index.ts';
import { recordOf } from '../json/strict-json.ts';
import { earliest } from '../findings/evaluation.ts';
import type { EvaluationContext, Evidence } from '../findings/evaluation.ts';
import type { SignatureFinding } from '../findings/signature-finding.ts';
import { patternMatches } from '../requirements/image-pattern.ts';
import { compiled, normaliseReference } from '../requirements/named-images.ts';
import type { SummaryDemand } from '../requirements/types.ts';
import type { Statement } from './statement.ts';
import { readRfc3339 } from '../json/rfc3339.ts';

/** The allowed difference in ms between the clocks of verifiers and of this machine. */
const clockSkew = 5 * 60 * 1000;

/** `code` and `says` only for a refusal. */
interface Judgement {
  readonly code?: string;
  readonly says?: string;
  readonly validUntil?: string;
}

/**
 * Judges a verification summary whose signature and subject are valid (SLSA specification, "Verification
 * Summary Attestation", "How to verify", steps 4 to 7): the verifier, the result, the resource, the policy,
 * the age and the levels. The first one that is wrong is the reason. Pure.
 */
export function judgeSummary(
  finding: SignatureFinding,
  { predicate }: Statement,
  demand: SummaryDemand,
  evidence: Pick<Evidence, 'digest' | 'manifestDigest'>,
  context: EvaluationContext,
): SignatureFinding {
  const summary = recordOf(predicate);
  if (summary === undefined)
    return refuse(finding, { code: 'TRUST_VSA_MALFORMED', says: 'its predicate is not an object' });
  let validUntil = finding.validUntil;
  for (const judge of [judgeVerifier, judgeResult, judgeResource, judgePolicy, judgeTime, judgeLevels]) {
    const judgement = judge(summary, demand, evidence, context);
    validUntil = earliest([validUntil, judgement.validUntil]);
    if (judgement.code !== undefined) return refuse(finding, judgement);
  }
  return {
    ...finding,
    ...(validUntil === undefined ? {} : { validUntil }),
    says: `${finding.says}, and ${shown(demand.verifier)} verified it at ${shown(summary['timeVerified'])}`,
  };
}

type Judge = (
  summary: Readonly<Record<string, unknown>>,
  demand: SummaryDemand,
  evidence: Pick<Evidence, 'digest' | 'manifestDigest'>,
  context: EvaluationContext,
) => Judgement;

const judgeVerifier: Judge = (summary, { verifier }) => {
  const id = recordOf(summary['verifier'])?.['id'];
  return id === verifier
    ? {}
    : {
        code: 'TRUST_VSA_OTHER_VERIFIER',
        says: `its verifier is ${shown(id)}, but the rule requires ${shown(verifier)}`,
      };
};

const judgeResult: Judge = (summary) => {
  const result = summary['verificationResult'];
  if (result === 'PASSED') return {};
  if (result !== 'FAILED')
    return { code: 'TRUST_VSA_MALFORMED', says: `its result is ${shown(result)}, not PASSED or FAILED` };
  return {
    code: 'TRUST_VSA_FAILED',
    says: `the verifier refused the image: its result of ${shown(summary['timeVerified'])} is FAILED`,
  };
};

const judgeResource: Judge = (summary, { resource }, { digest, manifestDigest }, { reference }) => {
  const uri = summary['resourceUri'];
  const image = normaliseReference(reference);
  const refused = (why: string): Judgement => ({
    code: 'TRUST_VSA_OTHER_RESOURCE',
    says: `it is about the resource ${shown(uri)}, ${why}`,
  });
  const text = typeof uri === 'string' ? uri.replace(/^(oci|docker|https?):\/\//, '') : '';
  let named: ReturnType<typeof parseReference>;
  try {
    named = parseReference(text);
  } catch {
    return refused('which is not an image name');
  }
  const tagged = /:[^/]+$/.test((text.split('@', 1)[0] ?? '').replace(/^.*\//, ''));
  const isNamed =
    resource === undefined
      ? named.registry === image.registry && named.repository === image.repository
      : patternMatches(compiled(resource), named);
  if (!isNamed) return refused(`but the image is ${image.registry}/${image.repository}`);
  if (named.digest !== undefined && named.digest !== digest && named.digest !== manifestDigest)
    return refused('which has another digest');
  if (resource === undefined && tagged && image.tag !== undefined && named.tag !== image.tag)
    return refused(`but the image has the tag ${image.tag}`);
  return {};
};

const judgePolicy: Judge = (summary, { policy }) => {
  if (policy === undefined) return {};
  const applied = recordOf(recordOf(summary['policy'])?.['digest'])?.['sha256'];
  return applied === policy
    ? {}
    : {
        code: 'TRUST_VSA_OTHER_POLICY',
        says: `the verifier applied the policy ${shown(applied)}, but the rule requires ${policy}`,
      };
};

const judgeTime: Judge = (summary, { maxAge }, _, { now }) => {
  const text = summary['timeVerified'];
  const time = readRfc3339(text);
  if (time === undefined)
    return { code: 'TRUST_VSA_MALFORMED', says: `the time of the verification is not valid: ${shown(text)}` };
  if (time > now.getTime() + clockSkew)
    return {
      code: 'TRUST_VSA_FUTURE',
      says: `the verification was at ${shown(text)}, which is in the future`,
      validUntil: new Date(time - clockSkew).toISOString(),
    };
  // No Date is later: a larger limit never ends.
  const end = new Date(Math.min(time + maxAge * 1000, 8.64e15));
  if (!(now.getTime() < end.getTime()))
    return {
      code: 'TRUST_VSA_TOO_OLD',
      says: `the verification was at ${shown(text)}, but the rule requires one in the last ${maxAge} s`,
    };
  return { validUntil: end.toISOString() };
};

const judgeLevels: Judge = (summary, { levels = [] }) => {
  const list: unknown = summary['verifiedLevels'];
  const verified = Array.isArray(list) ? list.filter((one) => typeof one === 'string').slice(0, 1000) : [];
  const missing = levels.filter((level) => !verified.some((one) => includes(one, level)));
  return missing.length === 0
    ? {}
    : {
        code: 'TRUST_VSA_LEVEL',
        says: `its levels are ${shown(verified.join(', '))}, but ${missing.join(', ')} is missing`,
      };
};

/** A level of a SLSA track includes the lower levels of that track. */
function includes(verified: string, wanted: string): boolean {
  if (verified === wanted) return true;
  const [, track, level] = /^(SLSA_[A-Z]+_LEVEL_)(\d)$/.exec(wanted) ?? [];
  const [, theirs, height] = /^(SLSA_[A-Z]+_LEVEL_)(\d)$/.exec(verified) ?? [];
  return track !== undefined && track === theirs && Number(height) >= Number(level);
}

function refuse(
  finding: SignatureFinding,
  { code = 'TRUST_VSA_MALFORMED', says = 'it is malformed', validUntil }: Judgement,
): SignatureFinding {
  const { proven: _unused, ...rest } = finding;
  return {
    ...rest,
    counted: false,
    code,
    says: `${finding.says}; but ${says}`,
    ...(validUntil === undefined ? {} : { validUntil }),
  };
}

/** Returns a signer's value for display: bounded and without control characters. */
function shown(value: unknown): string {
  if (typeof value !== 'string') return 'missing';
  return JSON.stringify(value.slice(0, 300).replace(/[^\x20-\x7e]/g, '?'));
}
