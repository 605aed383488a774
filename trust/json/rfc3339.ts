const form =
  /^(\d{4}-\d{2}-(\d{2}))T(?:[01]\d|2[0-3]):\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):\d{2})$/u;

/**
 * Reads a time of signed JSON, such as `2030-01-31T00:00:00Z`, with the check of days and hours that Go
 * makes: `Date.parse` reads 31 February as 3 March, and 24:00 as the next day.
 * Source: RFC 3339, sections 5.6 and 5.7, without leap seconds.
 * @returns milliseconds since 1970; undefined for any other value
 */
export function readRfc3339(value: unknown): number | undefined {
  const [, date = '', day] = (typeof value === 'string' && form.exec(value)) || [];
  if (day === undefined || new Date(`${date}T00:00:00Z`).getUTCDate() !== Number(day)) return undefined;
  const time = Date.parse(value as string);
  return Number.isNaN(time) ? undefined : time;
}
