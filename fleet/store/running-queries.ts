import type { SqlRow } from '../../base/storage/index.ts';
import type { FleetContainer } from '../records/state.ts';
import type { Page, Reader } from './queries.ts';

/** An image that runs, and where. */
export interface RunningImage {
  readonly reference: string;
  readonly imageId: string;
  readonly verdict: string;
  readonly containers: number;
  readonly nodes: number;
}

/**
 * Lists the images that run on any node, in the order of their names and ids.
 * @param after the position of the last image of the previous page; without an id, the list continues after
 * all images of that name
 */
export async function listRunning(
  reader: Reader,
  image: string,
  after: { readonly reference: string; readonly imageId?: string },
  most: number,
): Promise<readonly RunningImage[]> {
  const { reference, imageId } = after;
  const rows = await reader.all(
    `SELECT reference, image, max(verdict) AS verdict, sum(containers) AS containers, count(*) AS nodes
     FROM running WHERE instr(reference, ?) > 0
       AND ${imageId === undefined ? 'reference > ?' : '(reference, image) > (?, ?)'}
     GROUP BY reference, image ORDER BY reference, image LIMIT ?`,
    [image, reference, ...(imageId === undefined ? [] : [imageId]), most],
  );
  return rows.map((row) => ({
    reference: String(row['reference']),
    imageId: String(row['image']),
    verdict: String(row['verdict']),
    containers: Number(row['containers']),
    nodes: Number(row['nodes']),
  }));
}

/** A container that runs from an image, and its node. */
export interface ContainerOfImage extends FleetContainer {
  readonly node: string;
  readonly imageId: string;
  readonly verdict: string;
}

/** The position after which a list of containers continues. */
export interface ContainerPosition {
  readonly node: string;
  readonly id: string;
}

/**
 * Lists the containers that run from an image, in the order of the names of their nodes. Each node in
 * `running` has such a container, so that the states of a few more nodes than `most` are read, however many
 * nodes there are.
 * @param image without an id: all images of that reference
 */
export async function listContainersOf(
  reader: Reader,
  image: { readonly reference: string; readonly imageId?: string },
  after: ContainerPosition | undefined,
  most: number,
): Promise<Page<ContainerOfImage, ContainerPosition>> {
  const { reference, imageId } = image;
  const named = [reference, ...(imageId === undefined ? [] : [imageId])];
  const rows = await reader.all(
    `SELECT node.name AS node, one.value ->> '$.id' AS id, one.value ->> '$.namespace' AS namespace,
       one.value ->> '$.pod' AS pod, one.value ->> '$.name' AS name, one.value ->> '$.imageId' AS image,
       one.value ->> '$.verdict' AS verdict
     FROM (
       SELECT id, name FROM node
       WHERE id IN (SELECT node FROM running WHERE reference = ?${imageId === undefined ? '' : ' AND image = ?'})
         AND name >= ?
       ORDER BY name LIMIT ?
     ) AS those JOIN node ON node.id = those.id, json_each(node.state, '$.running') AS one
     WHERE one.value ->> '$.reference' = ?${imageId === undefined ? '' : " AND one.value ->> '$.imageId' = ?"}
       ${after === undefined ? '' : "AND (node.name, one.value ->> '$.id') > (?, ?)"}
     ORDER BY 1, 2 LIMIT ?`,
    [
      // The first node may have no further container, and one more entry shows whether there is a next page.
      ...[...named, after?.node ?? '', most + 2, ...named],
      ...(after === undefined ? [] : [after.node, after.id]),
      most + 1,
    ],
  );
  const entries = rows.slice(0, most).map(containerOf);
  const last = entries.at(-1);
  return {
    entries,
    ...(rows.length > most && last !== undefined && { next: { node: last.node, id: last.id } }),
  };
}

function containerOf(row: SqlRow): ContainerOfImage {
  const text = (column: string): string => String(row[column]);
  return {
    ...{ node: text('node'), id: text('id'), namespace: text('namespace'), pod: text('pod') },
    ...{ name: text('name'), imageId: text('image'), verdict: text('verdict') },
  };
}
