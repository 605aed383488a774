/**
 * Returns the milliseconds that a server asks to wait (Retry-After, RFC 9110, §10.2.3: seconds or a date).
 * Undefined: it asks for nothing, or for nothing that can be read.
 */
export function retryAfterMs(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
