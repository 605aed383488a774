import { earliest } from '../findings/evaluation.ts';
import type { Evaluation, EvaluationContext } from '../findings/evaluation.ts';
import type { SigstoreAuthority } from './authority.ts';

/**
 * Limits an evaluation by the expiry of its trusted root: the time until which a TUF repository has vouched
 * for the root, or the expiry of the root that ships with this version. After that, newer roots may have been
 * withheld (TUF specification, section 5.4.4), and the result is unknown. A "no" remains a "no".
 */
export function holdToRoot(
  evaluation: Evaluation,
  authority: SigstoreAuthority,
  { now }: EvaluationContext,
): Evaluation {
  if (authority.kind === 'pki') return evaluation;
  const root = (authority.kind === 'sigstore' ? authority.proof : authority.log)?.root;
  if (root?.expires === undefined || evaluation.answer === 'no') return evaluation;
  if (now.getTime() < Date.parse(root.expires)) {
    const validUntil = earliest([evaluation.validUntil, root.expires]);
    return validUntil === undefined ? evaluation : { ...evaluation, validUntil };
  }
  const text =
    root.ships === true
      ? `the trusted root ${root.name} that ships with this version was valid until ${root.expires}: fetch the current one (portcullis sigstore-root update), or install a newer version`
      : `the metadata of the trusted root ${root.name} was valid until ${root.expires}, and no update has succeeded since then`;
  return {
    answer: 'unknown',
    reason: { counted: false, text, code: 'TRUST_SIGSTORE_ROOT_EXPIRED', children: [evaluation.reason] },
  };
}
