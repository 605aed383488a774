const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** The form that {@link parseDuration} accepts, for a JSON Schema. */
export const durationPattern = '^[1-9][0-9]{0,8}(s|m|h|d|w)$';

/** Returns `90s`, `10m`, `24h`, `30d` or `4w` in seconds, and undefined for any other text. */
export function parseDuration(text: string): number | undefined {
  const match = new RegExp(durationPattern).exec(text);
  return match === null ? undefined : Number.parseInt(text, 10) * (seconds[match[1] as string] as number);
}

/** A date, or a date with a time and its zone (ISO 8601), for a JSON Schema. */
export const instantPattern =
  '^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{1,3})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?$';

/**
 * Returns a date (its first moment, UTC) or a date with time and zone as ISO 8601 in UTC. Returns undefined
 * for any other text, and for a day that does not exist.
 */
export function parseInstant(text: string): string | undefined {
  if (!new RegExp(instantPattern).test(text)) return undefined;
  const time = Date.parse(text);
  if (Number.isNaN(time)) return undefined;
  // Date.parse reads 31 February as 3 March.
  const day = Number(text.slice(8, 10));
  const month = Number(text.slice(5, 7));
  if (new Date(Date.UTC(Number(text.slice(0, 4)), month - 1, day)).getUTCDate() !== day) return undefined;
  return new Date(time).toISOString();
}
