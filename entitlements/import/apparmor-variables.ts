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
 * AppArmor's stars match at least one character if nothing else is between the slashes, and its negated
 * classes include the slash (apparmor.d(5), "Globbing").
 * @returns undefined for a variable without a known value, for the code of a character (`\n`, `\x41`) other
 * than an octal one of printable ASCII, and for two slashes at the beginning, which no path of the kernel has
 */
export function appArmorPathPattern(text: string): string | undefined {
  // AppArmor's parser keeps two slashes at the beginning, and reads three or more as one (parser_regex.c).
  if (/^\/\/(?!\/)/.test(text)) return undefined;
  const starred = expandVariables(text)?.replaceAll(/(?<=\/)(\*+)(?=\/|$)/g, '?$1');
  const unknown: string[] = [];
  const plain = (item: string): string => {
    const found = unescaped(item);
    if (found === undefined) unknown.push(item);
    return found ?? '';
  };
  const pattern = starred?.replaceAll(/\\(?:[0-7]{3}|.)|\[(?:\\.|[^\]\\])*\]/gs, (item) =>
    item.startsWith('[') ? classOf((item.slice(1, -1).match(ITEMS) ?? []).map(plain)) : `\\${plain(item)}`,
  );
  return unknown.length === 0 ? pattern : undefined;
}

const ITEMS = /\\(?:[0-7]{3}|.)|./gs;

/** Returns the character that is written in a pattern; undefined if its code is not supported. */
function unescaped(item: string): string | undefined {
  const code = item.startsWith('\\') ? item.slice(1) : '';
  if (code.length === 3) {
    const letter = String.fromCharCode(Number.parseInt(code, 8));
    return /[ -~]/.test(letter) ? letter : undefined;
  }
  return code === '' ? item : /[A-Za-z0-9]/.test(code) ? undefined : code;
}

/**
 * Returns a class as a profile writes it. For AppArmor's parser, escapes in a class change nothing: a
 * circumflex at its beginning negates, and a dash between two characters makes a range.
 */
function classOf(characters: readonly string[]): string {
  const isNegated = characters[0] === '^';
  const listed = isNegated ? characters.slice(1) : characters;
  let hasSlash = false;
  let members = '';
  for (let at = 0; at < listed.length; at += 1) {
    const low = listed[at] ?? '';
    const isRange = listed[at + 1] === '-' && at + 2 < listed.length;
    const high = isRange ? (listed[at + 2] ?? low) : low;
    if (isRange) at += 2;
    hasSlash ||= low <= '/' && '/' <= high;
    members += isRange ? `${member(low)}-${member(high)}` : member(low);
  }
  if (!isNegated) return `[${members}]`;
  return hasSlash ? `[^${members}]` : `{/,[^${members}]}`;
}

/** Returns a character as a class of a profile contains it. */
function member(character: string): string {
  return /[\\\]^-]/.test(character) ? `\\${character}` : character;
}
