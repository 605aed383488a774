/**
 * Numbers of up to seven digits, like @{pid} and @{tid} in /etc/apparmor.d/tunables/kernelvars: pid_max is at
 * most 4194304.
 */
const NUMBER = `{${Array.from({ length: 7 }, (_, at) => `[1-9]${'[0-9]'.repeat(at)}`).join(',')}}`;

/** The variables of AppArmor's tunables whose values are the same on every system. */
const VARIABLES: ReadonlyMap<string, string> = new Map([
  ['@{PROC}', '/proc'],
  ['@{pid}', NUMBER],
  ['@{tid}', NUMBER],
  ['@{pids}', NUMBER],
  ['@{sys}', '/sys'],
]);

/** Expands the variables of an AppArmor pattern. Returns undefined if one of them is unknown. */
export function expandVariables(text: string): string | undefined {
  const expanded = text.replaceAll(/@\{[A-Za-z_]+\}/g, (name) => VARIABLES.get(name) ?? name);
  return expanded.includes('@{') ? undefined : expanded.replaceAll(/\/{2,}/g, '/');
}

/**
 * Converts an AppArmor pattern to a profile pattern that matches the same paths, with its variables expanded.
 * AppArmor's stars match at least one character if nothing else is between the slashes (apparmor.d(5),
 * "Globbing").
 */
export function appArmorPathPattern(text: string): string | undefined {
  return expandVariables(text)?.replaceAll(/(?<=\/)(\*{1,2})(?=\/|$)/g, '?$1');
}

/** Does the reverse, for export. */
export function contractVariables(pattern: string): string {
  return pattern.replaceAll(NUMBER, '@{pid}');
}
