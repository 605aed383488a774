import type { Dossier, Platform, TrustServices, Verdict } from '../../trust/index.ts';
import type { Unsettled } from '../state/settle.ts';

/** Credentials of one pull (CRI AuthConfig, decoded). Never logged. */
export interface PullCredentials {
  readonly username?: string;
  readonly password?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
  readonly serverAddress?: string;
}

/** The parts of an OCI image configuration that a container needs (image-spec, config.md). */
export interface ImageConfig {
  readonly architecture: string;
  readonly os: string;
  readonly created?: string;
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly volumes: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly stopSignal: string;
}

/** An image that was admitted, unpacked and recorded. */
export interface ImageRecord {
  /** `sha256:…` of the configuration: the CRI image id. */
  readonly id: string;
  readonly manifestDigest: string;
  /** Index digest, or the manifest's when there was none. */
  readonly digest: string;
  /** Normalised: `registry.example.com/app:1`. */
  readonly repoTags: readonly string[];
  /** Normalised: `registry.example.com/app@sha256:…`. */
  readonly repoDigests: readonly string[];
  /** Compressed layers plus configuration, in bytes. */
  readonly size: number;
  readonly config: ImageConfig;
  /** Layer folders' diff ids, lowest first. */
  readonly layers: readonly string[];
  readonly pinned: boolean;
  readonly dossier: Dossier;
  /** The verdict of the latest pull. */
  readonly verdictId: string;
  readonly unverified: boolean;
}

export interface PullRequest {
  /** As the caller wrote it: `busybox`, `localhost:5000/app:1`, `repo@sha256:…`. */
  readonly reference: string;
  readonly credentials?: PullCredentials;
  /** The pod's namespace, empty when the caller gave no sandbox. */
  readonly namespace: string;
  readonly platform?: Platform;
  readonly signal?: AbortSignal;
}

export interface Rootfs {
  /** Where the merged tree is mounted. */
  readonly path: string;
  readonly upper: string;
}

/** Ids 0 … length - 1 inside stand for hostId … on the host. */
export interface IdRange {
  readonly hostId: number;
  readonly length: number;
}

/** How a container with a user namespace sees the ids of its image: layers stay as they are and shared, only this view of them differs. */
export interface LayerMapping {
  /** Path of the pinned user namespace. */
  readonly userNamespace: string;
  readonly uids: IdRange;
  readonly gids: IdRange;
}

/** An image that was admitted before. */
export interface JudgedImage {
  /** Id, or a name. */
  readonly imageId: string;
  /** Of the admission; empty when nobody knows. */
  readonly verdictId: string;
  readonly userSpecified: string;
  /** That of the verdict unless told. */
  readonly namespace?: string;
}

/** Evidence that is in use, with the names that rest on it. */
export interface EvidenceInUse {
  readonly dossier: Dossier;
  readonly names: readonly string[];
  readonly imageId: string;
}

/** The image room's door for the rest of the runtime: the one choke point for content. */
export interface ImageStore {
  pull(request: PullRequest): Promise<{ readonly image: ImageRecord; readonly verdict: Verdict }>;
  /** What a pull and a container's creation would decide, from evidence gathered afresh. Fetches no content, records no image. @throws PortcullisError what a pull throws */
  tryPull(request: PullRequest): Promise<Verdict>;
  /** Images in order of first pull. */
  list(): readonly ImageRecord[];
  /** By id, id prefix of 12 or more hex digits, name, tag or digest; undefined when there is none. */
  find(nameOrId: string): ImageRecord | undefined;
  /** An id drops the image with all names; a name drops it as crictl expects (the whole image, as containerd does). Unknown: success. */
  remove(nameOrId: string): Promise<void>;
  /** Decides again, offline, from the recorded dossier; throws unless the answer is admit. Without `userSpecified` every recorded name must be admitted. Logged before it returns. */
  decideForRun(input: { readonly image: ImageRecord; readonly userSpecified: string; readonly namespace: string }): Promise<Verdict>;
  /** Decides again about what runs or is recorded; never throws for a no. An image that is gone is judged by the evidence of its verdict. Logged before it returns. */
  judge(input: JudgedImage): Promise<readonly Verdict[]>;
  /** The evidence of all images, or of one, each once an image. */
  evidence(imageId?: string): readonly EvidenceInUse[];
  /** Who says what tags mean. */
  readonly services: TrustServices;
  /** Puts newer evidence in the place of old and decides again about the names that rest on it; all of it is recorded before it returns. */
  renew(old: EvidenceInUse, fresh: Dossier): Promise<readonly Verdict[]>;
  /** Makes the writable layer and mounts the overlay. Done already: the same answer. Layers that an unclean stop may have damaged are checked first. @param context SELinux context of its files */
  mountRootfs(containerId: string, image: ImageRecord, mapping?: LayerMapping, context?: string): Promise<Rootfs>;
  /** Whether layers can be shown to a user namespace by a mapping. @throws IMAGES_NOT_MAPPABLE with what is missing */
  checkMapping(userNamespace: string): Promise<void>;
  /** Mounts the image's tree read-only as the container's `index`-th image volume, and says where. Done already: the same answer. */
  mountVolume(containerId: string, index: number, image: ImageRecord, mapping?: LayerMapping): Promise<string>;
  /** Whether limits of writable layers hold here. */
  readonly limitsWrites: boolean;
  /** Limits what may be written into a root file system that was mounted just now, in bytes. Throws IMAGES_NO_QUOTA where no limit holds. */
  limitWrites(containerId: string, bytes: number): Promise<void>;
  /** Unmounts and removes the writable layer and the image volumes. Done already: success. */
  removeRootfs(containerId: string): Promise<void>;
  /** Removes writable layers and mounts of containers not in `valid`, unclaimed blobs, staging folders and layers. @returns what is left, and why */
  reconcile(valid: ReadonlySet<string>): Promise<readonly Unsettled[]>;
  usage(): Promise<{ readonly mountpoint: string; readonly usedBytes: number; readonly inodesUsed: number }>;
}
