import { explainReason } from '../verdict/explain-verdict.ts';
import { junitReport } from './report-junit.ts';
import { markdownReport } from './report-markdown.ts';
import { sarifReport } from './report-sarif.ts';
import type { ReportContext } from './report-sarif.ts';
import type { GateResult } from './types.ts';
import {
  byDecision,
  countsLine,
  isIncomplete,
  sentenceOf,
  summaryClause,
  unreadClauses,
  waiverClauses,
  waiverWarnings,
} from './report-texts.ts';

/** The formats of reports. */
export const reportFormats = ['json', 'sarif', 'junit', 'markdown'] as const;
export type ReportFormat = (typeof reportFormats)[number];

/** Returns the decisions of the gate in a format, as the whole content of a file. */
export function gateReport(format: ReportFormat, result: GateResult, context: ReportContext): string {
  switch (format) {
    case 'json':
      return `${JSON.stringify(result, null, 2)}\n`;
    case 'sarif':
      return sarifReport(result, context);
    case 'junit':
      return junitReport(result);
    case 'markdown':
      return markdownReport(result);
  }
}

/** Returns the decisions for people: a tree of reasons for each image, and a line that counts them. */
export function gateText(result: GateResult): string {
  const parts = byDecision(result.images)
    .toReversed()
    .map((image) => {
      const tree =
        image.verdict === undefined ? `- ${sentenceOf(image)}\n` : explainReason(image.verdict.reasons);
      const places = image.places.map(
        ({ file, line, object }) => `  at ${file}:${line}${object === undefined ? '' : ` (${object})`}\n`,
      );
      const advice =
        image.advice === undefined || image.verdict === undefined || image.decision === 'waived'
          ? ''
          : `  to do: ${image.advice}\n`;
      const waivers = waiverClauses(image).map((one) => `  WAIVED: ${one}\n`);
      const clause = summaryClause(image);
      const summary = clause === undefined ? '' : `  ${clause}\n`;
      return `${tree}${places.join('')}${advice}${waivers.join('')}${summary}`;
    });
  const warnings = waiverWarnings(result).map((warning) => `warning: ${warning}\n`);
  const sort = isIncomplete(result) ? 'not read' : 'warning: not read';
  const unread = unreadClauses(result).map((clause) => `${sort}: ${clause}\n`);
  return `${parts.join('')}${warnings.join('')}${unread.join('')}${countsLine(result)}\n`;
}
