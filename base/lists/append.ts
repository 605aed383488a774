/**
 * Appends all items to a list, like `list.push(...items)`, but with any number of items. A list can be
 * appended to itself.
 */
export function append<T>(list: T[], items: readonly NoInfer<T>[]): void {
  const { length } = items;
  for (let at = 0; at < length; at += 1) list.push(items[at] as T);
}
