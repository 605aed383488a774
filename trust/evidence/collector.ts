import type { LargeLayers, Collection } from './collection.ts';
import type { Descriptor, ImageManifest } from '../../base/distribution/index.ts';
import type { EvidenceItem } from '../findings/types.ts';
import type { Requirement } from '../requirements/types.ts';
import type { GatherInput } from './gather-input.ts';

/** A requirement that asks for evidence itself, as opposed to one that combines others. */
export type LeafRequirement = Exclude<Requirement, { readonly of: readonly Requirement[] }>;

/**
 * How evidence of one type is found. A collector only says which content it wants: one listing of referrers
 * and one fetch of each manifest, of each `.sig` or `.att` tag and of each blob serve all collectors. The
 * framework (`collect-from.ts`) handles limits, failures and the dossier. `../gathering/collectors.ts` says
 * which requirements need which collectors.
 */
export interface Collector {
  readonly kind: EvidenceItem['kind'];
  /**
   * Where its manifests are: among the referrers (or under their fallback tag), or under the tag
   * `sha256-<hex>.sig` or `.att`.
   */
  readonly at: 'referrers' | 'sig' | 'att' | 'elsewhere';
  /** Whether these requirements need the collector at all: asking for a tag costs a request. Absent: yes. */
  needed?(wanted: readonly LeafRequirement[]): boolean;
  /**
   * Whether the manifest of a listed entry may hold evidence of this type for these requirements. Absent:
   * every entry.
   */
  wants?(descriptor: Descriptor, wanted: readonly LeafRequirement[]): boolean;
  /**
   * Returns the layers of an opened manifest that are evidence of this type. No layers: the manifest belongs
   * to another tool and is not judged.
   */
  layers?(manifest: ImageManifest, wanted: readonly LeafRequirement[]): readonly Descriptor[];
  /**
   * Returns the annotations that are part of the evidence. All other data that a registry adds is dropped.
   */
  annotations?(layer: Descriptor, manifest: ImageManifest): Readonly<Record<string, string>>;
  /**
   * Looks at the bytes of a layer: `keep` them, `drop` them (they are of another type), or keep them
   * `with-subject`, together with the bytes of the manifest that they are attached to. Absent: keep. Must not
   * throw.
   */
  judge?(bytes: Uint8Array, wanted: readonly LeafRequirement[]): 'keep' | 'drop' | 'with-subject';
  /**
   * Limits for layers larger than the limits' `blobBytes`: the size of one, the size of all together, and the
   * setting that determines them.
   */
  large?(wanted: readonly LeafRequirement[]): LargeLayers;
  /**
   * Collects evidence outside the registry (a lookaside). Called once per gathering, not once per repository.
   */
  elsewhere?(context: GatheringContext): Promise<void>;
  /**
   * Adds facts about the evidence (for example revocation of its certificates) as separate items. Called
   * after each repository; must not repeat itself.
   */
  complete?(context: GatheringContext): Promise<void>;
  /**
   * The facts that `complete` adds, when they expire by themselves and can be fetched again without a
   * registry (`../gathering/renew.ts`).
   */
  readonly renewable?: RenewableFacts;
}

/** Facts that are valid only for a time, such as revocation answers. */
export interface RenewableFacts {
  readonly kinds: readonly EvidenceItem['kind'][];
  /** Returns the source of an item's fact: a newer item with the same key replaces the item. */
  keyOf(item: EvidenceItem): string;
  /** Whether newer items replace an old one although none has its key. */
  supersedes?(item: EvidenceItem, fresh: readonly EvidenceItem[]): boolean;
  /**
   * Whether a newer item only says that no new fact could be fetched, while the old facts remain valid: it is
   * then left out.
   */
  idle?(item: EvidenceItem, old: readonly EvidenceItem[]): boolean;
  /**
   * Whether newer items differ in content from the old ones: they then count, even when they expire sooner.
   */
  news?(old: readonly EvidenceItem[], fresh: readonly EvidenceItem[]): boolean;
  /**
   * Returns the status of each object that the requirements need such facts for, in an order that new facts
   * do not change.
   */
  standing(context: GatheringContext): readonly FactsStanding[];
}

/**
 * `until` in milliseconds since 1970: for `good`, when the first of the facts expires; absent when none
 * expires.
 */
export interface FactsStanding {
  readonly status: 'good' | 'refuted' | 'missing';
  readonly until?: number;
}

export interface GatheringContext {
  readonly input: GatherInput;
  /** The requirements of the rules that match the image. */
  readonly wanted: readonly LeafRequirement[];
  /** Collects items and failures, with the limits and the signal that every request must obey. */
  readonly collection: Collection;
  /** Recent answers that other gatherings fetched: many images share one revocation list. */
  readonly answers?: FactAnswers;
}

/** Answers by question (address and content), shared between renewals at the same time. */
export interface FactAnswers {
  ask(question: string, ask: () => Promise<Uint8Array | string>): Promise<Uint8Array | string>;
}
