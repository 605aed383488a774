/** Names of roles as Notary knows them (tuf/data/roles.go of Notary 0.7.0). */

const baseRoles: readonly string[] = ['root', 'targets', 'snapshot', 'timestamp'];

/**
 * Whether the role is `targets/…`: lower case, digits, `-`, `_`; at most 255 characters; no empty, `.` or
 * `..` segment.
 */
export function isDelegation(role: string): boolean {
  return role.length < 256 && /^targets(?:\/[-a-z0-9_]+)+$/u.test(role);
}

export function isNotaryRole(role: string): boolean {
  return baseRoles.includes(role) || isDelegation(role);
}

/**
 * Whether the name is valid for a delegated TUF role: any file name without control characters that is not
 * the name of a top-level role in another case.
 */
export function isTufRole(role: string): boolean {
  if (baseRoles.includes(role)) return true;
  return (
    role.length > 0 &&
    role.length < 256 &&
    !/[\u0000-\u001f\u007f-\u009f]/u.test(role) &&
    !baseRoles.includes(role.toLowerCase())
  );
}

/** Returns the role that delegates to a Notary role: its path without the last segment. */
export function parentOf(role: string): string {
  return role.slice(0, Math.max(0, role.lastIndexOf('/')));
}

/** Orders shallow roles before deep ones (tuf/utils/role_sort.go). */
export function shallowFirst(a: string, b: string): number {
  const [depthA, depthB] = [a.split('/').length, b.split('/').length];
  return depthA === depthB ? (a < b ? -1 : a > b ? 1 : 0) : depthA - depthB;
}

/**
 * Returns a function that finds the names with a prefix. The cost of a look-up depends on the number of names
 * found, not on the length of the list.
 */
export function namesByPrefix(names: readonly string[]): (prefix: string) => string[] {
  let sorted: readonly string[] | undefined;
  return (prefix) => {
    const list = (sorted ??= [...names].sort());
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((list[middle] as string) < prefix) low = middle + 1;
      else high = middle;
    }
    const found: string[] = [];
    for (let at = low; list[at]?.startsWith(prefix) === true; at += 1) found.push(list[at] as string);
    return found;
  };
}
