import type { Descriptor } from './descriptor.ts';
import type { Reference } from './reference.ts';
import type { Manifest } from './manifest.ts';

/** Never logged, never in an error. Which are used: `registryToken`, else `identityToken`, else `username` with `password`. */
export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  /** An OAuth2 refresh token, exchanged at the registry's token service. */
  readonly identityToken?: string;
  /** A bearer token for the registry itself. */
  readonly registryToken?: string;
}

export interface Mirror {
  /** `http://127.0.0.1:5000` or `https://mirror.example.com/prefix`: a path stands before the repository's name. */
  readonly url: string;
  /** false: the origin is never asked. */
  readonly origin: boolean;
  /** The mirror's own; the origin's credentials are never sent to it. */
  readonly credentials?: Credentials;
}

export interface RegistryClientOptions {
  /** By registry host as written in normalised references: `docker.io`, `registry.k8s.io`, `localhost:5000`. */
  readonly mirrors?: ReadonlyMap<string, Mirror>;
  /** Hosts (`registry.lan` or `registry.lan:5000`) that may be spoken to in plain HTTP, beside loopback ones. */
  readonly insecureHosts?: readonly string[];
  /** Folders as `/etc/containers/certs.d`: `HOST[:PORT]/*.crt` are authorities, `NAME.cert` with `NAME.key` a client's certificate. The first that names a host counts. */
  readonly certificateFolders?: readonly string[];
  /** Milliseconds: to connect 5000, until an answer begins 30000, between two pieces of a body 30000, for one bounded document 60000. */
  readonly timeouts?: { readonly connect?: number; readonly headers?: number; readonly idle?: number; readonly document?: number };
  /** For 429 and 503: tries in all (3), and the longest wait before one of them in milliseconds (10000). */
  readonly retry?: { readonly attempts?: number; readonly maxDelayMs?: number };
  readonly userAgent?: string;
  /** How long a list under a shared tag must stand before an entry is believed to be in it, in milliseconds (250; 0: nobody else writes). */
  readonly tagSettleMs?: number;
}

/** One client a process: it keeps connections and tokens. Usable from any thread. */
export interface RegistryClient {
  /**
   * Where to ask for this repository, in order: the mirror, then the origin (left out when the mirror says `origin: false`).
   * @param credentials bound to the reference's registry
   * @throws PortcullisError DISTRIBUTION_BAD_MIRROR
   */
  repositories(reference: Pick<Reference, 'registry' | 'repository'>, credentials?: Credentials): readonly RegistryRepository[];
  /** Ends every connection; what is under way fails. */
  close(): Promise<void>;
}

export interface FetchedManifest {
  /** Exactly as served; `digest` is of these bytes. */
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  readonly digest: string;
  readonly content: Manifest;
  /** The entity tag, where the registry gave one: for a write on condition. */
  readonly etag?: string;
}

/** A manifest under one tag whose list several writers add to: a fallback index, cosign's `.sig`. */
export interface SharedList {
  readonly mediaType: string;
  /** What is to be in the list. */
  readonly entry: unknown;
  /** The list as it stands. @throws PortcullisError when the tag is taken by something else */
  entriesOf(manifest: FetchedManifest): readonly unknown[];
  /** What makes two entries one. */
  keyOf(entry: unknown): string;
  /** The whole manifest. `fields`: those of the one that it replaces. */
  build(entries: readonly unknown[], fields: Readonly<Record<string, unknown>>): Promise<Uint8Array>;
}

export interface Referrers {
  /** `referrers`: the API; `fallback-tag`: the tag `sha256-<hex>` of registries without it. */
  readonly via: 'referrers' | 'fallback-tag';
  readonly descriptors: readonly Descriptor[];
  /** false: there were more than the limit allows, and the rest was not read. */
  readonly complete: boolean;
}

/** One repository at one place. All failures are PortcullisErrors whose codes begin with DISTRIBUTION_; each names the host. */
export interface RegistryRepository {
  /** `127.0.0.1:5000`; of a mirror, the mirror's. */
  readonly host: string;
  /** As this place calls it (a mirror may have a prefix). */
  readonly repository: string;
  /** The descriptor behind a tag or digest: HEAD, falling back to GET. The bytes are checked only when fetched. */
  resolve(tagOrDigest: string, signal?: AbortSignal): Promise<Descriptor>;
  /**
   * At most 4 MiB. Given a digest or a descriptor, digest, size and media type are checked against it. Refused: HTML, schema 1, a mediaType field other
   * than Content-Type, an index with layers or a manifest with manifests (CVE-2021-41190).
   */
  manifest(wanted: string | Pick<Descriptor, 'digest' | 'size' | 'mediaType'>, signal?: AbortSignal): Promise<FetchedManifest>;
  /** The bytes as they come; fails as soon as there are too many, and at the end when digest or size differ. Must be iterated, or `signal` aborted. */
  blob(descriptor: Pick<Descriptor, 'digest' | 'size'>, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  /** Refuses a descriptor of more than `limit` bytes before asking. */
  blobBytes(descriptor: Pick<Descriptor, 'digest' | 'size'>, limit: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** Artifacts whose subject is `digest`. No such list: empty. `limit`: 1000 unless told. Filtered by `artifactType` here, whatever the registry did;
   * some registries put the configuration's media type there instead of the manifest's artifactType, so list unfiltered what must not be missed.
   */
  referrers(
    digest: string,
    options?: { readonly artifactType?: string; readonly limit?: number; readonly signal?: AbortSignal },
  ): Promise<Referrers>;
  /** Uploads unless the registry has it. */
  pushBlob(bytes: Uint8Array, options?: { readonly mediaType?: string; readonly signal?: AbortSignal }): Promise<Descriptor>;
  /** By tag, else by digest. `subject` is what the registry said in OCI-Subject. */
  pushManifest(
    bytes: Uint8Array,
    mediaType: string,
    options?: { readonly tag?: string; readonly signal?: AbortSignal },
  ): Promise<{ readonly digest: string; readonly subject?: string }>;
  /** Adds an entry to the list under a tag, without losing it or another's to a writer at the same moment; gives the manifest's digest. */
  addUnderTag(tag: string, list: SharedList, options?: { readonly signal?: AbortSignal }): Promise<string>;
  /** Pushes a manifest with a `subject`; where the registry has no referrers API, adds it to the fallback tag's index as `addUnderTag` does. */
  pushReferrer(
    bytes: Uint8Array,
    mediaType: string,
    options?: { readonly signal?: AbortSignal },
  ): Promise<{ readonly digest: string; readonly via: Referrers['via'] }>;
}
