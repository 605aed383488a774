import type { AdminPolicyStatus } from './policy-status.ts';
import type { OverlayStatus } from '../overlay/index.ts';
import type {
  AppliedServices,
  BalancerChoice,
  ReportPage,
  Service,
  ServiceList,
  SwitchedBalancer,
} from '../services/index.ts';
import type {
  CollectOptions,
  Denial,
  DenialExplanation,
  DenialQuestion,
  LinkAlteration,
  LinkRepairs,
} from '../types.ts';

/** The types of the admin API. operations.ts has the schema of each request. */

/** The first segment of each path. A change that an older client cannot understand gets another version. */
export const adminVersion = 'v1';

/** Without fields: the operation needs nothing. */
export type NoFields = Readonly<Record<string, never>>;

/** Attachments that `links/collect` removed, and its repairs. */
export interface CollectedLinks extends LinkRepairs {
  /** Ids of attachments that were removed because their pod is gone. */
  readonly removed: readonly string[];
  /** Number of attachments that remain. */
  readonly kept: number;
}

/** An image that `images/prune` removed, or would remove. */
export interface PrunedImage {
  readonly id: string;
  readonly names: readonly string[];
  /** Compressed layers plus configuration, in bytes. */
  readonly size: number;
}

/** A layer of the image store. */
export interface AdminLayer {
  readonly layer: string;
  /** Disk usage of its files. */
  readonly bytes: number;
  /** Names of the images that contain it. */
  readonly images: readonly string[];
  /** Whether fs-verity protects its file. */
  readonly verity: boolean;
}

/** The progress of a pull or an import. Sizes are in bytes, compressed, as in the manifest. */
export interface AdminPull {
  /** As the caller wrote it. */
  readonly reference: string;
  readonly seconds: number;
  readonly bytes: number;
  readonly bytesReceived: number;
  readonly layers: number;
  readonly layersReceived: number;
}

/** An image that was admitted and stored. */
export interface ImportedImage {
  readonly id: string;
  readonly digest: string;
  readonly verdictId: string;
  readonly unverified: boolean;
}

/** Request and response of each operation. */
export interface AdminApi {
  readonly 'images/import': Operation<
    {
      readonly folder: string;
      readonly digest: string;
      readonly reference: string;
      readonly namespace: string;
    },
    ImportedImage
  >;
  readonly 'images/pulls': Operation<NoFields, { readonly pulls: readonly AdminPull[] }>;
  readonly 'images/prune': Operation<
    { readonly all?: boolean; readonly dryRun?: boolean },
    { readonly removed: readonly PrunedImage[] }
  >;
  readonly 'images/layers': Operation<
    { readonly image?: string },
    { readonly layers: readonly AdminLayer[] }
  >;
  readonly 'images/check-layer': Operation<
    { readonly layer: string },
    { readonly damaged: readonly string[]; readonly incomplete?: true }
  >;
  readonly 'images/repair-layer': Operation<{ readonly layer: string }, { readonly from: string }>;
  readonly 'links/alterations': Operation<NoFields, { readonly alterations: readonly LinkAlteration[] }>;
  readonly 'links/denials': Operation<NoFields, { readonly denials: readonly Denial[] }>;
  readonly 'links/explain': Operation<DenialQuestion, DenialExplanation>;
  readonly 'links/collect': Operation<CollectOptions, CollectedLinks>;
  readonly 'policy/status': Operation<NoFields, AdminPolicyStatus>;
  readonly 'services/list': Operation<ReportPage, ServiceList>;
  readonly 'services/apply': Operation<{ readonly services: readonly Service[] }, AppliedServices>;
  readonly 'services/remove': Operation<{ readonly names: readonly string[] }, object>;
  readonly 'services/drain': Operation<
    { readonly name: string; readonly addresses: readonly string[]; readonly is: boolean },
    { readonly service: string; readonly backends: readonly string[]; readonly graceSeconds: number }
  >;
  readonly 'services/switch': Operation<{ readonly balancer: BalancerChoice }, SwitchedBalancer>;
  readonly 'overlay/status': Operation<NoFields, OverlayStatus>;
  readonly 'overlay/rotate-key': Operation<NoFields, { readonly publicKey: string }>;
  readonly 'overlay/leave': Operation<NoFields, { readonly left: string }>;
  readonly 'overlay/apply-services': Operation<
    { readonly file: string; readonly text: string },
    { readonly spread: readonly string[] }
  >;
  readonly 'overlay/remove-services': Operation<
    { readonly names: readonly string[] },
    { readonly takenBack: readonly string[] }
  >;
  readonly 'overlay/release-host': Operation<
    { readonly host: string },
    { readonly released: readonly string[] }
  >;
}

interface Operation<Request extends object, Response extends object> {
  readonly request: Request;
  readonly response: Response;
}

export type AdminOperation = keyof AdminApi;

/** A value as JSON carries it: a bigint is a string of digits. */
export type AsJson<Value> = Value extends bigint
  ? string
  : Value extends readonly (infer Item)[]
    ? readonly AsJson<Item>[]
    : Value extends object
      ? { readonly [Key in keyof Value]: AsJson<Value[Key]> }
      : Value;

/** The response that a client receives for an operation. */
export type AdminResponse<Name extends AdminOperation> = AsJson<AdminApi[Name]['response']>;

/** One request: an operation with its fields, checked by the schema of the operation. */
export type AdminCall = {
  [Name in AdminOperation]: { readonly operation: Name; readonly request: AdminApi[Name]['request'] };
}[AdminOperation];
