import type { LargeLayers } from './collection.ts';
import type { Descriptor, ImageManifest } from '../../base/distribution/index.ts';
import type { EvidenceItem, Requirement } from '../types.ts';
import type { GatherInput } from './gather-input.ts';
import type { Collection } from './collection.ts';

/** A requirement that asks for evidence itself: not one that joins others. */
export type LeafRequirement = Exclude<Requirement, { readonly of: readonly Requirement[] }>;

/**
 * How evidence of one kind is found. Collectors only say what is theirs: one listing of referrers, one fetch of each manifest, of
 * each `.sig` or `.att` tag and of each blob serves all of them, and limits, failures and the dossier are the framework's
 * (`collect-from.ts`). Which requirements need which collectors stands in `collectors.ts`.
 */
export interface Collector {
  readonly kind: EvidenceItem['kind'];
  /** Where its manifests stand: among the referrers (or their fallback tag), or under the tag `sha256-<hex>.sig` or `.att`. */
  readonly at: 'referrers' | 'sig' | 'att' | 'elsewhere';
  /** Whether these requirements need it at all: a tag is asked for at the cost of a request. Absent: yes. */
  needed?(wanted: readonly LeafRequirement[]): boolean;
  /** Of a listing's entry: whether its manifest may hold evidence of this kind for these requirements. Absent: every entry. */
  wants?(descriptor: Descriptor, wanted: readonly LeafRequirement[]): boolean;
  /** The layers of an opened manifest that are evidence of this kind; none: it is another tool's, and not ours to judge. */
  layers?(manifest: ImageManifest, wanted: readonly LeafRequirement[]): readonly Descriptor[];
  /** Annotations that are part of the evidence; everything else that a registry adds is left behind. */
  annotations?(layer: Descriptor, manifest: ImageManifest): Readonly<Record<string, string>>;
  /**
   * Looks at a layer's bytes: `keep` them, `drop` them (they turn out to be of another kind), or keep them `with-subject`, the
   * bytes of the manifest that they are attached to. Absent: keep. Must not throw.
   */
  judge?(bytes: Uint8Array, wanted: readonly LeafRequirement[]): 'keep' | 'drop' | 'with-subject';
  /** Where larger layers than the limits' `blobBytes` are read: how large, how much of such together, and what sets it. */
  large?(wanted: readonly LeafRequirement[]): LargeLayers;
  /** Evidence that stands outside the registry (a lookaside). Asked once a gathering, not once a repository. */
  elsewhere?(context: GatheringContext): Promise<void>;
  /** Facts about what was found (revocation of its certificates, say), as items of their own. After each repository; must not repeat itself. */
  complete?(context: GatheringContext): Promise<void>;
  /** The facts that `complete` adds, where they end by themselves and can be asked for again without a registry (`renew.ts`). */
  readonly renewable?: RenewableFacts;
}

/** Facts that hold for a time only, such as answers about revocation. */
export interface RenewableFacts {
  readonly kinds: readonly EvidenceItem['kind'][];
  /** Where an item's fact comes from: a newer item with the same key takes its place. */
  keyOf(item: EvidenceItem): string;
  /** Whether newer items take an old one's place although none has its key. */
  supersedes?(item: EvidenceItem, fresh: readonly EvidenceItem[]): boolean;
  /** Whether a newer item only says that nothing new could be had, while the old ones stand: it is left out. */
  idle?(item: EvidenceItem, old: readonly EvidenceItem[]): boolean;
  /** Whether newer items say something else than the old ones: then they count, also where they end sooner. */
  news?(old: readonly EvidenceItem[], fresh: readonly EvidenceItem[]): boolean;
  /** How each thing that the requirements need such facts for stands by the items; in an order that new facts do not change. */
  standing(context: GatheringContext): readonly FactsStanding[];
}

/** `until` in milliseconds since 1970: of `good`, when the first of the facts ends; absent where none does. */
export interface FactsStanding {
  readonly status: 'good' | 'refuted' | 'missing';
  readonly until?: number;
}

export interface GatheringContext {
  readonly input: GatherInput;
  /** The requirements of the rules that name the image. */
  readonly wanted: readonly LeafRequirement[];
  /** Where items and failures go, with the limits and the signal that every request must heed. */
  readonly collection: Collection;
  /** Answers that others of this moment have got: many images hang on one revocation list. */
  readonly answers?: FactAnswers;
}

/** Answers by the question (address and what is asked), shared between renewals of one moment. */
export interface FactAnswers {
  ask(question: string, ask: () => Promise<Uint8Array | string>): Promise<Uint8Array | string>;
}
