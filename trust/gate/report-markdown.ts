import { explainReason } from '../verdict/explain-verdict.ts';
import {
  byDecision,
  countsLine,
  isIncomplete,
  meaningOf,
  sentenceOf,
  summaryClause,
  unreadClauses,
  waiverWarnings,
} from './report-texts.ts';
import type { GateImage, GateResult } from './types.ts';

/** The largest summary of a step that GitHub shows. */
const maximumBytes = 1024 * 1024;
/** Room for the lines that say what was left out. */
const reserve = 4096;
const maximumTree = 32 * 1024;

/**
 * Returns the decisions as Markdown for the summary of a job: a table, and the reasons of each image that is
 * not admitted. At most 1 MiB: what does not fit is left out and counted. Texts that others chose are code or
 * escaped HTML, so that they cannot add links, tables or tags.
 */
export function markdownReport(result: GateResult): string {
  const images = byDecision(result.images);
  const refused = images.filter(({ decision }) => decision !== 'admitted');
  const passes = images.every(({ decision }) => decision === 'admitted' || decision === 'waived');
  const title = !passes
    ? 'not every image passes'
    : isIncomplete(result)
      ? 'parts of manifests were not read'
      : 'every image passes';
  const parts = [
    `## Portcullis: ${title}\n\n${countsLine(result)}, by the policy ${span(result.policyRevision)}.\n\n`,
    '| Decision | Image | Namespace | Platform | Reason |\n| --- | --- | --- | --- | --- |\n',
  ];
  let bytes = parts.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
  const take = (part: string): boolean => {
    const size = Buffer.byteLength(part);
    if (bytes + size > maximumBytes - reserve) return false;
    bytes += size;
    parts.push(part);
    return true;
  };
  const rows = fill(images, (image) => take(row(image)));
  take('\n');
  const unread = unreadClauses(result).map((clause) => `not read: ${clause}`);
  for (const warning of [...waiverWarnings(result), ...unread]) take(`- ⚠️ ${span(warning)}\n`);
  take('\n');
  const details = rows < images.length ? 0 : fill(refused, (image) => take(reasons(image)));
  for (const image of result.images) {
    const clause = image.summary?.status === 'signed' ? undefined : summaryClause(image);
    if (clause !== undefined) take(`- ${span(image.reference)}: ${span(clause)}\n`);
  }
  const left = [
    ...(rows < images.length ? [`${images.length - rows} images are left out of the table`] : []),
    ...(details < refused.length ? [`the reasons of ${refused.length - details} images are left out`] : []),
  ];
  const note = left.length === 0 ? '' : `\n${left.join(', and ')}: this summary has at most 1 MiB.\n`;
  return `${parts.join('')}${note}`;
}

/** Takes images until one does not fit. Returns how many fit. */
function fill(images: readonly GateImage[], take: (image: GateImage) => boolean): number {
  const end = images.findIndex((image) => !take(image));
  return end < 0 ? images.length : end;
}

const marks = { admitted: '✅', waived: '⚠️', denied: '❌', undecided: '❔', failed: '❗' } as const;

function row(image: GateImage): string {
  const { decision, reference, namespace, platform = '', code } = image;
  const why = decision === 'admitted' ? '' : `${span(code)} ${prose(meaningOf(code))}`;
  const cells = [
    `${marks[decision]} ${decision}`,
    span(reference),
    namespace === '' ? '' : span(namespace),
    platform === '' ? '' : span(platform),
    why,
  ];
  return `| ${cells.join(' | ')} |\n`;
}

function reasons(image: GateImage): string {
  const tree = image.verdict === undefined ? '' : explainReason(image.verdict.reasons).slice(0, maximumTree);
  const places = image.places
    .slice(0, 20)
    .map(({ file, line, object }) => `${file}:${line}${object === undefined ? '' : ` ${object}`}\n`);
  const text = `${sentenceOf(image)}\n${places.join('')}\n${tree}`;
  return `<details><summary><code>${html(image.reference)}</code>: ${image.decision}</summary>\n\n<pre>\n${html(text)}</pre>\n\n</details>\n\n`;
}

/** A code span: nothing in it is markup. In a table a pipe ends the cell, also in code. */
function span(text: string): string {
  return `\`${shown(text).replace(/\n/g, ' ').replace(/`/g, "'").replace(/\\/g, '/').replace(/\|/g, '\\|')}\``;
}

/** Our own sentences: they have code spans, and no other markup. */
function prose(text: string): string {
  return text.replace(/\|/g, '\\|');
}

function html(text: string): string {
  return shown(text)
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    .replace(/"/g, '&quot;')
    .replace(/@/g, '&#64;')
    .replace(/`/g, '&#96;');
}

function shown(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) =>
    character === '\n' ? '\n' : '\ufffd',
  );
}
