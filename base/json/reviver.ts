/**
 * A function that is called for each value, the innermost first. Its result must not depend on earlier calls.
 */
export type JsonReviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;
