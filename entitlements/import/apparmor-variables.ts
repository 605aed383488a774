/** Numbers of up to seven digits, as /etc/apparmor.d/tunables/kernelvars has them for @{pid} and @{tid}: pid_max is at most 4194304. */
const NUMBER = `{${Array.from({ length: 7 }, (_, at) => `[1-9]${'[0-9]'.repeat(at)}`).join(',')}}`;

/** The variables of AppArmor's tunables whose values are the same everywhere. */
const VARIABLES: ReadonlyMap<string, string> = new Map([
  ['@{PROC}', '/proc'],
  ['@{pid}', NUMBER],
  ['@{tid}', NUMBER],
  ['@{pids}', NUMBER],
  ['@{sys}', '/sys'],
]);

/** A pattern of AppArmor with its variables in place; undefined when one of them is not known. */
export function expandVariables(text: string): string | undefined {
  const expanded = text.replaceAll(/@\{[A-Za-z_]+\}/g, (name) => VARIABLES.get(name) ?? name);
  return expanded.includes('@{') ? undefined : expanded.replaceAll(/\/{2,}/g, '/');
}

/**
 * A pattern of AppArmor as one of ours that matches the same paths, its variables in place: AppArmor's stars match one character at least
 * where they are all that stands between slashes (apparmor.d(5), "Globbing").
 */
export function appArmorPathPattern(text: string): string | undefined {
  return expandVariables(text)?.replaceAll(/(?<=\/)(\*{1,2})(?=\/|$)/g, '?$1');
}

/** The same backwards, for what is written out again. */
export function contractVariables(pattern: string): string {
  return pattern.replaceAll(NUMBER, '@{pid}');
}
