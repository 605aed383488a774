import { largest } from '../../base/lists/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Database, Statement } from '../../base/storage/index.ts';
import { withoutParts } from '../../trust/evidence/index.ts';
import { createDoubtfulAdmissions } from './doubtful-admissions.ts';
import { loadRecords } from './record-rows.ts';
import type { DamagedImages } from './record-rows.ts';
import {
  admissionStatements,
  damagedStatements,
  dossierStatements,
  layerStatement,
  nameStatement,
  removalStatements,
} from './record-statements.ts';
import { createSerialQueue } from '../../base/queues/index.ts';
import type { Admission, LayerRow, NameRow, RenewedName, StoredImage } from './stored-image.ts';
import type { ImageRecord } from './types.ts';

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
  /**
   * Records an image; a name of another image moves to this one. `also` shares the transaction.
   * @param check called in the event loop turn in which the write begins. What it throws is thrown, and
   * nothing is recorded
   */
  admit(admission: Admission, also: readonly Statement[], check?: () => void): Promise<StoredImage>;
  /** Resolves when each change that was requested before has been made, or has failed. */
  settled(): Promise<void>;
  /**
   * For each name with the old evidence, replaces it by newer evidence with its verdict; names that have
   * other evidence by now stay unchanged. `also` shares the transaction.
   */
  renew(oldDossier: string, fresh: readonly RenewedName[], also: readonly Statement[]): Promise<void>;
  /** Writes only statements of the verdict log. */
  append(statements: readonly Statement[]): Promise<void>;
  removeImage(id: string): Promise<void>;
  removeLayers(folders: readonly string[]): Promise<void>;
  /** Records that a layer now has another form on the disk. */
  replaceLayer(row: LayerRow): Promise<void>;
}

/** Removes the rows that cannot be read. If this fails, the next start tries it again. */
async function removeDamaged(
  database: Database,
  damaged: DamagedImages,
  log: Pick<Logger, 'error'> | undefined,
): Promise<void> {
  const removals = damagedStatements(damaged);
  if (removals.length === 0) return;
  log?.error(damaged, 'the records of these images are damaged: pull the images again');
  await database.write(removals).catch(() => undefined);
}

/**
 * Opens the recorded images. The rows of images that cannot be read are removed, so that these images can be
 * pulled again.
 * @param log gets their names and ids
 */
export async function openImageRecords(
  database: Database,
  log?: Pick<Logger, 'error'>,
): Promise<ImageRecords> {
  const images = new Map<string, StoredImage>();
  const owners = new Map<string, string>();
  const layers = new Map<string, LayerRow>();
  const serial = createSerialQueue();
  const doubtful = createDoubtfulAdmissions(database, images, owners);
  let seq = 0;
  const recorded = await loadRecords(database);
  await removeDamaged(database, recorded.damaged, log);
  for (const image of recorded.images) {
    put(image);
    seq = Math.max(seq, image.seq, largest(image.names.map((name) => name.seq)));
  }
  for (const layer of recorded.layers) layers.set(layer.folder, layer);

  function put(image: Omit<StoredImage, 'record'>): StoredImage {
    const stored: StoredImage = { ...image, record: recordOf(image) };
    images.set(image.id, stored);
    for (const { name } of image.names) owners.set(name, image.id);
    return stored;
  }

  async function admit(
    admission: Admission,
    also: readonly Statement[],
    check: () => void,
  ): Promise<StoredImage> {
    await doubtful.settle();
    check();
    const { image } = admission;
    const existing = images.get(image.id);
    const next = seq + 1;
    const names = admittedNames(admission, existing, next);
    const fresh = admission.layers.filter((layer) => !layers.has(layer.folder));
    await doubtful.unlessFailed(admission, () =>
      database.write([
        ...admissionStatements({ ...admission, names, layers: fresh }, existing?.seq ?? next),
        ...also,
      ]),
    );
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

  async function renew(
    oldDossier: string,
    fresh: readonly RenewedName[],
    also: readonly Statement[],
  ): Promise<void> {
    const byName = new Map(fresh.map((one) => [one.name, one]));
    const renewed = (row: NameRow): NameRow => {
      const { dossier, verdictId, unverified } = byName.get(row.name) ?? row;
      return row.dossier.id === oldDossier
        ? { ...row, dossier: withoutParts(dossier), verdictId, unverified }
        : row;
    };
    const changed = [...images.values()].filter(({ names }) =>
      names.some((row) => renewed(row) !== row && byName.has(row.name)),
    );
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
    await database.write(removalStatements(id));
    images.delete(id);
    for (const { name } of image.names) if (owners.get(name) === id) owners.delete(name);
  }

  return {
    list: () => [...images.values()].sort((a, b) => a.seq - b.seq),
    byId: (id) => images.get(id),
    byName: (name) => images.get(owners.get(name) ?? ''),
    layer: (folder) => layers.get(folder),
    layers: () => layers.values(),
    // An incomplete layer has no stored blob either.
    hasBlob: (digest) =>
      [...layers.values()].some((layer) => layer.blobDigest === digest && layer.lazy !== true),
    isLayerOwned: (folder) =>
      [...images.values()].some((image) => image.layers.some((layer) => layer.folder === folder)),
    admit: (admission, also, check = () => undefined) => serial(() => admit(admission, also, check)),
    settled: () => serial(() => Promise.resolve()),
    renew: (oldDossier, fresh, also) => serial(() => renew(oldDossier, fresh, also)),
    append: async (statements) => void (await database.write(statements)),
    removeImage: (id) => serial(() => removeImage(id)),
    removeLayers: (folders) =>
      serial(async () => {
        if (folders.length === 0) return;
        await database.write(
          folders.map((folder) => ({ sql: 'DELETE FROM image_layer WHERE folder = ?', params: [folder] })),
        );
        for (const folder of folders) layers.delete(folder);
      }),
    replaceLayer: (row) =>
      serial(async () => {
        await database.write([layerStatement(row)]);
        layers.set(row.folder, row);
      }),
  };
}

/** Returns the rows of an image's new names. */
function admittedNames(
  { names }: Admission,
  existing: StoredImage | undefined,
  seq: number,
): readonly NameRow[] {
  return names.map((name): NameRow => {
    // A digest name that a client has requested once keeps this mark when it gets fresh evidence.
    const before = existing?.names.find((other) => other.name === name.name);
    return {
      ...name,
      dossier: withoutParts(name.dossier),
      asked: name.asked || before?.asked === true,
      seq,
    };
  });
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
