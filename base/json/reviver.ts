/** Called for each value, the innermost first. It must not depend on what it was called for before. */
export type JsonReviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;
