/** Why a certificate of a server was refused, and what to do. */
export interface CertificateFailure {
  /** `untrusted` if no trusted authority issued the certificate. */
  readonly kind: 'untrusted' | 'time' | 'name' | 'invalid';
  readonly why: string;
  readonly fix: string;
}

const trust =
  'trust the authority that issued the certificate: name its file in the option for authorities of this connection, such as --ca-file, or add it to the authorities of the system';
const untrusted = (why: string): CertificateFailure => ({ kind: 'untrusted', why, fix: trust });

const forServers =
  'give the server a certificate for servers (serverAuth), with a key of at least 2,048 bits (RSA) and a signature by SHA-256 or longer';
const byAuthority =
  'give the server a certificate that an authority issued which may do so (CA:TRUE, and a pathlen that permits the authorities below it)';
const invalid = (why: string, fix = forServers): CertificateFailure => ({ kind: 'invalid', why, fix });

/** The codes of OpenSSL for chains (openssl-verification-options(1)). Node appends advice for programmers. */
const failures: Readonly<Record<string, CertificateFailure>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted('its certificate is self-signed, and is not trusted here'),
  SELF_SIGNED_CERT_IN_CHAIN: untrusted('the authority that issued its certificate is not trusted here'),
  UNABLE_TO_GET_ISSUER_CERT: untrusted('the authority that issued its certificate is not trusted here'),
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted(
    'the authority that issued its certificate is not trusted here',
  ),
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted(
    'the authority that issued its certificate is not trusted here, or the server does not send the intermediate certificates',
  ),
  CERT_UNTRUSTED: untrusted('the authority that issued its certificate is not trusted here'),
  CERT_HAS_EXPIRED: {
    kind: 'time',
    why: 'its certificate has expired',
    fix: 'renew the certificate of the server, and check the clock of this machine',
  },
  CERT_NOT_YET_VALID: {
    kind: 'time',
    why: 'its certificate is not valid yet',
    fix: 'check the clock of this machine and of the server',
  },
  INVALID_PURPOSE: invalid('its certificate, or that of its issuer, is for another purpose'),
  INVALID_CA: invalid('a certificate that issued another one is not that of an authority', byAuthority),
  PATH_LENGTH_EXCEEDED: invalid(
    'an authority in the chain of its certificate may not issue authorities',
    byAuthority,
  ),
  CERT_CHAIN_TOO_LONG: invalid('the chain of its certificate is too long', 'shorten the chain of the server'),
  // An authority that was recreated has the same name, and another key.
  CERT_SIGNATURE_FAILURE: untrusted(
    'a signature in the chain of its certificate is not by the authority of that name that is trusted here',
  ),
};

/** Characters of the names in a certificate that a message repeats: the server chooses them. */
const longestNames = 200;

/** Returns why the certificate of a server was refused, or undefined for any other error. */
export function certificateFailure(thrown: unknown, code: string): CertificateFailure | undefined {
  // Node has no code for a weak key or digest, and for critical extensions: it gives OpenSSL's text.
  if (code === 'UNSPECIFIED') return invalid(`its certificate is not valid (${(thrown as Error).message})`);
  if (code !== 'ERR_TLS_CERT_ALTNAME_INVALID') return failures[code];
  const { cert } = thrown as { readonly cert?: { readonly subjectaltname?: string } };
  const names = cert?.subjectaltname ?? '';
  const shown = names.length > longestNames ? `${names.slice(0, longestNames)}…` : names;
  return {
    kind: 'name',
    why: `its certificate is for other names${shown === '' ? '' : ` (${shown})`}`,
    fix: 'use a name that the certificate contains, or give the server a certificate for this name',
  };
}
