/** Reads fields of objects whose shape nobody has checked: a field of another type counts as absent. */

export type ObjectFields = Readonly<Record<string, unknown>>;

export const fieldsOf = (value: unknown): ObjectFields =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as ObjectFields) : {};

export const listOf = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? (value as unknown[]) : [];

export const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Returns `namespace/name` of any object (`/name` without a namespace), or undefined if it has no name. */
export function nameOf(object: unknown): string | undefined {
  const { namespace, name } = fieldsOf(fieldsOf(object)['metadata']);
  return typeof name === 'string' && name !== '' ? `${textOf(namespace)}/${name}` : undefined;
}
