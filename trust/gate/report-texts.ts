import { reasonAndFix } from '../../base/errors/index.ts';
import { reasonCodes } from '../policy/reason-codes.ts';
import type { GateDecision, GateImage, GateResult, WaiverNote } from './types.ts';

/** The decisions in the order of reports: what needs an action comes first. */
export const decisionOrder: readonly GateDecision[] = ['denied', 'failed', 'undecided', 'waived', 'admitted'];

/** Returns the images in the order of reports. */
export function byDecision(images: readonly GateImage[]): readonly GateImage[] {
  return decisionOrder.flatMap((decision) => images.filter((image) => image.decision === decision));
}

/** Returns the meaning of a code in one sentence. */
export function meaningOf(code: string): string {
  return Object.hasOwn(reasonCodes, code)
    ? (reasonCodes[code] ?? '')
    : 'There is no decision about the image: a request to a registry or a service failed.';
}

/** Returns the decision about an image in one sentence, with its reason. */
export function sentenceOf(image: GateImage): string {
  const { reference, namespace, platform, decision, error } = image;
  const where = [
    ...(namespace === '' ? [] : [`in the namespace ${namespace}`]),
    ...(platform === undefined ? [] : [`for ${platform}`]),
  ].join(' ');
  const why =
    error === undefined
      ? meaningOf(image.code)
      : `${error.attempted}${error.on === '' ? '' : ` ${error.on}`}: ${error.why}.`;
  const todo = image.advice ?? error?.fix;
  const advice =
    decision === 'waived'
      ? ` ${waiverClauses(image).join('. ')}.`
      : todo === undefined
        ? ''
        : ` To do: ${todo}.`;
  const decided = decision === 'failed' ? 'could not be checked' : `is ${decision}`;
  return `${reference}${where === '' ? '' : ` ${where}`} ${decided}: ${why}${advice}`;
}

/** Returns the waivers of an image: who waives what, until when and why. */
export function waiverClauses({ waivers = [] }: GateImage): readonly string[] {
  return waivers.map(
    ({ id, owner, expires, reason, codes }) =>
      `Waived by ${owner} until ${expires} (${id}, ${codes.join(', ')}): ${reason}`,
  );
}

/** Returns what each unread part of a manifest means for the run, in one clause. */
export function unreadClauses({ unread }: GateResult): readonly string[] {
  return (unread?.parts ?? []).map(({ place: { file, line, object }, why, fix }) => {
    const clause = `${object === undefined ? '' : `${object} `}(${file}:${line}): ${why}: ${fix}`;
    // A name in a manifest may hold any character, and each part is one line.
    return clause.replace(/\s+/gu, ' ');
  });
}

/** Returns whether parts of a manifest were not read, and the caller does not let them pass. */
export function isIncomplete({ unread }: GateResult): boolean {
  return unread !== undefined && !unread.allowed && unread.parts.length > 0;
}

/** Returns a warning for each waiver that has expired, or that let no image pass. */
export function waiverWarnings({ waivers }: GateResult): readonly string[] {
  const named = ({ id, place, owner }: WaiverNote): string => `waiver ${id} of ${owner} (${place})`;
  return [
    ...waivers.expired.map(
      (one) => `${named(one)} expired at ${one.expires} and does not apply: renew or remove it`,
    ),
    ...waivers.unused.map(
      (one) => `${named(one)} let no image of this run pass: remove it if it is not needed`,
    ),
  ];
}

/** Returns what became of the summary of an image in one clause, or undefined when none was asked for. */
export function summaryClause({ summary, decision }: GateImage): string | undefined {
  if (summary === undefined || (summary.status === 'not-signed' && decision !== 'admitted')) return undefined;
  if (summary.status === 'not-signed') return `no verification summary: ${summary.why}`;
  if (summary.status === 'failed')
    return `the verification summary failed: ${summary.error.attempted}: ${reasonAndFix(summary.error)} [${summary.error.code}]`;
  const places = [
    ...(summary.manifestDigest === undefined ? [] : [`attached as ${summary.manifestDigest}`]),
    ...(summary.file === undefined ? [] : [`written to ${summary.file}`]),
  ];
  return `verification summary signed, ${places.join(', and ')}`;
}

/** Returns the line that closes a report: how many images have which decision. */
export function countsLine({ counts, unread }: Pick<GateResult, 'counts' | 'unread'>): string {
  const total = decisionOrder.reduce((sum, decision) => sum + counts[decision], 0);
  const parts = (['admitted', 'waived', 'denied', 'undecided', 'failed'] as const).flatMap((decision) =>
    counts[decision] === 0 && decision !== 'admitted' ? [] : [`${counts[decision]} ${decision}`],
  );
  const missed = unread?.parts.length ?? 0;
  const notRead = missed === 0 ? '' : `, and ${missed} part${missed === 1 ? '' : 's'} of manifests not read`;
  return `${total} image${total === 1 ? '' : 's'}: ${parts.join(', ')}${notRead}`;
}
