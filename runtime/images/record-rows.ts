import { attempt } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { Database } from '../../base/storage/index.ts';
import type { Dossier } from '../../trust/index.ts';
import type { LayerRow, NameRow, StoredImage } from './stored-image.ts';
import type { ImageConfig } from './types.ts';

interface ImageSqlRow {
  id: string;
  manifest_digest: string;
  digest: string;
  size: number;
  config: string;
  layers: string;
  seq: number;
}
interface NameSqlRow {
  name: string;
  image_id: string;
  asked: number;
  digest: string;
  manifest_digest: string;
  dossier: string;
  verdict_id: string;
  unverified: number;
  seq: number;
}
interface LayerSqlRow {
  folder: string;
  diff_id: string;
  dependent: number;
  blob_digest: string;
  blob_size: number;
  manifest_sha256: string;
  bytes: number;
  inodes: number;
}

/** The names and images whose rows cannot be read, for example after a bit of the disk changed. */
export interface DamagedImages {
  readonly names: readonly string[];
  /** Ids of images. */
  readonly images: readonly string[];
}

/**
 * Reads all images that have a name, in the order of their first pull, and all layers. A damaged row costs
 * its name, or its image.
 */
export async function loadRecords(database: Pick<Database, 'all'>): Promise<{
  readonly images: readonly Omit<StoredImage, 'record'>[];
  readonly layers: readonly LayerRow[];
  readonly damaged: DamagedImages;
}> {
  const [imageRows, nameRows, layerRows] = await Promise.all([
    database.all<ImageSqlRow>('SELECT * FROM image ORDER BY seq'),
    database.all<NameSqlRow>(
      'SELECT image_name.*, dossier.json AS dossier FROM image_name JOIN dossier ON dossier.id = dossier_id ORDER BY seq, asked DESC',
    ),
    database.all<LayerSqlRow>('SELECT * FROM image_layer'),
  ]);
  const dossiers = new Map<string, Dossier>();
  const damaged = { names: [] as string[], images: [] as string[] };
  const names = Map.groupBy(nameRows, (row) => row.image_id);
  const images = imageRows.flatMap((row) => {
    const kept = (names.get(row.id) ?? []).flatMap((name): NameRow[] => {
      const read = nameOf(name, dossiers);
      if (read === undefined) damaged.names.push(name.name);
      return read === undefined ? [] : [read];
    });
    const image = imageOf(row, kept);
    if (image === undefined) damaged.images.push(row.id);
    return image === undefined || kept.length === 0 ? [] : [image];
  });
  return { images, layers: layerRows.map(layerOf), damaged };
}

/** Returns undefined for a value that is not the JSON of an object, or of a list. */
function objectOf(json: string): unknown {
  const value = attempt(() => parseJson(json));
  return value instanceof Object ? value : undefined;
}

function imageOf(row: ImageSqlRow, names: readonly NameRow[]): Omit<StoredImage, 'record'> | undefined {
  const config = objectOf(row.config) as ImageConfig | undefined;
  const layers = objectOf(row.layers) as StoredImage['layers'] | undefined;
  if (config === undefined || !Array.isArray(layers)) return undefined;
  return {
    id: row.id,
    manifestDigest: row.manifest_digest,
    digest: row.digest,
    size: row.size,
    config,
    layers,
    seq: row.seq,
    names,
  };
}

function nameOf(row: NameSqlRow, dossiers: Map<string, Dossier>): NameRow | undefined {
  // Names of one pull share their dossier object.
  const dossier = dossiers.get(row.dossier) ?? (objectOf(row.dossier) as Dossier | undefined);
  if (dossier === undefined) return undefined;
  dossiers.set(row.dossier, dossier);
  return {
    name: row.name,
    asked: row.asked === 1,
    digest: row.digest,
    manifestDigest: row.manifest_digest,
    dossier,
    verdictId: row.verdict_id,
    unverified: row.unverified === 1,
    seq: row.seq,
  };
}

/**
 * This column also contains the form of a layer and the digest of fs-verity: an earlier release then treats
 * the layer as damaged and removes the image. With another schema, the earlier release would not start.
 */
const erofsPrefix = 'erofs:';
const verityMark = ':verity:';
/** Precedes the digest of the chunks that fill a layer whose file is not complete. */
const chunksMark = ':chunks:';
/** Follows the digests of a layer whose file is not complete. */
const lazyMark = ':lazy';

/** Returns the value of the column `manifest_sha256`. */
export function manifestColumn({ form, manifestSha256, verity, lazy, chunksSha256 }: RecordedForm): string {
  if (form === 'folder') return manifestSha256;
  if (lazy === true) {
    const chunks = chunksSha256 === undefined ? '' : `${chunksMark}${chunksSha256}`;
    return `${erofsPrefix}${manifestSha256}${chunks}${lazyMark}`;
  }
  return `${erofsPrefix}${manifestSha256}${verity === undefined ? '' : `${verityMark}${verity}`}`;
}

type RecordedForm = Pick<LayerRow, 'form' | 'manifestSha256' | 'verity' | 'lazy' | 'chunksSha256'>;

/** Returns the form that a value of the column `manifest_sha256` describes. */
export function recordedForm(column: string): RecordedForm {
  if (!column.startsWith(erofsPrefix)) return { form: 'folder', manifestSha256: column };
  if (column.endsWith(lazyMark)) {
    const digests = column.slice(erofsPrefix.length, -lazyMark.length);
    const [manifestSha256 = '', chunksSha256] = digests.split(chunksMark);
    const known = chunksSha256 !== undefined && { chunksSha256 };
    return { form: 'erofs', manifestSha256, lazy: true, ...known };
  }
  const [manifestSha256 = '', verity] = column.slice(erofsPrefix.length).split(verityMark);
  return { form: 'erofs', manifestSha256, ...(verity !== undefined && { verity }) };
}

function layerOf(row: LayerSqlRow): LayerRow {
  return {
    folder: row.folder,
    diffId: row.diff_id,
    dependent: row.dependent === 1,
    blobDigest: row.blob_digest,
    blobSize: row.blob_size,
    ...recordedForm(row.manifest_sha256),
    bytes: row.bytes,
    inodes: row.inodes,
  };
}
