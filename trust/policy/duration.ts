const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** For a JSON Schema: the form that {@link parseDuration} reads. */
export const durationPattern = '^[1-9][0-9]{0,8}(s|m|h|d|w)$';

/** `90s`, `10m`, `24h`, `30d`, `4w` in seconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const match = new RegExp(durationPattern).exec(text);
  return match === null ? undefined : Number.parseInt(text, 10) * (seconds[match[1] as string] as number);
}

/** For a JSON Schema: a date, or a date with a time and its zone (ISO 8601). */
export const instantPattern = '^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{1,3})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?$';

/** A date (its first moment, UTC) or a date with time and zone, as ISO 8601 in UTC; undefined for what is neither, or no real day. */
export function parseInstant(text: string): string | undefined {
  if (!new RegExp(instantPattern).test(text)) return undefined;
  const time = Date.parse(text);
  if (Number.isNaN(time)) return undefined;
  // Date.parse takes 31 February for 3 March.
  const day = Number(text.slice(8, 10));
  const month = Number(text.slice(5, 7));
  if (new Date(Date.UTC(Number(text.slice(0, 4)), month - 1, day)).getUTCDate() !== day) return undefined;
  return new Date(time).toISOString();
}
