import { splitDigest } from './digest.ts';
import { distributionError } from './failure.ts';

/** A normalised image reference. */
export interface Reference {
  /** Lower case: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly registry: string;
  /** `library/busybox`. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: string;
}

// distribution/reference, the grammar in its package comment.
const domainPart = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domain = new RegExp(`^(?:${domainPart}(?:\\.${domainPart})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]{1,5})?$`);
const pathPart = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagForm = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const repositoryLimit = 255;
const textLimit = 1024;

/**
 * Parses a reference like docker: `docker.io` and `library/` if omitted, `latest` if neither tag nor digest
 * is given.
 * @throws PortcullisError DISTRIBUTION_BAD_REFERENCE
 */
export function parseReference(text: string): Reference {
  const refuse = (why: string): never => {
    throw distributionError(
      'DISTRIBUTION_BAD_REFERENCE',
      { attempted: 'read image reference', on: JSON.stringify(text.slice(0, 300)) },
      why,
    );
  };
  if (text === '') refuse('it is empty');
  const transport = /^(?:docker:\/\/|https?:\/\/|oci:\/\/)/u.exec(text)?.[0];
  if (transport !== undefined) refuse(`it is a URL, not a name; leave out ${transport}`);
  if (text.length > textLimit) refuse(`it is longer than ${textLimit} characters`);
  if (/^[0-9a-f]{64}$/.test(text)) refuse('64 hex digits are an image id, not a name');

  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && splitDigest(digest) === undefined)
    refuse('the part after @ is not a sha256 or sha512 digest');
  const named = at < 0 ? text : text.slice(0, at);

  const colon = named.lastIndexOf(':');
  const hasTag = colon > named.lastIndexOf('/');
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  if (tag !== undefined && !tagForm.test(tag))
    refuse('the tag after : may have only letters, digits, _ . and -, and at most 128 characters');
  const name = hasTag ? named.slice(0, colon) : named;

  const { registry: written, repository } = splitName(name);
  if (!domain.test(written)) refuse('the registry before the first / is not a host name');
  const registry =
    canonicalHost(written) ?? refuse('the registry before the first / has no valid address or port');
  if (repository === '') refuse('the name of the image is missing');
  if (repository.length > repositoryLimit)
    refuse(`the repository is longer than ${repositoryLimit} characters`);
  if (!repository.split('/').every((part) => pathPart.test(part))) {
    refuse(
      repository === repository.toLowerCase()
        ? 'a part of the name is malformed'
        : 'the repository must be lower case',
    );
  }
  const effectiveTag = tag ?? (digest === undefined ? 'latest' : undefined);
  return {
    registry,
    repository,
    ...(effectiveTag === undefined ? {} : { tag: effectiveTag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/**
 * `busybox` → docker.io, library/busybox. The first part is a host if it has a dot or a colon, or is
 * localhost. Unlike in docker, capitals alone do not make it a host: `HOST/app` would become `host/app`,
 * which is another image.
 */
function splitName(name: string): { readonly registry: string; readonly repository: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isHost = /[.:]/.test(first) || first.toLowerCase() === 'localhost';
  const written = isHost ? first.toLowerCase() : 'docker.io';
  const rest = isHost ? name.slice(slash + 1) : name;
  const registry = written === 'index.docker.io' ? 'docker.io' : written;
  return {
    registry,
    repository: registry === 'docker.io' && !rest.includes('/') && rest !== '' ? `library/${rest}` : rest,
  };
}

/** Hosts that a URL reads as an address: an IPv6 address, and names whose last part is a number. */
const addressForm = /^\[|(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/;

/**
 * Returns the only text for a host and a port: `r.io:05000` is `r.io:5000`; `10.1` and
 * `[::ffff:a00:1]` are `10.0.0.1`. A second text for one registry would evade the rules for the first.
 * Returns undefined if there is no such address or port.
 */
export function canonicalHost(written: string): string | undefined {
  const [, host = written, digits] = /^(.*):([0-9]+)$/.exec(written.endsWith(']') ? '' : written) ?? [];
  const port = digits === undefined ? undefined : Number(digits);
  if (port !== undefined && (port === 0 || port > 65_535)) return undefined;
  const end = port === undefined ? '' : `:${port}`;
  if (!addressForm.test(host)) return `${host}${end}`;
  const url = URL.parse(`http://${host}/`);
  return url === null ? undefined : `${withoutMapping(url.hostname)}${end}`;
}

/**
 * Returns the IPv4 address that an IPv6 address maps (RFC 4291, section 2.5.5.2), and any other host as it
 * is. A connection to either leads to the same socket.
 */
function withoutMapping(host: string): string {
  const [, ...words] = /^\[::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/.exec(host) ?? [];
  if (words.length === 0) return host;
  return words
    .map((word) => Number.parseInt(word, 16))
    .flatMap((word) => [word >> 8, word & 0xff])
    .join('.');
}

/** Returns the normalised text: `docker.io/library/busybox:1`. Parsing it gives the same reference. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${reference.registry}/${reference.repository}${tag}${digest}`;
}
