/** One challenge of WWW-Authenticate. Scheme and parameter names are in lower case. */
export interface Challenge {
  readonly scheme: string;
  readonly params: Readonly<Record<string, string>>;
}

const headerLimit = 8 * 1024;
const valueLimit = 16;
const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const parameter = new RegExp(`^(${token})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|(${token}))`);
/** The value of a scheme without parameters (RFC 9110, §11.2), up to the next challenge. */
const token68 = /^[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/;
const schemeForm = new RegExp(`^(${token})(?=[ \\t,]|$)`);

/**
 * Parses the values of WWW-Authenticate, which a server may repeat (RFC 9110, §11.6.1). Parsing of a value
 * stops at text that does not fit the grammar.
 */
export function parseChallenges(values: readonly string[]): readonly Challenge[] {
  return values.length > valueLimit ? [] : values.flatMap(parseValue);
}

function parseValue(header: string): readonly Challenge[] {
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
      rest = rest.slice(scheme.length).replace(token68, '');
    }
    rest = rest.replace(/^[ \t,]+/, '');
  }
  return challenges;
}
