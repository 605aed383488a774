import { randomUUID } from 'node:crypto';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { criCodec } from '../cri/contract/services.ts';
import type {
  Container,
  ContainerMetadata,
  CreateContainerResponse,
  RemoveContainerRequest,
} from '../cri/contract/contract.types.ts';
import { BackendStatus } from './backend.ts';
import type { BackendAnswer } from './backend.ts';
import { decoded } from './calls.ts';
import type { InterceptedCall } from './calls.ts';
import type { ProxyCreation, ProxyRecords } from './records.ts';
import { orUndone } from './sandbox-calls.ts';

/** gRPC statuses after which a backend may still create the container: cancelled, deadline, unavailable. */
const undecided: ReadonlySet<unknown> = new Set(['1', '4', '14']);

/**
 * Has the backend create a container, and records it. What the record will say is on disk before the call is
 * passed on: a proxy that is killed, or that gets no answer, would otherwise not know a container that the
 * backend has created, and would not limit it.
 * @throws the errors of the backend and of the database
 */
export async function createRecorded(
  { records, log }: { readonly records: ProxyRecords; readonly log: Logger },
  {
    call,
    message,
    metadata,
    container,
  }: {
    readonly call: Pick<InterceptedCall, 'signal' | 'lasting'>;
    readonly message: Uint8Array;
    readonly metadata: ContainerMetadata | undefined;
    readonly container: ProxyCreation['container'];
  },
): Promise<{ readonly answer: BackendAnswer; readonly containerId: string }> {
  const { sandboxes, containers, creations } = records;
  const id = `creation-${randomUUID()}`;
  const { name = '', attempt = 0 } = metadata ?? {};
  const { sandboxId } = container;
  const creation = { id, name: id, sandboxId, container, metadata: { name, attempt } };
  await creations.put(creation, [], 'process');
  const forget = (removal: Promise<void> = creations.delete(id, 'process')): void =>
    void removal.catch((thrown: unknown) =>
      log.warn({ why: reasonOf(thrown) }, 'a record could not be removed; the next start removes it'),
    );
  if (call.signal.aborted) forget();
  call.signal.throwIfAborted();
  let answer;
  try {
    // A backend may create the container although the client has gone.
    answer = await call.lasting.forward(message);
  } catch (thrown) {
    // For example, a container of this name exists already. An earlier call may have created it.
    if (thrown instanceof BackendStatus && !undecided.has(thrown.trailers['grpc-status'])) forget();
    throw thrown;
  }
  const { containerId } = decoded(
    criCodec<CreateContainerResponse>('CreateContainerResponse'),
    answer.message,
  );
  const removal = criCodec<RemoveContainerRequest>('RemoveContainerRequest').encode({ containerId });
  await orUndone(
    containers.put({ ...container, id: containerId, name: containerId }, [], 'process'),
    () => call.lasting.ask('RuntimeService/RemoveContainer', removal),
    log,
  );
  forget();
  // The pod was removed meanwhile, with its records.
  if (sandboxes.get(sandboxId) === undefined) forget(containers.delete(containerId));
  return { answer, containerId };
}

/**
 * Records the containers of the backend that an earlier call, whose answer the proxy did not get or record,
 * has created.
 */
export async function recordCreated(
  { containers, creations }: ProxyRecords,
  listed: readonly Pick<Container, 'id' | 'podSandboxId' | 'metadata'>[],
): Promise<void> {
  for (const { id, podSandboxId, metadata } of listed) {
    const asked = creations
      .list()
      .filter(
        (creation) =>
          creation.sandboxId === podSandboxId &&
          creation.metadata.name === metadata?.name &&
          creation.metadata.attempt === metadata.attempt,
      );
    const last = asked.at(-1);
    if (last === undefined) continue;
    if (containers.get(id) === undefined)
      await containers.put({ ...last.container, id, name: id }, [], 'process');
    for (const creation of asked) await creations.delete(creation.id);
  }
}
