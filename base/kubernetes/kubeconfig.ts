import { createHash, createPrivateKey } from 'node:crypto';
import { dirname, resolve } from 'node:path';
import { PortcullisError, reasonOf } from '../errors/index.ts';
import { readPlainFile } from '../files/index.ts';
import { tlsCertificates } from '../pem/index.ts';
import { formatProblems, parseDocuments } from '../schema/index.ts';
import type { Document, PathSegment } from '../schema/index.ts';

/** How to reach the API, and with which identity. */
export interface ApiAccess {
  /** A path in the URL is a prefix of the API's paths. */
  readonly server: URL;
  /** Further servers of the same API, which are tried in turn. */
  readonly others?: readonly URL[];
  /** PEM. `servername` is the name that the certificate must have, if it is not the host's. */
  readonly tls: {
    readonly ca?: string;
    readonly cert?: string;
    readonly key?: string;
    readonly servername?: string;
  };
  /** The value of the header. A secret. */
  readonly authorization?: string;
  /** A digest of everything that connections use: a new id needs new connections. */
  readonly id: string;
}

type Path = readonly PathSegment[];
type Fields = Readonly<Record<string, unknown>>;

/**
 * Fields that would change our identity or how we authenticate. They are refused by name, because ignoring
 * them would not do what the file says.
 */
const refusedOfUser: Readonly<Record<string, string>> = {
  exec: 'let another program keep a token up to date in a file, and set tokenFile to this file',
  'auth-provider': 'let another program keep a token up to date in a file, and set tokenFile to this file',
  username: 'Kubernetes dropped passwords in 1.19; use a client certificate or a token',
  password: 'Kubernetes dropped passwords in 1.19; use a client certificate or a token',
  as: 'create a separate user for the node',
  'as-uid': 'create a separate user for the node',
  'as-groups': 'create a separate user for the node',
  'as-user-extra': 'create a separate user for the node',
};

const refusedOfCluster: Readonly<Record<string, string>> = {
  'proxy-url': 'set server to the address of the API server itself',
};

/**
 * Reads a kubeconfig and every file that it names. It reads them again on each call, because certificates and
 * tokens are renewed in place. The context is `current-context`. Inline data wins over a file, as in
 * client-go (k8s.io/client-go/tools/clientcmd).
 * @throws KUBERNETES_KUBECONFIG_UNREADABLE · KUBERNETES_KUBECONFIG_INVALID (with file:line:column) ·
 * KUBERNETES_KUBECONFIG_UNSUPPORTED
 */
export async function readKubeconfig(file: string): Promise<ApiAccess> {
  const text = await readNamed(file, file);
  const { documents, problems } = parseDocuments(text, file);
  if (problems.length > 0)
    throw failure('INVALID', file, formatProblems(problems).trim(), 'correct the file');
  const [document] = documents;
  if (document === undefined || documents.length > 1)
    throw failure('INVALID', file, 'it must contain exactly one document', 'correct the file');
  const reader = readerOf(document, file);

  const root = reader.object([]);
  const contextName = reader.text([], root, 'current-context');
  if (contextName === undefined || contextName === '')
    throw reader.wrong(['current-context'], 'current-context is not set');
  const context = reader.named(root, 'contexts', contextName, 'context');
  const clusterName = reader.text(context.path, context.fields, 'cluster') ?? '';
  const cluster = reader.named(root, 'clusters', clusterName, 'cluster');
  const userName = reader.text(context.path, context.fields, 'user') ?? '';
  const user = userName === '' ? { path: [], fields: {} } : reader.named(root, 'users', userName, 'user');

  reader.refuse(cluster, refusedOfCluster);
  reader.refuse(user, refusedOfUser);
  if (cluster.fields['insecure-skip-tls-verify'] === true)
    throw failure(
      'UNSUPPORTED',
      file,
      `${reader.place([...cluster.path, 'insecure-skip-tls-verify'])}: the API server would not be verified`,
      'set certificate-authority to its authority',
    );
  const server = serverOf(reader.text(cluster.path, cluster.fields, 'server'), reader, cluster.path);

  const base = dirname(resolve(file));
  const content = async (of: typeof user, name: string): Promise<string | undefined> => {
    const data = reader.text(of.path, of.fields, `${name}-data`);
    if (data !== undefined && data !== '') return Buffer.from(data, 'base64').toString('utf8');
    const path = reader.text(of.path, of.fields, name);
    return path === undefined || path === '' ? undefined : await readNamed(resolve(base, path), file);
  };
  const caText = await content(cluster, 'certificate-authority');
  const certText = await content(user, 'client-certificate');
  const key = await content(user, 'client-key');
  const ca = certificatesOf(caText, () =>
    reader.wrong([...cluster.path], 'its certificate-authority contains no readable certificate'),
  );
  const cert = certificatesOf(certText, () =>
    reader.wrong(user.path, 'its client-certificate contains no readable certificate'),
  );
  if ((cert === undefined) !== (key === undefined))
    throw reader.wrong(user.path, 'client-certificate and client-key must be given together');
  if (key !== undefined)
    checkKey(key, reader.wrong(user.path, 'its client-key is not a readable private key'));
  const token = await tokenOf(user, reader, base, file);

  const servername = reader.text(cluster.path, cluster.fields, 'tls-server-name');
  const tls = {
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && key !== undefined && { cert, key }),
    ...(servername !== undefined && { servername }),
  };
  const id = createHash('sha256')
    .update(JSON.stringify([server.href, ca, cert, key, servername, token]))
    .digest('base64');
  return { server, tls, id, ...(token !== undefined && { authorization: `Bearer ${token}` }) };
}

function serverOf(text: string | undefined, reader: Reader, path: Path): URL {
  const at = [...path, 'server'];
  if (text === undefined) throw reader.wrong(path, 'the cluster has no server');
  const url = URL.parse(text);
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw reader.wrong(at, 'server must be an address such as https://HOST:6443');
  if (url.username !== '' || url.password !== '') throw reader.wrong(at, 'server must not contain a user');
  if (url.protocol === 'http:' && !/^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/u.test(url.hostname))
    throw reader.wrong(at, 'plain HTTP is allowed to loopback only; use https');
  return url;
}

/** A token file is read again on each call, and wins over an inline token, as in client-go. */
async function tokenOf(user: Named, reader: Reader, base: string, file: string): Promise<string | undefined> {
  const path = reader.text(user.path, user.fields, 'tokenFile');
  const written =
    path === undefined || path === ''
      ? reader.text(user.path, user.fields, 'token')
      : await readNamed(resolve(base, path), file);
  const token = written?.trim();
  if (token === undefined || token === '') {
    if (written !== undefined) throw reader.wrong(user.path, 'its token is empty');
    return undefined;
  }
  // Node refuses a value that a header cannot hold with a message that contains the token.
  if (!/^[\x21-\x7e]+$/u.test(token))
    throw reader.wrong(user.path, 'its token contains characters that are not allowed in a token');
  return token;
}

interface Named {
  readonly path: Path;
  readonly fields: Fields;
}

interface Reader {
  place(path: Path): string;
  wrong(path: Path, why: string): PortcullisError;
  object(path: Path, value?: unknown): Fields;
  text(path: Path, fields: Fields, name: string): string | undefined;
  /** Returns an entry of one of the file's three lists, and its content. */
  named(root: Fields, list: string, name: string, member: string): Named;
  refuse(named: Named, refused: Readonly<Record<string, string>>): void;
}

function readerOf(document: Document, file: string): Reader {
  const place = (path: Path): string => {
    const { line, column } = document.positionOf(path);
    return `${file}:${line}:${column}`;
  };
  const wrong = (path: Path, why: string): PortcullisError =>
    failure('INVALID', file, `${place(path)}: ${why}`, 'correct the file');
  const object = (path: Path, value: unknown = document.value): Fields => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw wrong(path, 'it must be a mapping');
    return value as Fields;
  };
  return {
    place,
    wrong,
    object,
    text(path, fields, name) {
      const value = fields[name] ?? undefined;
      if (value !== undefined && typeof value !== 'string')
        throw wrong([...path, name], `${name} must be a text`);
      return value;
    },
    named(root, list, name, member) {
      const entries = root[list] ?? [];
      if (!Array.isArray(entries)) throw wrong([list], `${list} must be a list`);
      const index = entries.findIndex((entry: unknown, at) => object([list, at], entry)['name'] === name);
      if (index === -1)
        throw wrong([list], `there is no ${member} named ${JSON.stringify(name)} among ${list}`);
      const path = [list, index, member];
      return { path, fields: object(path, object([list, index], entries[index])[member]) };
    },
    refuse({ path, fields }, refused) {
      const name = Object.keys(refused).find((one) => fields[one] !== undefined && fields[one] !== null);
      if (name !== undefined)
        throw failure(
          'UNSUPPORTED',
          file,
          `${place([...path, name])}: ${name} is not supported`,
          refused[name] ?? 'remove it',
        );
    },
  };
}

/** Returns the certificates of a text, without what else it holds. */
function certificatesOf(text: string | undefined, wrong: () => PortcullisError): string | undefined {
  if (text === undefined) return undefined;
  try {
    return tlsCertificates(text).join('');
  } catch {
    throw wrong();
  }
}

/** OpenSSL's error message may quote the key. */
function checkKey(text: string, wrong: PortcullisError): void {
  try {
    createPrivateKey(text);
  } catch {
    throw wrong;
  }
}

/** More than any kubeconfig, key or certificate bundle has. */
const mostBytes = 4 * 2 ** 20;

async function readNamed(path: string, file: string): Promise<string> {
  try {
    return (await readPlainFile(path, mostBytes)).toString('utf8');
  } catch (error) {
    throw failure(
      'UNREADABLE',
      file,
      path === file ? reasonOf(error) : `${path}, which it names: ${reasonOf(error)}`,
      'make it readable',
    );
  }
}

function failure(
  what: 'UNREADABLE' | 'INVALID' | 'UNSUPPORTED',
  on: string,
  why: string,
  fix: string,
): PortcullisError {
  return new PortcullisError({
    code: `KUBERNETES_KUBECONFIG_${what}`,
    kind: what === 'UNREADABLE' ? 'unavailable' : 'invalid',
    attempted: 'read the kubeconfig',
    on,
    why,
    fix,
  });
}
