/** Reads fields of objects whose shape was not checked: a field of another type counts as absent. */

export type ObjectFields = Readonly<Record<string, unknown>>;

/** Returns a mapping as it is, and an empty one for anything else. */
export const fieldsOf = (value: unknown): ObjectFields =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as ObjectFields) : {};

/** Returns a list as it is, and an empty one for anything else. */
export const listOf = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? (value as unknown[]) : [];

/** Returns a text as it is, and an empty one for anything else. */
export const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Returns `namespace/name` of any object (`/name` without a namespace), or undefined if it has no name. */
export function nameOf(object: unknown): string | undefined {
  const { namespace, name } = fieldsOf(fieldsOf(object)['metadata']);
  return typeof name === 'string' && name !== '' ? `${textOf(namespace)}/${name}` : undefined;
}
