import { sha256Digest } from '../json/canonical-json.ts';
import { unpackBytes } from '../evidence/byte-packing.ts';
import type { EvidenceItem } from '../findings/types.ts';
import type { TufCode } from '../tuf/failure.ts';
import type { ImageRepository } from './repository.ts';
import type { TufRequirement } from '../requirements/tuf.ts';

/** A metadata file on its way into a dossier: `2.root`, `timestamp`, `snapshot`, `targets/releases`. */
export interface MetadataFile {
  readonly name: string;
  /** sha256:… of the unpacked bytes. */
  readonly digest: string;
  /** Base64, packed when the file is large. */
  readonly bytes: string;
  readonly packed?: 'zstd';
}

/** The answer of the service's repository about an image, as just verified. */
export interface ServiceAnswer {
  readonly files: readonly MetadataFile[];
  /** ISO 8601: when the service was last asked successfully; empty when it never was. */
  readonly checkedAt: string;
  /** ISO 8601: when its first root was trusted, if trust began on first use. */
  readonly firstUse?: string;
  /** The digest that is signed for the tag or the reference: `sha256:…`. */
  readonly digest?: string;
  /** Why the answer was refused, or the service could not be reached. */
  readonly refused?: { readonly code: TufCode; readonly why: string };
}

/** The metadata of one repository in a dossier. */
export interface FoundFiles {
  /** By name. A file that differs from its record is left out, and listed in `altered`. */
  readonly files: ReadonlyMap<string, Buffer>;
  readonly altered: readonly string[];
  /** Files that are stored separately, and are not available. */
  readonly absent: readonly string[];
  /** NaN when the service was never asked successfully. */
  readonly checkedAt: number;
  readonly firstUse: string | undefined;
  readonly refused: { readonly code: string; readonly why: string } | undefined;
  readonly any: boolean;
}

/** Returns an answer as items of a dossier. */
export function itemsOf(
  requirement: TufRequirement,
  { key }: ImageRepository,
  answer: ServiceAnswer,
): EvidenceItem[] {
  const { files, checkedAt, firstUse, refused } = answer;
  const frame = {
    kind: 'tuf-metadata',
    attachedTo: '',
    foundBy: `${requirement.dialect} ${requirement.service}`,
    servedBy: URL.canParse(requirement.service) ? new URL(requirement.service).host : requirement.service,
    manifestDigest: '',
    mediaType: 'application/json',
  } as const;
  const about = { repository: key, ...(firstUse === undefined ? {} : { firstUse }) };
  const items = files.map(({ name, digest, bytes, packed }): EvidenceItem => ({
    ...frame,
    blobDigest: digest,
    annotations: { ...about, file: name, checkedAt },
    bytes,
    ...(packed === undefined ? {} : { packed, apart: true }),
  }));
  if (refused === undefined) return items;
  return [
    ...items,
    {
      ...frame,
      blobDigest: '',
      annotations: { ...about, file: '', refused: refused.code },
      problem: refused.why,
    },
  ];
}

/** Returns the metadata of one repository from the items of a dossier. */
export function filesIn(items: readonly EvidenceItem[], { key }: ImageRepository): FoundFiles {
  const own = items.filter(
    ({ kind, annotations }) => kind === 'tuf-metadata' && annotations['repository'] === key,
  );
  const files = new Map<string, Buffer>();
  const [altered, absent]: [string[], string[]] = [[], []];
  let checkedAt = Number.NaN;
  for (const item of own) {
    const name = item.annotations['file'] ?? '';
    if (name === '') continue;
    const bytes = unpackBytes(item);
    if (item.apart === true && item.bytes === undefined) absent.push(name);
    else if (bytes === undefined || sha256Digest(bytes) !== item.blobDigest) altered.push(name);
    else files.set(name, bytes);
    if (name === 'timestamp') checkedAt = Date.parse(item.annotations['checkedAt'] ?? '');
  }
  const refusal = own.find(({ annotations }) => annotations['refused'] !== undefined);
  return {
    files,
    altered,
    absent,
    checkedAt,
    firstUse: own.find(({ annotations }) => annotations['firstUse'] !== undefined)?.annotations['firstUse'],
    refused:
      refusal === undefined
        ? undefined
        : { code: refusal.annotations['refused'] ?? '', why: refusal.problem ?? '' },
    any: own.length > 0,
  };
}
