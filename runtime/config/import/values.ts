import type { Mapped } from './findings.ts';

/** Returns the seconds of a Go duration (`4h0m0s`) or a number. Undefined if the value is neither. */
function durationSeconds(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  if (typeof value !== 'string' || !/^(\d+(\.\d+)?(h|m|s|ms))+$/.test(value)) return undefined;
  const units: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 };
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)];
  return Math.ceil(
    parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (units[unit ?? 's'] ?? 1), 0),
  );
}

/** Returns a mirror for an endpoint's URL or bare host. Undefined if the value is neither. */
export function mirrorOf(
  endpoint: unknown,
  origin: boolean,
): { readonly url: string; readonly origin: boolean } | undefined {
  if (typeof endpoint !== 'string') return undefined;
  const url = /^https?:\/\//.test(endpoint) ? endpoint : `https://${endpoint}`;
  return /^https?:\/\/[^\s?#@/]+(\/[^\s?#@]*)?$/.test(url)
    ? { url: url.replace(/\/+$/, ''), origin }
    : undefined;
}

/** Converts a logrus level to one of our levels. */
export function levelOf(value: unknown): Mapped {
  const known: Record<string, string> = {
    trace: 'debug',
    debug: 'debug',
    info: 'info',
    warn: 'warn',
    error: 'error',
    fatal: 'error',
    panic: 'error',
  };
  const level = typeof value === 'string' && Object.hasOwn(known, value) ? known[value] : undefined;
  return level === undefined ? { left: 'no such level here' } : { set: { logLevel: level } };
}

/** Converts a Go duration to a setting in seconds. */
export function durationOf(setting: string, value: unknown): Mapped {
  const seconds = durationSeconds(value);
  return seconds === undefined ? { left: 'it is not a time' } : { set: { [setting]: seconds } };
}
