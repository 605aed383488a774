/** The notation of sizes in the configuration and in annotations: bytes, or a number with Ki, Mi or Gi. */
export const sizePattern = '^[0-9]{1,12}(Ki|Mi|Gi)?$';

const units: Readonly<Record<string, number>> = { Ki: 1024, Mi: 1024 ** 2, Gi: 1024 ** 3 };

/** Returns the number of bytes of a size such as `64Mi`. Undefined if the text is not a size. */
export function bytesOf(text: string): number | undefined {
  const found = new RegExp(sizePattern).exec(text);
  if (found === null) return undefined;
  const bytes = parseInt(text, 10) * (units[found[1] ?? ''] ?? 1);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
