import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';

const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Adds `--since`, whose value becomes a time in ISO 8601, UTC. @param what is listed, such as "verdicts" */
export function withSince(command: Command, what: string): Command {
  return command.option(
    '--since <time>',
    `only ${what} since this time, such as 2026-11-20T10:00:00Z, or within this period: 90m, 1h30m, 7d`,
    (text) => sinceOf(text, Date.now()),
  );
}

/**
 * Returns the time that `--since` names, in ISO 8601, UTC.
 * @param now milliseconds since 1970
 * @throws InvalidArgumentError if the text is neither a time nor a period
 */
export function sinceOf(text: string, now: number): string {
  const time = /^(?:\d{1,6}[smhd])+$/u.test(text) ? now - periodMs(text) : timeOf(text);
  const date = new Date(time);
  if (!Number.isFinite(date.getTime()))
    throw new InvalidArgumentError('It must be a time such as 2026-11-20T10:00:00Z, or 90m, 1h30m, 7d.');
  return date.toISOString();
}

function periodMs(text: string): number {
  return [...text.matchAll(/(\d+)([smhd])/gu)]
    .map(([, count, unit = 's']) => Number(count) * (seconds[unit] ?? 1) * 1000)
    .reduce((sum, part) => sum + part, 0);
}

/** Date.parse also takes other texts for times: "10" for October 2001. */
function timeOf(text: string): number {
  return /^\d{4}-\d{2}-\d{2}(?:[T ]|$)/u.test(text) ? Date.parse(text) : Number.NaN;
}
