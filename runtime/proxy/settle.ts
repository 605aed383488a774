import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { CriClient } from '../cri/client.ts';
import { recordCreated } from './creations.ts';
import { imageIdFrom } from './image-calls.ts';
import type { ProxyImages } from './images.ts';
import type { ProxyRecords } from './records.ts';

/** In ms, for each question to the backend. */
const patienceMs = 10_000;

/**
 * Removes the records of images, pods and containers that the backend does not have any more, and records the
 * containers that it created for an earlier run that did not get its answer. A backend that does not answer
 * changes nothing: the records stay until the next start. Closes the client.
 */
export async function settleRecords(
  backend: CriClient,
  { images, records, log }: { images: ProxyImages; records: ProxyRecords; log: Logger },
): Promise<void> {
  const options = { timeoutMs: patienceMs };
  try {
    const [listed, pods, containers] = await Promise.all([
      backend.image.listImages({}, options),
      backend.runtime.listPodSandbox({}, options),
      backend.runtime.listContainers({}, options),
    ]);
    const idsOf = (of: readonly { readonly id: string }[]): Set<string> =>
      new Set(of.map(({ id }) => imageIdFrom(id)));
    const held = idsOf(listed.images);
    for (const { id } of images.list()) if (!held.has(id)) await images.forget(id);
    const running = new Set(pods.items.map(({ id }) => id));
    for (const { id } of records.sandboxes.list()) if (!running.has(id)) await records.sandboxes.delete(id);
    await recordCreated(records, containers.containers);
    for (const { id, sandboxId } of records.creations.list())
      if (!running.has(sandboxId)) await records.creations.delete(id);
    const created = new Set(containers.containers.map(({ id }) => id));
    for (const { id } of records.containers.list()) if (!created.has(id)) await records.containers.delete(id);
  } catch (thrown) {
    log.warn(
      { why: reasonOf(thrown) },
      'the records could not be compared with the backend; the next start tries again',
    );
  } finally {
    backend.close();
  }
}
