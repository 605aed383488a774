import { parseJson } from '../../base/json/index.ts';
import { largest } from '../../base/lists/index.ts';
import type { Database, Statement } from '../../base/storage/index.ts';
import { withoutParts } from '../../trust/index.ts';
import type { Dossier } from '../../trust/index.ts';
import type { ImageConfig, ImageRecord } from './types.ts';
import { createSerial } from './serial.ts';

/** An unpacked layer on disk. */
export interface LayerRow {
  /**
   * Folder below `layers`: the hex digits of the diff id, or of the chain id when the content depends on the
   * layers below.
   */
  readonly folder: string;
  readonly diffId: string;
  /** The content depends on the layers below: it is valid only for this chain id. */
  readonly dependent: boolean;
  readonly blobDigest: string;
  readonly blobSize: number;
  /** sha256 of the per-file manifest. */
  readonly manifestSha256: string;
  readonly bytes: number;
  readonly inodes: number;
}

/** A name of an image, with the evidence that was found under it. */
export interface NameRow {
  readonly name: string;
  /** False for `repo@digest` that was only learnt from a pull by tag. */
  readonly asked: boolean;
  readonly digest: string;
  readonly manifestDigest: string;
  readonly dossier: Dossier;
  readonly verdictId: string;
  readonly unverified: boolean;
  /** Grows with every pull. */
  readonly seq: number;
}

export interface StoredImage {
  readonly id: string;
  readonly manifestDigest: string;
  readonly digest: string;
  readonly size: number;
  readonly config: ImageConfig;
  readonly layers: readonly { readonly diffId: string; readonly folder: string }[];
  readonly seq: number;
  readonly names: readonly NameRow[];
  readonly record: ImageRecord;
}

/** A name whose evidence was renewed. */
export type RenewedName = Pick<NameRow, 'name' | 'dossier' | 'verdictId' | 'unverified'>;

/** A document of an image, exactly as served: index, manifest, configuration. */
export interface ImageDocument {
  readonly digest: string;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

export interface Admission {
  readonly image: Pick<StoredImage, 'id' | 'manifestDigest' | 'digest' | 'size' | 'config' | 'layers'>;
  readonly names: readonly Omit<NameRow, 'seq'>[];
  readonly layers: readonly LayerRow[];
  readonly documents: readonly ImageDocument[];
}

/** The recorded images. Reads come from memory; every change is durable before it is visible. */
export interface ImageRecords {
  list(): readonly StoredImage[];
  byId(id: string): StoredImage | undefined;
  byName(name: string): StoredImage | undefined;
  layer(folder: string): LayerRow | undefined;
  layers(): Iterable<LayerRow>;
  /** Whether a recorded layer was unpacked from this blob. */
  hasBlob(digest: string): boolean;
  isLayerOwned(folder: string): boolean;
  /** Records an image; a name of another image moves to this one. `also` shares the transaction. */
  admit(admission: Admission, also: readonly Statement[]): Promise<StoredImage>;
  /**
   * Replaces the old evidence of each name that has it by newer evidence, with its verdict; names that have
   * moved to other evidence stay unchanged. `also` shares the transaction.
   */
  renew(oldDossier: string, fresh: readonly RenewedName[], also: readonly Statement[]): Promise<void>;
  /** Writes only statements of the verdict log. */
  append(statements: readonly Statement[]): Promise<void>;
  removeImage(id: string): Promise<void>;
  removeLayers(folders: readonly string[]): Promise<void>;
}

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

export async function openImageRecords(database: Database): Promise<ImageRecords> {
  const images = new Map<string, StoredImage>();
  const owners = new Map<string, string>();
  const layers = new Map<string, LayerRow>();
  const serial = createSerial();
  let seq = 0;
  await load();

  async function load(): Promise<void> {
    const [imageRows, nameRows, layerRows] = await Promise.all([
      database.all<ImageSqlRow>('SELECT * FROM image ORDER BY seq'),
      database.all<NameSqlRow>(
        'SELECT image_name.*, dossier.json AS dossier FROM image_name JOIN dossier ON dossier.id = dossier_id ORDER BY seq, asked DESC',
      ),
      database.all<LayerSqlRow>('SELECT * FROM image_layer'),
    ]);
    const dossiers = new Map<string, Dossier>();
    const names = Map.groupBy(nameRows, (row) => row.image_id);
    for (const row of imageRows) {
      const kept = (names.get(row.id) ?? []).map((name): NameRow => nameOf(name, dossiers));
      if (kept.length === 0) continue;
      put({
        id: row.id,
        manifestDigest: row.manifest_digest,
        digest: row.digest,
        size: row.size,
        config: parseJson(row.config) as ImageConfig,
        layers: parseJson(row.layers) as StoredImage['layers'],
        seq: row.seq,
        names: kept,
      });
      seq = Math.max(seq, row.seq, largest(kept.map((name) => name.seq)));
    }
    for (const row of layerRows) layers.set(row.folder, layerOf(row));
  }

  function put(image: Omit<StoredImage, 'record'>): StoredImage {
    const stored: StoredImage = { ...image, record: recordOf(image) };
    images.set(image.id, stored);
    for (const { name } of image.names) owners.set(name, image.id);
    return stored;
  }

  async function admit(admission: Admission, also: readonly Statement[]): Promise<StoredImage> {
    const { image } = admission;
    const existing = images.get(image.id);
    const next = seq + 1;
    const names = admission.names.map((name): NameRow => {
      // A digest name that a client once asked for keeps this mark, with fresh evidence.
      const before = existing?.names.find((other) => other.name === name.name);
      return { ...name, dossier: withoutParts(name.dossier), asked: name.asked || before?.asked === true, seq: next };
    });
    const fresh = admission.layers.filter((layer) => !layers.has(layer.folder));
    await database.write([
      ...dossierStatements(admission.names.map((name) => name.dossier)),
      {
        sql: `INSERT INTO image (id, manifest_digest, digest, size, config, layers, seq) VALUES (?, ?, ?, ?, ?, ?, ?)
          ON CONFLICT (id) DO UPDATE SET manifest_digest = excluded.manifest_digest, digest = excluded.digest, size = excluded.size, layers = excluded.layers`,
        params: [
          image.id,
          image.manifestDigest,
          image.digest,
          image.size,
          JSON.stringify(image.config),
          JSON.stringify(image.layers),
          existing?.seq ?? next,
        ],
      },
      ...names.map((name) => nameStatement(name, image.id)),
      ...fresh.map(layerStatement),
      ...admission.documents.map(({ digest, mediaType, bytes }) => ({
        sql: 'INSERT INTO image_document (image_id, digest, media_type, bytes) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
        params: [image.id, digest, mediaType, bytes],
      })),
      ...also,
    ]);
    seq = next;
    const moved = new Set(names.map((name) => name.name));
    for (const other of [...images.values()]) {
      if (other.id === image.id || !other.names.some((name) => moved.has(name.name))) continue;
      const left = other.names.filter((name) => !moved.has(name.name));
      if (left.length > 0) put({ ...other, names: left });
      else images.delete(other.id);
    }
    for (const layer of fresh) layers.set(layer.folder, layer);
    const kept = (existing?.names ?? []).filter((name) => !moved.has(name.name));
    return put({ ...image, seq: existing?.seq ?? next, names: [...kept, ...names] });
  }

  async function renew(oldDossier: string, fresh: readonly RenewedName[], also: readonly Statement[]): Promise<void> {
    const byName = new Map(fresh.map((one) => [one.name, one]));
    const renewed = (row: NameRow): NameRow => {
      const { dossier, verdictId, unverified } = byName.get(row.name) ?? row;
      return row.dossier.id === oldDossier ? { ...row, dossier: withoutParts(dossier), verdictId, unverified } : row;
    };
    const changed = [...images.values()].filter(({ names }) => names.some((row) => renewed(row) !== row && byName.has(row.name)));
    await database.write([
      ...dossierStatements(fresh.map(({ dossier }) => dossier)),
      ...changed.flatMap((image) => image.names.map((row) => nameStatement(renewed(row), image.id))),
      ...also,
    ]);
    for (const image of changed) put({ ...image, names: image.names.map(renewed) });
  }

  async function removeImage(id: string): Promise<void> {
    const image = images.get(id);
    if (image === undefined) return;
    await database.write([
      { sql: 'DELETE FROM image_name WHERE image_id = ?', params: [id] },
      { sql: 'DELETE FROM image_document WHERE image_id = ?', params: [id] },
      { sql: 'DELETE FROM image WHERE id = ?', params: [id] },
    ]);
    images.delete(id);
    for (const { name } of image.names) if (owners.get(name) === id) owners.delete(name);
  }

  return {
    list: () => [...images.values()].sort((a, b) => a.seq - b.seq),
    byId: (id) => images.get(id),
    byName: (name) => images.get(owners.get(name) ?? ''),
    layer: (folder) => layers.get(folder),
    layers: () => layers.values(),
    hasBlob(digest) {
      for (const layer of layers.values()) if (layer.blobDigest === digest) return true;
      return false;
    },
    isLayerOwned(folder) {
      for (const image of images.values()) if (image.layers.some((layer) => layer.folder === folder)) return true;
      return false;
    },
    admit: (admission, also) => serial(() => admit(admission, also)),
    renew: (oldDossier, fresh, also) => serial(() => renew(oldDossier, fresh, also)),
    append: async (statements) => void (await database.write(statements)),
    removeImage: (id) => serial(() => removeImage(id)),
    removeLayers: (folders) =>
      serial(async () => {
        if (folders.length === 0) return;
        await database.write(folders.map((folder) => ({ sql: 'DELETE FROM image_layer WHERE folder = ?', params: [folder] })));
        for (const folder of folders) layers.delete(folder);
      }),
  };
}

/** The separate parts of dossiers are stored together with their verdicts. */
function dossierStatements(dossiers: readonly Dossier[]): Statement[] {
  const byId = new Map(dossiers.map((dossier) => [dossier.id, dossier]));
  return [...byId.values()].map((dossier) => ({
    sql: 'INSERT INTO dossier (id, json) VALUES (?, ?) ON CONFLICT DO NOTHING',
    params: [dossier.id, JSON.stringify(withoutParts(dossier))],
  }));
}

function nameStatement(row: NameRow, imageId: string): Statement {
  return {
    sql: `INSERT INTO image_name (name, image_id, asked, digest, manifest_digest, dossier_id, verdict_id, unverified, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (name) DO UPDATE SET image_id = excluded.image_id, asked = excluded.asked, digest = excluded.digest,
        manifest_digest = excluded.manifest_digest, dossier_id = excluded.dossier_id, verdict_id = excluded.verdict_id,
        unverified = excluded.unverified, seq = excluded.seq`,
    params: [
      row.name,
      imageId,
      Number(row.asked),
      row.digest,
      row.manifestDigest,
      row.dossier.id,
      row.verdictId,
      Number(row.unverified),
      row.seq,
    ],
  };
}

/**
 * A write that was reported as failed may have taken effect all the same: this statement replaces its row,
 * which is not in memory.
 */
function layerStatement(row: LayerRow): Statement {
  return {
    sql: `INSERT INTO image_layer (folder, diff_id, dependent, blob_digest, blob_size, manifest_sha256, bytes, inodes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (folder) DO UPDATE SET diff_id = excluded.diff_id, dependent = excluded.dependent, blob_digest = excluded.blob_digest,
        blob_size = excluded.blob_size, manifest_sha256 = excluded.manifest_sha256, bytes = excluded.bytes, inodes = excluded.inodes`,
    params: [row.folder, row.diffId, Number(row.dependent), row.blobDigest, row.blobSize, row.manifestSha256, row.bytes, row.inodes],
  };
}

function nameOf(row: NameSqlRow, dossiers: Map<string, Dossier>): NameRow {
  // Names of one pull share their dossier object.
  const dossier = dossiers.get(row.dossier) ?? (parseJson(row.dossier) as Dossier);
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

function layerOf(row: LayerSqlRow): LayerRow {
  return {
    folder: row.folder,
    diffId: row.diff_id,
    dependent: row.dependent === 1,
    blobDigest: row.blob_digest,
    blobSize: row.blob_size,
    manifestSha256: row.manifest_sha256,
    bytes: row.bytes,
    inodes: row.inodes,
  };
}

function recordOf(image: Omit<StoredImage, 'record'>): ImageRecord {
  const latest = image.names.reduce((best, name) => (name.seq > best.seq ? name : best));
  return {
    id: image.id,
    manifestDigest: latest.manifestDigest,
    digest: latest.digest,
    repoTags: image.names.filter(({ name }) => !name.includes('@')).map(({ name }) => name),
    repoDigests: image.names.filter(({ name }) => name.includes('@')).map(({ name }) => name),
    size: image.size,
    config: image.config,
    layers: image.layers.map((layer) => layer.diffId),
    pinned: false,
    dossier: latest.dossier,
    verdictId: latest.verdictId,
    unverified: image.names.some((name) => name.unverified),
  };
}
