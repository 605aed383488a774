import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { isLoopback } from '../../base/http/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { describeProblems, parseDocuments, validate } from '../../base/schema/index.ts';
import type { JsonSchema } from '../../base/schema/index.ts';
import { parseNoteKey } from '../../trust/verdict-log/index.ts';
import { namePattern } from '../records/record-names.ts';

/** The sender of a request. `anyone`: the service has no access control, and listens on loopback only. */
export type Caller =
  | { readonly role: 'node'; readonly name: string }
  | { readonly role: 'reader'; readonly name: string }
  | { readonly role: 'anyone' };

/** The nodes that may write and the readers that may read: the content of the file of tokens. */
export interface AccessFile {
  readonly nodes: ReadonlyMap<string, { readonly sha256?: string; readonly key?: string }>;
  readonly readers: ReadonlyMap<string, { readonly sha256?: string }>;
}

/** Organisations of client certificates, by role. The common name is the name. */
export const certificateRoles: Readonly<Record<string, 'node' | 'reader'>> = {
  'portcullis:nodes': 'node',
  'portcullis:readers': 'reader',
};

const digest = {
  type: 'string',
  pattern: '^[0-9a-f]{64}$',
  description: 'SHA-256 of the token, hex',
} as const;
const entries = (properties: Readonly<Record<string, unknown>>): JsonSchema => ({
  type: 'object',
  propertyNames: { pattern: namePattern.source },
  additionalProperties: { type: 'object', additionalProperties: false, properties },
});
const accessSchema: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    nodes: entries({
      sha256: digest,
      key: { type: 'string', maxLength: 512, description: 'Public key of the verdict log of the node' },
    }),
    readers: entries({ sha256: digest }),
  },
};

const mostBytes = 4 * 1024 * 1024;

/**
 * Reads the file of tokens: YAML or JSON with `nodes` and `readers`. It contains digests of tokens, not the
 * tokens.
 * @throws PortcullisError FLEET_TOKENS
 */
export function readAccessFile(file: string, text: string): AccessFile {
  const fail = (why: string): PortcullisError =>
    new PortcullisError({
      code: 'FLEET_TOKENS',
      kind: 'invalid',
      attempted: 'read the tokens of the aggregator',
      on: file,
      why,
      fix: 'correct the file; portcullis fleet token NAME prints an entry',
    });
  const { documents, problems: malformed } = parseDocuments(text, file, { bytes: mostBytes, documents: 1 });
  const [document] = documents;
  if (document === undefined)
    throw fail(malformed.length === 0 ? 'it is empty' : describeProblems(malformed).trimEnd());
  const problems = [...malformed, ...validate(document, accessSchema)];
  if (problems.length > 0) throw fail(describeProblems(problems).trimEnd());
  const { nodes = {}, readers = {} } = document.value as {
    nodes?: Readonly<Record<string, { sha256?: string; key?: string }>>;
    readers?: Readonly<Record<string, { sha256?: string }>>;
  };
  for (const [name, { key }] of Object.entries(nodes))
    if (key !== undefined && parseNoteKey(key) === undefined)
      throw fail(`the key of ${name} is not the public key of a verdict log (NAME+ID+BASE64)`);
  return { nodes: new Map(Object.entries(nodes)), readers: new Map(Object.entries(readers)) };
}

/** Returns the caller of a request, or undefined when it has no valid token or certificate. */
export type Identify = (request: IncomingMessage) => Caller | undefined;

/**
 * Creates the check of callers.
 * @param file undefined: there are no tokens
 * @param certificates whether a verified client certificate names a caller
 * @param clock milliseconds since 1970
 */
export function createIdentify(
  file: AccessFile | undefined,
  certificates: boolean,
  clock: () => number,
): Identify {
  if (file === undefined && !certificates)
    return (request) => (isLocalName(request.headers.host) ? { role: 'anyone' } : undefined);
  const callers = new Map<string, Caller>();
  for (const [role, names] of [
    ['node', file?.nodes],
    ['reader', file?.readers],
  ] as const)
    for (const [name, { sha256 }] of names ?? [])
      if (sha256 !== undefined) callers.set(sha256, { role, name });
  return (request) => {
    const [, token] = /^bearer ([\x21-\x7e]{16,4096})$/iu.exec(request.headers.authorization ?? '') ?? [];
    // The duration of a lookup by digest does not depend on how many characters of a token are correct.
    if (token !== undefined) return callers.get(createHash('sha256').update(token).digest('hex'));
    return certificates && isTls(request.socket) ? certifiedBy(request.socket, clock()) : undefined;
  };
}

const isTls = (socket: Socket): socket is TLSSocket => 'getPeerCertificate' in socket;

function certifiedBy(socket: TLSSocket, now: number): Caller | undefined {
  if (!socket.authorized) return undefined;
  const certificate = socket.getPeerCertificate();
  // OpenSSL verified it when the session began. The connection, or a resumed session, may last longer.
  if (!(now <= Date.parse(certificate.valid_to))) return undefined;
  // If a name occurs several times, its value is a list.
  const subject = certificate.subject as Readonly<Record<string, unknown>> | undefined;
  const [organisation, name] = [subject?.['O'], subject?.['CN']];
  if (typeof organisation !== 'string' || typeof name !== 'string' || !namePattern.test(name))
    return undefined;
  const role = Object.hasOwn(certificateRoles, organisation) ? certificateRoles[organisation] : undefined;
  return role === undefined ? undefined : { role, name };
}

/**
 * Without tokens, a web page must not reach the service through its own host name that resolves to loopback
 * (DNS rebinding).
 */
function isLocalName(host: string | undefined): boolean {
  const name = (host ?? '').replace(/:\d{1,5}$/u, '').replace(/^\[(.*)\]$/u, '$1');
  return name === 'localhost' || isLoopback(name);
}
