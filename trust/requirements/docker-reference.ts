/** A name in Docker's notation. Short forms are completed, and nothing else is changed. */
export interface DockerReference {
  /**
   * For example `docker.io/library/busybox`. Capitals of a host are kept, unlike in `parseReference` of
   * base/distribution.
   */
  readonly name: string;
  readonly tag?: string;
  readonly digest?: string;
  /** The full reference: `name[:tag][@digest]`. */
  readonly text: string;
}

// From regexp.go of distribution/reference. `-*` between letters is written `-+` here, which matches the same
// names without backtracking.
const domainPart = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domain = `${domainPart}(?:\\.${domainPart})*(?::[0-9]+)?`;
const pathPart = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const name = `(?:${domain}/)?${pathPart}(?:/${pathPart})*`;
const tag = '[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}';
const digest = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
const referenceForm = new RegExp(`^(${name})(?::(${tag}))?(?:@(${digest}))?$`);
const nameForm = new RegExp(`^${name}$`);
const domainForm = new RegExp(`^${domain}$`);
const domainPrefix = new RegExp(`^${domain}/`);
const knownDigest = /^(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$/;

const nameLimit = 255;
const textLimit = 1024;

/**
 * Parses a name as the containers image library does (`reference.ParseNormalizedNamed` of docker/reference):
 * adds `docker.io` and `library/`, but no tag. Returns undefined for a name that the library refuses.
 */
export function parseDockerReference(text: string): DockerReference | undefined {
  if (text.length > textLimit || /^[a-f0-9]{64}$/.test(text)) return undefined;
  const { host, rest } = splitDomain(text);
  const match = referenceForm.exec(`${host}/${rest}`);
  if (match === null) return undefined;
  const [whole, found = '', foundTag, foundDigest] = match;
  if (found.length > nameLimit || (foundDigest !== undefined && !knownDigest.test(foundDigest)))
    return undefined;
  return {
    name: found,
    ...(foundTag === undefined ? {} : { tag: foundTag }),
    ...(foundDigest === undefined ? {} : { digest: foundDigest }),
    text: whole,
  };
}

/**
 * Whether the text is valid as a prefix of `remapIdentity`: a host, or a whole name that begins with a host.
 */
export function isRemappingPrefix(text: string): boolean {
  return (
    text.length <= textLimit && (domainForm.test(text) || (nameForm.test(text) && domainPrefix.test(text)))
  );
}

function splitDomain(text: string): { readonly host: string; readonly rest: string } {
  const slash = text.indexOf('/');
  const first = slash < 0 ? '' : text.slice(0, slash);
  const hasHost = /[.:]/.test(first) || first === 'localhost';
  const written = hasHost ? first : 'docker.io';
  const rest = hasHost ? text.slice(slash + 1) : text;
  const host = written === 'index.docker.io' ? 'docker.io' : written;
  return { host, rest: host === 'docker.io' && !rest.includes('/') ? `library/${rest}` : rest };
}
