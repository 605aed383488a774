import type { Chapter, Finding } from './finding.ts';

const marks = { fine: ['✓', 32], degraded: ['!', 33], missing: ['✗', 31] } as const;

/** Formats the findings, one line each, with explanations below those that are not fine. */
export function formatFindings(chapters: readonly Chapter[], colour: boolean): string {
  const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const line = (finding: Finding): string => {
    const [mark, code] = marks[finding.state];
    const below = [
      ...(finding.meaning ?? []),
      ...(finding.fix !== undefined && finding.state !== 'fine' ? [`→ ${finding.fix}`] : []),
    ];
    return [
      `  ${paint(code, mark)} ${finding.topic.padEnd(20)} ${finding.found}`,
      ...below.map((text) => paint(2, `      ${text}`)),
    ].join('\n');
  };
  return chapters
    .map((chapter) => `${paint(1, chapter.title)}\n${chapter.findings.map(line).join('\n')}\n`)
    .join('\n');
}

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
