/** Names of roles as Notary knows them (tuf/data/roles.go of Notary 0.7.0). */

const baseRoles: readonly string[] = ['root', 'targets', 'snapshot', 'timestamp'];

/** `targets/…`: lower case, digits, `-`, `_`; at most 255 characters; no empty, `.` or `..` part. */
export function isDelegation(role: string): boolean {
  return role.length < 256 && /^targets(?:\/[-a-z0-9_]+)+$/u.test(role);
}

export function isNotaryRole(role: string): boolean {
  return baseRoles.includes(role) || isDelegation(role);
}

/** A delegated role of TUF may have any name that a file can have: no control characters, not that of a top role in another case. */
export function isTufRole(role: string): boolean {
  if (baseRoles.includes(role)) return true;
  return role.length > 0 && role.length < 256 && !/[\u0000-\u001f\u007f-\u009f]/u.test(role) && !baseRoles.includes(role.toLowerCase());
}

/** The role that a role of Notary is delegated by: its path without the last part. */
export function parentOf(role: string): string {
  return role.slice(0, Math.max(0, role.lastIndexOf('/')));
}

/** Shallow roles before deep ones (tuf/utils/role_sort.go). */
export function shallowFirst(a: string, b: string): number {
  const [depthA, depthB] = [a.split('/').length, b.split('/').length];
  return depthA === depthB ? (a < b ? -1 : a > b ? 1 : 0) : depthA - depthB;
}

/** Finds the names that begin with a prefix: each look-up costs what it finds, not the length of the list. */
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
