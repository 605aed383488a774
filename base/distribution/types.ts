import type { Descriptor } from './descriptor.ts';
import type { Reference } from './reference.ts';
import type { Manifest } from './manifest.ts';

/**
 * Never logged, and never part of an error. Order of use: `registryToken`, otherwise `identityToken`,
 * otherwise `username` with `password`.
 */
export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  /** An OAuth2 refresh token, exchanged at the registry's token service. */
  readonly identityToken?: string;
  /** A bearer token for the registry itself. */
  readonly registryToken?: string;
}

export interface Mirror {
  /**
   * `http://127.0.0.1:5000` or `https://mirror.example.com/prefix`. Host and path replace the prefix of the
   * rule: the path precedes the rest of the repository's name.
   */
  readonly url: string;
  /** false: the mirror serves content by digest, and is never asked what a tag means. Default: true. */
  readonly tags?: boolean;
  /** Credentials of the mirror. The origin's credentials are never sent to it. */
  readonly credentials?: Credentials;
}

/** Where the content of the names with one prefix comes from. */
export interface RegistryRule {
  /** true: no request is sent for these names, neither to a mirror nor to the origin. Default: false. */
  readonly blocked?: boolean;
  /** In the order in which they are asked. */
  readonly mirrors?: readonly Mirror[];
  /** false: no request is sent to the origin. Default: true. */
  readonly origin?: boolean;
}

/** The TLS files of one host, in PEM. */
export interface HostTls {
  /** Authorities, in addition to the system's. */
  readonly ca?: readonly string[];
  /** The client certificate. Both can be the same file. */
  readonly client?: { readonly cert: string; readonly key: string };
}

export interface RegistryClientOptions {
  /**
   * Keyed by the beginning of normalised names: `docker.io`, `localhost:5000`, `quay.io/team`, or
   * `*.example.com` for every host below a domain. Only the rule with the longest matching key applies.
   */
  readonly rules?: ReadonlyMap<string, RegistryRule>;
  /**
   * Hosts (`registry.lan` or `registry.lan:5000`) for which plain HTTP is allowed, in addition to loopback
   * hosts.
   */
  readonly insecureHosts?: readonly string[];
  /**
   * Folders like `/etc/containers/certs.d`: `HOST[:PORT]/*.crt` are authorities, `NAME.cert` with `NAME.key`
   * is a client certificate. The first folder that names a host counts.
   */
  readonly certificateFolders?: readonly string[];
  /** By host as in URLs, `mirror.example.com:5000`: files that replace the host's folder. */
  readonly tls?: ReadonlyMap<string, HostTls>;
  /**
   * Milliseconds: 5000 to connect, 30000 until an answer begins, 30000 between two pieces of a body, 60000
   * for one bounded document.
   */
  readonly timeouts?: {
    readonly connect?: number;
    readonly headers?: number;
    readonly idle?: number;
    readonly document?: number;
  };
  /**
   * The number of attempts (3) for an answer of 429 or 503, and, except for writes, of 500, 502 and 504 or a
   * connection that breaks. For a blob, only attempts without progress count. The longest wait before an
   * attempt in milliseconds (10000).
   */
  readonly retry?: { readonly attempts?: number; readonly maxDelayMs?: number };
  readonly userAgent?: string;
  /** The maximum number of connections to one host (64). */
  readonly connections?: number;
  /**
   * Size of a buffer of each connection, into which everything is received: for blobs that are read with
   * `each`. Default: each piece has memory of its own.
   */
  readonly receiveBytes?: number;
  /**
   * How long a list under a shared tag must stay unchanged before an entry counts as added, in milliseconds
   * (250; 0: no other client writes).
   */
  readonly tagSettleMs?: number;
}

/** Use one client per process: it keeps connections and tokens. Usable from any thread. */
export interface RegistryClient {
  /**
   * Returns the endpoints for this repository, in order: the mirrors, then the origin (omitted if the rule
   * has `origin: false`). Mirrors whose own name there is blocked are omitted.
   * @param credentials bound to the reference's registry
   * @throws PortcullisError DISTRIBUTION_BLOCKED, DISTRIBUTION_BAD_MIRROR
   */
  repositories(
    reference: Pick<Reference, 'registry' | 'repository'>,
    credentials?: Credentials,
  ): readonly RegistryRepository[];
  /** Returns whether requests for a name may go to its origin. */
  asksOrigin(reference: Pick<Reference, 'registry' | 'repository'>): boolean;
  /** Closes every connection. Pending requests fail. */
  close(): Promise<void>;
}

export interface FetchedManifest {
  /** The bytes exactly as served; `digest` is the digest of these bytes. */
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  readonly digest: string;
  readonly content: Manifest;
  /** The entity tag, if the registry sent one: for a conditional write. */
  readonly etag?: string;
}

/** The bytes of a blob as they arrive. They are consumed once, in one of two ways. */
export interface BlobContent extends AsyncIterable<Uint8Array> {
  /**
   * Passes each piece to `take`, and is quicker than the iteration. A piece is valid only until `take`
   * returns. Throws what `take` throws, otherwise as the iteration.
   */
  each?(take: (bytes: Uint8Array) => void): Promise<void>;
}

/** A range of a blob, in bytes. */
export interface BlobRange {
  readonly offset: number;
  readonly length: number;
}

/** A manifest under one tag whose list several writers extend: a fallback index, cosign's `.sig`. */
export interface SharedList {
  readonly mediaType: string;
  /** The entries to add. */
  readonly added: readonly unknown[];
  /** Returns the current entries. @throws PortcullisError when something else has the tag */
  entriesOf(manifest: FetchedManifest): readonly unknown[];
  /** Returns the key of an entry. Entries with equal keys are the same entry. */
  keyOf(entry: unknown): string;
  /** Builds the whole manifest. `fields`: the fields of the manifest that it replaces. */
  build(entries: readonly unknown[], fields: Readonly<Record<string, unknown>>): Promise<Uint8Array>;
}

export interface Referrers {
  /** `referrers`: the API. `fallback-tag`: the tag `sha256-<hex>` of registries without it. */
  readonly via: 'referrers' | 'fallback-tag';
  readonly descriptors: readonly Descriptor[];
  /** false: there were more than the limit allows, and the rest was not read. */
  readonly complete: boolean;
}

/**
 * One repository at one endpoint. All failures are PortcullisErrors whose codes begin with DISTRIBUTION_.
 * Each names the host.
 */
export interface RegistryRepository {
  /** `127.0.0.1:5000`; for a mirror, the host of the mirror. */
  readonly host: string;
  /** The name at this endpoint (a mirror may have a prefix). */
  readonly repository: string;
  /** false: a mirror for content by digest. It is not asked about tags: they count as not found there. */
  readonly answersTags: boolean;
  /**
   * Returns the descriptor of a tag or digest: HEAD, falling back to GET. The bytes are checked only when
   * they are fetched.
   */
  resolve(tagOrDigest: string, signal?: AbortSignal): Promise<Descriptor>;
  /**
   * Fetches at most 4 MiB. If a digest or a descriptor is given, digest, size and media type are checked
   * against it. Refused: HTML, schema 1, a mediaType field that differs from Content-Type, an index with
   * layers, a manifest with manifests (CVE-2021-41190).
   */
  manifest(
    wanted: string | Pick<Descriptor, 'digest' | 'size' | 'mediaType'>,
    signal?: AbortSignal,
  ): Promise<FetchedManifest>;
  /**
   * Yields the bytes as they arrive. Fails as soon as there are too many, and at the end if digest or size
   * differ. If the connection breaks, the rest is requested with Range (RFC 9110, section 14). The caller
   * must iterate over it, or abort `signal`.
   * @param begun the first bytes of the blob, as an earlier fetch left them: they count for size and digest,
   * and only the bytes behind them are requested and yielded
   */
  blob(
    descriptor: Pick<Descriptor, 'digest' | 'size'>,
    signal?: AbortSignal,
    begun?: AsyncIterable<Uint8Array>,
  ): Promise<BlobContent>;
  /**
   * Fetches a part of a blob by one request with Range (RFC 9110, section 14). Nothing can be checked here
   * but its length: the caller has a digest of the part. A server without ranges is an error, because it
   * would send the whole blob.
   * @param part a range within the blob; the whole part is in memory
   */
  blobPart(
    descriptor: Pick<Descriptor, 'digest' | 'size'>,
    part: BlobRange,
    signal?: AbortSignal,
  ): Promise<Uint8Array>;
  /** Fetches a blob. Refuses a descriptor of more than `limit` bytes before it sends a request. */
  blobBytes(
    descriptor: Pick<Descriptor, 'digest' | 'size'>,
    limit: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array>;
  /**
   * Lists artifacts whose subject is `digest`. Empty if there is no such list. `limit`: default 1000. The
   * list is filtered by `artifactType` here, regardless of the registry's own filter. Some registries report
   * the configuration's media type instead of the manifest's artifactType, so list without a filter if
   * nothing may be missed.
   */
  referrers(
    digest: string,
    options?: { readonly artifactType?: string; readonly limit?: number; readonly signal?: AbortSignal },
  ): Promise<Referrers>;
  /** Uploads the blob unless the registry has it. */
  pushBlob(
    bytes: Uint8Array,
    options?: { readonly mediaType?: string; readonly signal?: AbortSignal },
  ): Promise<Descriptor>;
  /**
   * Uploads the blob from a source, unless the registry has it. No more than a few pieces are in memory.
   * @param open opens the bytes of the blob; called again for each attempt. A source that fails ends the
   * upload with its own error
   * @param options.mountFrom a repository of the same registry that has the blob: the registry may take it
   * from there
   */
  pushBlobFrom(
    descriptor: Pick<Descriptor, 'digest' | 'size'>,
    open: () => AsyncIterable<Uint8Array> | Promise<AsyncIterable<Uint8Array>>,
    options?: { readonly mountFrom?: string | undefined; readonly signal?: AbortSignal | undefined },
  ): Promise<void>;
  /** Pushes by tag, otherwise by digest. `subject` is the value of the registry's OCI-Subject header. */
  pushManifest(
    bytes: Uint8Array,
    mediaType: string,
    options?: { readonly tag?: string; readonly signal?: AbortSignal },
  ): Promise<{ readonly digest: string; readonly subject?: string }>;
  /**
   * Adds entries to the list under a tag, without losing these or other entries to a concurrent writer.
   * Returns the manifest's digest.
   */
  addUnderTag(tag: string, list: SharedList, options?: { readonly signal?: AbortSignal }): Promise<string>;
  /**
   * Pushes a manifest with a `subject`. If the registry has no referrers API, adds it to the fallback tag's
   * index like `addUnderTag`.
   */
  pushReferrer(
    bytes: Uint8Array,
    mediaType: string,
    options?: { readonly signal?: AbortSignal },
  ): Promise<{ readonly digest: string; readonly via: Referrers['via'] }>;
}
