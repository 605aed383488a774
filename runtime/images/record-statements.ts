import type { Statement } from '../../base/storage/index.ts';
import { withoutParts } from '../../trust/evidence/index.ts';
import type { Dossier } from '../../trust/index.ts';
import { manifestColumn } from './record-rows.ts';
import type { DamagedImages } from './record-rows.ts';
import type { Admission, LayerRow, NameRow, StoredImage } from './stored-image.ts';

/**
 * Records an image with its names, layers and documents.
 * @param admission with only those layers that are not recorded yet
 * @param seq of the image's first pull
 */
export function admissionStatements(
  { image, names, layers, documents }: Omit<Admission, 'names'> & { readonly names: readonly NameRow[] },
  seq: number,
): Statement[] {
  return [
    ...dossierStatements(names.map((name) => name.dossier)),
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
        seq,
      ],
    },
    ...names.map((name) => nameStatement(name, image.id)),
    ...layers.map(layerStatement),
    ...documents.map(({ digest, mediaType, bytes }) => ({
      sql: 'INSERT INTO image_document (image_id, digest, media_type, bytes) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
      params: [image.id, digest, mediaType, bytes],
    })),
  ];
}

/** Removes an image with its names and documents; its layers stay until they have no owner. */
export function removalStatements(id: string): Statement[] {
  return [
    { sql: 'DELETE FROM image_name WHERE image_id = ?', params: [id] },
    { sql: 'DELETE FROM image_document WHERE image_id = ?', params: [id] },
    { sql: 'DELETE FROM image WHERE id = ?', params: [id] },
  ];
}

/** Removes the rows that cannot be read: a pull of the same image writes them again. */
export function damagedStatements({ images, names }: DamagedImages): Statement[] {
  return [
    ...names.map((name) => ({ sql: 'DELETE FROM image_name WHERE name = ?', params: [name] })),
    ...images.flatMap(removalStatements),
  ];
}

/** The image that has a name, with the row of the name. */
export interface NameOwner {
  readonly row: NameRow;
  readonly imageId: string;
}

/**
 * Makes the rows of an image and of some names equal to the state in memory.
 * @param image absent: the image is not recorded
 * @param names the owner of each name; undefined: no image has it
 */
export function recordedStatements(
  image: Omit<StoredImage, 'record'> | undefined,
  id: string,
  names: ReadonlyMap<string, NameOwner | undefined>,
): Statement[] {
  return [
    ...(image === undefined
      ? removalStatements(id)
      : admissionStatements({ image, names: image.names, layers: [], documents: [] }, image.seq)),
    ...[...names].flatMap(([name, owner]) =>
      owner === undefined
        ? [{ sql: 'DELETE FROM image_name WHERE name = ?', params: [name] }]
        : [...dossierStatements([owner.row.dossier]), nameStatement(owner.row, owner.imageId)],
    ),
  ];
}

/**
 * The separate parts of dossiers are stored together with their verdicts. A stored dossier stays, because it
 * has the time at which it was gathered, unless its row is damaged.
 */
export function dossierStatements(dossiers: readonly Dossier[]): Statement[] {
  const byId = new Map(dossiers.map((dossier) => [dossier.id, dossier]));
  return [...byId.values()].map((dossier) => ({
    sql: 'INSERT INTO dossier (id, json) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET json = excluded.json WHERE NOT json_valid(json)',
    params: [dossier.id, JSON.stringify(withoutParts(dossier))],
  }));
}

/** Writes a name of an image, in place of the row of the image that had the name before. */
export function nameStatement(row: NameRow, imageId: string): Statement {
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
export function layerStatement(row: LayerRow): Statement {
  return {
    sql: `INSERT INTO image_layer (folder, diff_id, dependent, blob_digest, blob_size, manifest_sha256, bytes, inodes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (folder) DO UPDATE SET diff_id = excluded.diff_id, dependent = excluded.dependent, blob_digest = excluded.blob_digest,
        blob_size = excluded.blob_size, manifest_sha256 = excluded.manifest_sha256, bytes = excluded.bytes, inodes = excluded.inodes`,
    params: [
      row.folder,
      row.diffId,
      Number(row.dependent),
      row.blobDigest,
      row.blobSize,
      manifestColumn(row),
      row.bytes,
      row.inodes,
    ],
  };
}
