import { entitlementsError } from '../errors.ts';

/** One rule of a profile, without its comma. */
export interface Statement {
  readonly line: number;
  readonly text: string;
}

/** Returns true for text with the header of an AppArmor profile. */
export function isAppArmorText(text: string): boolean {
  return !/^\s*(apiVersion:|\{)/.test(text) && text.split('\n').some(isHeader);
}

/** Matches in two steps: a single expression would try every end of the name with every brace. */
function isHeader(line: string): boolean {
  const head = /^\s*(?:profile\s+\S|\/\S)/.exec(line);
  return head !== null && /\{\s*(#.*)?$/.test(line.slice(head[0].length));
}

/** The only form of an include that is read. A rule after it on the same line would be lost with it. */
const includeForm = /^#?include\s*(?:if\s+exists\s*)?(?:<([^<>]*)>|"[^"]*")$/;
const includeAlone =
  'an include must be on a separate line, as include <FILE>: what follows it may be a denial';
const commaInside = 'a comma must be followed by a space: if it is part of a path, write the path in quotes';
const aliasUnread =
  'aliases are not read, and denials also apply to the paths that an alias adds: write these rules out';
/** An assignment of another value to a variable whose value is known (apparmor-variables.ts). */
const fixedVariable =
  /^@\{(?:PROC|pid|tid|pids|sys)\}\s*\+?=(?!(?<=PROC\}\s*=)\s*\/proc\/?$|(?<=sys\}\s*=)\s*\/sys\/?$)/;
const variableChanged =
  'it changes a variable of AppArmor’s tunables, whose usual value would be used instead: rename it';

/**
 * Abstractions of AppArmor that contain no denial and no limit, also in the files that they include (Debian
 * 12, apparmor 3.0.8).
 */
const GRANTING: ReadonlySet<string> = new Set(
  [
    'apache2-common authentication base bash consoles crypto hosts_access kerberosclient ldapclient mysql',
    'nameservice nis openssl perl php ruby ssl_certs ssl_keys user-tmp web-data winbind wutmp',
  ].flatMap((line) => line.split(' ').map((name) => `abstractions/${name}`)),
);

/**
 * Returns whether a statement includes a file.
 * @returns `granting` if the file is known to contain only grants; undefined for another statement
 */
export function includeOf(text: string): 'granting' | 'unknown' | undefined {
  const found = includeForm.exec(text);
  if (found === null) return undefined;
  return GRANTING.has(found[1] ?? '') ? 'granting' : 'unknown';
}

/** The longest profile header that is read. The expression would backtrack too often on a longer one. */
const maxHeaderLength = 1024;
const headerForm =
  /^(?:profile\s+)?(?:"([^"]+)"|(\S+))(?:\s+(\S*\/\S+))?\s*(?:flags=\(([^)]*)\)|\(([^)]*)\))?\s*\{$/;

/**
 * Splits the text of one profile into its header and its rules.
 * @throws ENTITLEMENTS_BAD_PROFILE with the line
 */
export function readProfile(
  text: string,
  file: string,
): { readonly name: string; readonly flags: string; readonly statements: readonly Statement[] } {
  const lines = text.split('\n');
  let header: { readonly name: string; readonly flags: string; readonly line: number } | undefined;
  const statements: Statement[] = [];
  /** Lines of a rule that is not complete yet. */
  let pending: string[] = [];
  let scan = newScan();
  let began = 0;
  let ended = false;
  lines.forEach((raw, at) => {
    const line = at + 1;
    const refuse = (why: string): never => {
      throw bad(`${file}:${line}:1`, why);
    };
    const include = /^\s*(#include\b|include\s)/.test(raw);
    const comment = include ? null : /(?:^|\s)#(.*)$/.exec(raw);
    // For AppArmor's parser this is not a comment, wherever it is.
    if (comment?.[1]?.startsWith('include') === true) refuse(includeAlone);
    const stripped = raw.slice(0, comment?.index ?? raw.length).trim();
    if (stripped === '') return;
    if (include && !includeForm.test(stripped)) refuse(includeAlone);
    if (header === undefined || ended) {
      if (/^alias\s/.test(stripped)) refuse(aliasUnread);
      if (fixedVariable.test(stripped)) refuse(variableChanged);
      if (include || /^(abi\s|@\{\w+\}\s*\+?=)/.test(stripped)) return;
      const found = stripped.length > maxHeaderLength ? null : headerForm.exec(stripped);
      if (found === null)
        throw bad(
          `${file}:${line}:1`,
          `${JSON.stringify(stripped.slice(0, 80))} is not a header of a profile`,
        );
      if (ended)
        throw bad(`${file}:${line}:1`, 'a second profile begins here: put each profile in a separate file');
      header = { name: found[1] ?? found[2] ?? '', flags: found[4] ?? found[5] ?? '', line };
      return;
    }
    if (include) {
      statements.push({ line, text: stripped });
      return;
    }
    if (stripped === '}' && pending.length === 0) {
      ended = true;
      return;
    }
    if (pending.length === 0) began = line;
    if (/^(profile\s|\^|hat\s)/.test(pending[0] ?? stripped) && stripped.endsWith('{'))
      throw bad(`${file}:${line}:1`, 'a profile inside the profile cannot be expressed');
    // A comma ends a rule, except within braces and parentheses.
    let rest = pending.length === 0 ? stripped : ` ${stripped}`;
    for (let end = endOfRule(rest, scan); end >= 0; end = endOfRule(rest, scan)) {
      // For AppArmor's parser such a comma is part of a path.
      if (/[^\s",!]/.test(rest[end + 1] ?? ' ')) refuse(commaInside);
      statements.push({ line: began, text: [...pending, rest.slice(0, end)].join('').trim() });
      pending = [];
      scan = newScan();
      rest = rest.slice(end + 1).trim();
    }
    if (rest !== '') pending.push(rest);
  });
  // Assigned in a callback, which the compiler does not see.
  // oxlint-disable-next-line typescript/no-unnecessary-type-assertion -- likewise
  const found = header as
    | { readonly name: string; readonly flags: string; readonly line: number }
    | undefined;
  if (found === undefined) throw bad(`${file}:1:1`, 'there is no profile in it');
  if (pending.length > 0)
    throw bad(
      `${file}:${began}:1`,
      `the rule ${JSON.stringify(pending.join('').slice(0, 80))} has no comma at its end`,
    );
  // oxlint-disable-next-line typescript/no-unnecessary-condition -- likewise
  if (!ended) throw bad(`${file}:${found.line}:1`, 'the profile has no closing brace');
  return { name: found.name, flags: found.flags, statements };
}

/** The state of reading a rule between its lines. */
interface Scan {
  depth: number;
  /** Within a class of characters, where braces are characters. */
  listed: boolean;
  quoted: boolean;
  escaped: boolean;
}

function newScan(): Scan {
  return { depth: 0, listed: false, quoted: false, escaped: false };
}

/** Returns the index of the comma that ends the rule; -1: it continues on the next line. */
function endOfRule(text: string, scan: Scan): number {
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (scan.escaped) scan.escaped = false;
    else if (letter === '\\') scan.escaped = true;
    else if (letter === '"') scan.quoted = !scan.quoted;
    else if (scan.quoted) continue;
    else if (scan.listed) scan.listed = letter !== ']';
    else if (letter === '[') scan.listed = true;
    else if (letter === '{' || letter === '(') scan.depth += 1;
    else if (letter === '}' || letter === ')') scan.depth -= 1;
    else if (letter === ',' && scan.depth === 0) return at;
  }
  return -1;
}

export function bad(at: string, why: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'read AppArmor profile',
    on: at,
    why,
    fix: 'write one profile, as apparmor.d(5) describes; apparmor_parser -Q -K FILE checks it',
  });
}
