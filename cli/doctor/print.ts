import { painter, textWidth } from '../output/terminal.ts';
import type { Paper } from '../output/terminal.ts';
import type { Chapter, Finding } from './finding.ts';

const marks = { fine: ['✓', 'green'], degraded: ['!', 'yellow'], missing: ['✗', 'red'] } as const;
const asciiMarks = { fine: 'ok', degraded: '! ', missing: 'NO' } as const;

/** Formats the findings, one line each, with explanations below those that are not fine. */
export function formatFindings(
  chapters: readonly Chapter[],
  { colour, unicode }: Pick<Paper, 'colour' | 'unicode'>,
): string {
  const paint = painter(colour);
  const line = (finding: Finding): string => {
    const [sign, style] = marks[finding.state];
    const mark = unicode ? sign : asciiMarks[finding.state];
    const below = [
      ...(finding.meaning ?? []),
      ...(finding.fix !== undefined && finding.state !== 'fine'
        ? [`${unicode ? '→' : '->'} ${finding.fix}`]
        : []),
    ];
    return [
      `  ${paint(style, mark)} ${padded(finding.topic, 20)} ${finding.found}`,
      ...below.flatMap((text) => text.split('\n')).map((text) => paint('dim', `      ${text}`)),
    ].join('\n');
  };
  return chapters
    .map((chapter) => `${paint('bold', chapter.title)}\n${chapter.findings.map(line).join('\n')}\n`)
    .join('\n');
}

const padded = (text: string, columns: number): string =>
  text + ' '.repeat(Math.max(0, columns - textWidth(text)));

/** Returns the closing line: whether pods can start, and what prevents it. */
export function verdictOf(findings: readonly Finding[]): string {
  const missing = findings.filter((finding) => finding.state === 'missing');
  const topics = (list: readonly Finding[]): string => list.map(({ topic }) => topic).join(', ');
  const [some, all] = [
    missing.filter(({ partial }) => partial === true),
    missing.filter(({ partial }) => partial !== true),
  ];
  const degraded = findings.filter((finding) => finding.state === 'degraded').length;
  const rest = some.length === 0 ? '' : ` Some pods cannot start: ${topics(some)}.`;
  if (missing.length > 0)
    return `Not ready.${all.length === 0 ? '' : ` No pod can start: ${topics(all)}.`}${rest}`;
  return degraded === 0 ? 'Ready.' : `Ready; ${degraded} degraded, see above.`;
}
