/** One challenge of WWW-Authenticate. Scheme and parameter names are in lower case. */
export interface Challenge {
  readonly scheme: string;
  readonly params: Readonly<Record<string, string>>;
}

const headerLimit = 8 * 1024;
const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const parameter = new RegExp(`^(${token})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|(${token}))`);
const schemeForm = new RegExp(`^(${token})(?=[ \\t,]|$)`);

/** Parses WWW-Authenticate (RFC 9110, §11.6.1). Parsing stops at text that does not fit the grammar. */
export function parseChallenges(header: string): readonly Challenge[] {
  if (header.length > headerLimit) return [];
  const challenges: { scheme: string; params: Record<string, string> }[] = [];
  let rest = header.trim();
  while (rest !== '') {
    const found = parameter.exec(rest);
    const last = challenges.at(-1);
    if (found?.[1] !== undefined && last !== undefined) {
      last.params[found[1].toLowerCase()] = found[2]?.replaceAll(/\\(.)/g, '$1') ?? found[3] ?? '';
      rest = rest.slice(found[0].length);
    } else {
      const scheme = schemeForm.exec(rest)?.[1];
      if (scheme === undefined) break;
      challenges.push({ scheme: scheme.toLowerCase(), params: {} });
      rest = rest.slice(scheme.length);
    }
    rest = rest.replace(/^[ \t,]+/, '');
  }
  return challenges;
}
