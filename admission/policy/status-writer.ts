import { setTimeout as sleep } from 'node:timers/promises';
import { reasonOf } from '../../base/errors/index.ts';
import { statusOf } from '../../base/kubernetes/index.ts';
import type { ApiClient } from '../../base/kubernetes/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { collectionPath, customResources } from '../custom-resources/definitions.ts';
import type { ClusterDocument } from './documents.ts';
import { saysTheSame, statusOfDocument } from './status.ts';
import type { DocumentStatus, LoadResult } from './status.ts';

export interface StatusWriter {
  /** Never throws. */
  write(documents: readonly ClusterDocument[], result: LoadResult): Promise<void>;
  /** A document has changed: every status may be written again. */
  forget(): void;
}

/**
 * Writes statuses. Everybody who follows the objects computes the same status, so each writes only a status
 * that the object does not have yet. Two that disagree overwrite each other rarely: each writes the same
 * status again only after a time, or after a change of a document. No leader election is needed.
 * @param currentOf returns the document of a key, such as `TrustPolicy /base`
 */
export function createStatusWriter(
  {
    client,
    log,
    statusJitterMs = 1000,
    statusRepeatMs = 3_600_000,
    withoutRightMs = 600_000,
  }: {
    readonly client: Pick<ApiClient, 'send'>;
    readonly log: Logger;
    readonly statusJitterMs?: number;
    /** The same status is not written again before this time. Who overwrote it may have ended since. */
    readonly statusRepeatMs?: number;
    /** Without the right to write, another attempt waits this long, or for a change of a document. */
    readonly withoutRightMs?: number;
  },
  signal: AbortSignal,
  currentOf: (key: string) => ClusterDocument | undefined,
): StatusWriter {
  /** When each status was written. */
  const written = new Map<string, number>();
  /** When a status of the kind may be written again. The right is the same for all objects of a kind. */
  const refusedUntil = new Map<ClusterDocument['kind'], number>();
  const keyOf = (document: ClusterDocument, status: DocumentStatus): string => {
    const { conditions, ...rest } = status;
    const says = conditions.map(({ type, status: holds, message }) => [type, holds, message]);
    return JSON.stringify([document.uid, rest, says]);
  };
  return {
    forget() {
      written.clear();
      refusedUntil.clear();
    },
    async write(documents, result) {
      const now = new Date();
      const differs = documents.filter((one) => !saysTheSame(one, statusOfDocument(one, result, now)));
      if (differs.length === 0) return;
      await sleep(Math.random() * statusJitterMs, undefined, { signal }).catch(() => undefined);
      for (const { kind, name, generation } of differs) {
        const latest = currentOf(`${kind} /${name}`);
        // A newer document will be loaded soon, and gets its own status.
        if (signal.aborted || latest?.generation !== generation) continue;
        if (performance.now() < (refusedUntil.get(kind) ?? 0)) continue;
        const status = statusOfDocument(latest, result, now);
        const key = keyOf(latest, status);
        const isRepeated = performance.now() < (written.get(key) ?? -Infinity) + statusRepeatMs;
        if (isRepeated || saysTheSame(latest, status)) continue;
        written.set(key, performance.now());
        await patch(latest, status).catch((error: unknown) => {
          // Another one wrote the status first, or the object was deleted.
          if (statusOf(error) === 404) return;
          if (statusOf(error) === 403) refusedUntil.set(kind, performance.now() + withoutRightMs);
          written.delete(key);
          if (statusOf(error) !== 409)
            log.warn(
              { object: `${kind} ${name}`, problem: reasonOf(error) },
              'a status could not be written',
            );
        });
      }
    },
  };

  async function patch({ kind, name, object }: ClusterDocument, status: DocumentStatus): Promise<void> {
    const resource = customResources.find((one) => one.kind === kind);
    if (resource === undefined) return;
    const { resourceVersion } = object['metadata'] as { readonly resourceVersion?: string };
    await client.send(
      {
        method: 'PATCH',
        path: `${collectionPath(resource)}/${name}/status`,
        body: { metadata: { resourceVersion }, status },
      },
      signal,
    );
  }
}
