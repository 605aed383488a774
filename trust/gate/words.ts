import { reasonCodes } from '../policy/reason-codes.ts';
import type { GateDecision, GateImage } from './types.ts';

/** The decisions in the order of reports: what needs an action comes first. */
export const decisionOrder: readonly GateDecision[] = ['denied', 'failed', 'undecided', 'admitted'];

/** Returns the images in the order of reports. */
export function byDecision(images: readonly GateImage[]): readonly GateImage[] {
  return decisionOrder.flatMap((decision) => images.filter((image) => image.decision === decision));
}

/** Returns the meaning of a code in one sentence. */
export function meaningOf(code: string): string {
  return Object.hasOwn(reasonCodes, code)
    ? (reasonCodes[code] ?? '')
    : 'The image could not be decided about: a question to a registry or a service failed.';
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
  const advice = image.advice === undefined ? '' : ` To do: ${image.advice}.`;
  return `${reference}${where === '' ? '' : ` ${where}`} is ${decision}: ${why}${advice}`;
}

/** Returns what became of the summary of an image in one clause, or undefined when none was asked for. */
export function summaryClause({ summary, decision }: GateImage): string | undefined {
  if (summary === undefined || (summary.status === 'not-signed' && decision !== 'admitted')) return undefined;
  if (summary.status === 'not-signed') return `no verification summary: ${summary.why}`;
  if (summary.status === 'failed')
    return `the verification summary failed: ${summary.error.attempted}: ${summary.error.why}; ${summary.error.fix} [${summary.error.code}]`;
  const places = [
    ...(summary.manifestDigest === undefined ? [] : [`attached as ${summary.manifestDigest}`]),
    ...(summary.file === undefined ? [] : [`written to ${summary.file}`]),
  ];
  return `verification summary signed, ${places.join(', and ')}`;
}

/** Returns the line that closes a report: how many images have which decision. */
export function countsLine(counts: Readonly<Record<GateDecision, number>>): string {
  const total = decisionOrder.reduce((sum, decision) => sum + counts[decision], 0);
  const parts = (['admitted', 'denied', 'undecided', 'failed'] as const).flatMap((decision) =>
    counts[decision] === 0 && decision !== 'admitted' ? [] : [`${counts[decision]} ${decision}`],
  );
  return `${total} image${total === 1 ? '' : 's'}: ${parts.join(', ')}`;
}
