import type { Dossier, Platform, TrustPolicy, TrustServices, Verdict } from '../../trust/index.ts';
import type { Unsettled } from '../state/settle.ts';
import type { LayerForm } from './layer-workers/protocol.ts';
import type { ImageConfig } from './manifest/image-config.ts';

export type { ImageConfig } from './manifest/image-config.ts';

/** Credentials of one pull (CRI AuthConfig, decoded). Never logged. */
export interface PullCredentials {
  readonly username?: string;
  readonly password?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
  readonly serverAddress?: string;
}

/** An image that was admitted, unpacked and recorded. */
export interface ImageRecord {
  /** `sha256:…` of the configuration: the CRI image id. */
  readonly id: string;
  readonly manifestDigest: string;
  /** Digest of the index, or of the manifest when there was no index. */
  readonly digest: string;
  /** Normalised: `registry.example.com/app:1`. */
  readonly repoTags: readonly string[];
  /** Normalised: `registry.example.com/app@sha256:…`. */
  readonly repoDigests: readonly string[];
  /** Compressed layers plus configuration, in bytes. */
  readonly size: number;
  readonly config: ImageConfig;
  /** Diff ids of the layers, lowest first. */
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
  /** The pod's namespace; empty when the caller gave no sandbox. */
  readonly namespace: string;
  readonly platform?: Platform;
  readonly signal?: AbortSignal;
  /** Receives the blobs of the layers once the manifest is known. Never throws. */
  readonly onResolved?: (blobs: readonly { readonly digest: string; readonly size: number }[]) => void;
}

export interface Rootfs {
  /** Where the merged tree is mounted. */
  readonly path: string;
  readonly upper: string;
}

/** Ids 0 … length - 1 inside the container map to hostId … on the host. */
export interface IdRange {
  readonly hostId: number;
  readonly length: number;
}

/**
 * How a container with a user namespace sees the ids of its image: the layers are shared and unchanged, and
 * only the view of the container differs.
 */
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
  /** Id of the verdict that admitted it; empty when unknown. */
  readonly verdictId: string;
  readonly userSpecified: string;
  /** By default the namespace of the verdict. */
  readonly namespace?: string;
}

/** Evidence that is in use, with the names that it admitted. */
export interface EvidenceInUse {
  readonly dossier: Dossier;
  readonly names: readonly string[];
  readonly imageId: string;
}

/** How new layers are stored, and how the kernel mounts layer files. */
export interface LayerFormFacts {
  readonly form: LayerForm;
  /** Undefined: the kernel does not mount layer files. */
  readonly mountedBy?: 'file' | 'loop';
  /** Whether fs-verity protects new layers. */
  readonly verity?: boolean;
  /** Why layers are folders. */
  readonly why?: string;
}

/** How the layers of an image are stored. */
export interface StoredForms {
  readonly layers: number;
  /** How many of them are EROFS files, and how many of these are protected by fs-verity. */
  readonly files: number;
  readonly verity: number;
}

/** The interface of the image store for the rest of the runtime: all content passes through it. */
export interface ImageStore {
  pull(request: PullRequest): Promise<{ readonly image: ImageRecord; readonly verdict: Verdict }>;
  /**
   * Decides as a pull and the creation of a container would, from fresh evidence. Fetches no content, records
   * no image. @throws PortcullisError the errors of a pull
   */
  tryPull(request: PullRequest): Promise<Verdict>;
  /** Returns the images in the order of their first pull. */
  list(): readonly ImageRecord[];
  /**
   * Finds an image by id, id prefix of 12 or more hex digits, name, tag or digest; undefined when there is
   * none.
   */
  find(nameOrId: string): ImageRecord | undefined;
  /**
   * Removes an image. An id removes the image with all names; a name also removes the whole image, as crictl
   * expects and containerd does. Unknown: success.
   */
  remove(nameOrId: string): Promise<void>;
  /**
   * Decides again, offline, from the recorded dossier; throws unless the verdict is admit. Without
   * `userSpecified` every recorded name must be admitted. Logs the verdict before it returns.
   */
  decideForRun(input: {
    readonly image: ImageRecord;
    readonly userSpecified: string;
    readonly namespace: string;
  }): Promise<Verdict>;
  /**
   * Decides again about an image that runs or is recorded; never throws for a denial. A removed image is
   * judged by the evidence of its verdict. Logs the verdict before it returns.
   */
  judge(input: JudgedImage): Promise<readonly Verdict[]>;
  /** Decides as `judge`, by a policy that need not be in force, and logs nothing. */
  foresee(policy: TrustPolicy, input: JudgedImage): Promise<readonly Verdict[]>;
  /** Returns the evidence of all images, or of one, each item once per image. */
  evidence(imageId?: string): readonly EvidenceInUse[];
  /** The services that determine which image a tag refers to. */
  readonly services: TrustServices;
  /**
   * Replaces old evidence by newer evidence and decides again about the names that it admitted; records
   * everything before it returns.
   */
  renew(old: EvidenceInUse, fresh: Dossier): Promise<readonly Verdict[]>;
  /**
   * Creates the writable layer and mounts the overlay. Done already: the same result. Layers that an unclean
   * stop may have damaged are checked first. @param context SELinux context of its files
   */
  mountRootfs(
    containerId: string,
    image: ImageRecord,
    mapping?: LayerMapping,
    context?: string,
  ): Promise<Rootfs>;
  /**
   * Unpacks an archive of changed files into the writable layer of a container, before its root file system
   * is mounted. `removeRootfs` removes it, also after a failure.
   * @param archive path of a file that nobody else changes
   */
  fillRootfs(containerId: string, image: ImageRecord, archive: string): Promise<void>;
  /** Whether the annotations of an image say that it holds the checkpoint of a container. */
  holdsCheckpoint(image: ImageRecord): Promise<boolean>;
  /**
   * Checks whether layers can be mapped into a user namespace. @throws IMAGES_NOT_MAPPABLE with what is
   * missing
   */
  checkMapping(userNamespace: string): Promise<void>;
  /**
   * Mounts the image's tree read-only as the container's `index`-th image volume, and returns its path. Done
   * already: the same result.
   */
  mountVolume(
    containerId: string,
    index: number,
    image: ImageRecord,
    mapping?: LayerMapping,
  ): Promise<string>;
  /** Returns how the layers of a recorded image are stored. */
  storedForms(image: ImageRecord): StoredForms;
  /** The form of new layers on this machine. */
  readonly layerForm: LayerFormFacts;
  /** Whether limits of writable layers are enforced here. */
  readonly limitsWrites: boolean;
  /**
   * Limits the bytes that may be written into a root file system that was mounted just now. Throws
   * IMAGES_NO_QUOTA if limits are not enforced.
   */
  limitWrites(containerId: string, bytes: number): Promise<void>;
  /** Unmounts and removes the writable layer and the image volumes. Done already: success. */
  removeRootfs(containerId: string): Promise<void>;
  /**
   * Removes writable layers and mounts of containers not in `valid`, unclaimed blobs, staging folders and
   * layers. @returns what is left, and why
   */
  reconcile(valid: ReadonlySet<string>): Promise<readonly Unsettled[]>;
  usage(): Promise<{ readonly mountpoint: string; readonly usedBytes: number; readonly inodesUsed: number }>;
}
