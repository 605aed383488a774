import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import { openDatabase } from '../../base/storage/index.ts';
import { criCodec } from '../cri/contract/services.ts';
import type {
  CreateContainerResponse,
  ListContainersResponse,
  ContainerStatusResponse,
  PodSandboxConfig,
  RemoveContainerRequest,
  RemovePodSandboxRequest,
  UpdateContainerResourcesRequest,
} from '../cri/contract/contract.types.ts';
import type { CriClient } from '../cri/client.ts';
import { nothingAsked } from '../oci/profile-bounds.ts';
import { recordsSchema } from '../state/records.ts';
import { BackendStatus } from './backend.ts';
import type { InterceptedCall } from './calls.ts';
import { containerCalls } from './container-calls.ts';
import type { ContainerCallsDeps } from './container-calls.ts';
import { createRecorded } from './creations.ts';
import type { ProxyImages } from './images.ts';
import { openProxyRecords } from './records.ts';
import { sandboxCalls } from './sandbox-calls.ts';
import { settleRecords } from './settle.ts';

const log = createLogger({ level: 'silent' });
const metadata = { name: 'app', attempt: 1 };
const listed = { id: 'c1', podSandboxId: 'p1', metadata };
const container = {
  ...{ sandboxId: 'p1', namespace: 'team', imageId: 'i1', userSpecified: '', verdictId: 'v1' },
  bounded: { limits: { memory: 1000 }, resources: { ...nothingAsked, memoryLimitInBytes: 1000 } },
};

async function setUp(context: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'pc-creations-'));
  const database = await openDatabase({
    path: join(folder, 'db'),
    migrations: [{ version: 1, sql: recordsSchema }],
  });
  context.after(async () => {
    await database.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const records = await openProxyRecords(database);
  const config = criCodec<PodSandboxConfig>('PodSandboxConfig').decode(Buffer.alloc(0));
  await records.sandboxes.put({ id: 'p1', name: 'p1', config });
  const create = (forward: () => Promise<unknown>) =>
    createRecorded(
      { records, log },
      {
        call: { signal: new AbortController().signal, lasting: { forward } } as unknown as InterceptedCall,
        ...{ message: Buffer.alloc(0), metadata, container },
      },
    );
  return { database, records, create };
}

const backendWith = (containers: readonly unknown[], pods: readonly unknown[]): CriClient =>
  ({
    image: { listImages: () => Promise.resolve({ images: [] }) },
    runtime: {
      listPodSandbox: () => Promise.resolve({ items: pods }),
      listContainers: () => Promise.resolve({ containers }),
    },
    close: () => undefined,
  }) as unknown as CriClient;
const images = { list: () => [] } as unknown as ProxyImages;

it('records at its start the containers that the backend created for a proxy that was killed', async (context) => {
  const { database, records, create } = await setUp(context);
  const called = Promise.withResolvers<void>();
  void create(() => {
    called.resolve();
    return new Promise(() => undefined);
  });
  await called.promise;
  assert.deepEqual(records.containers.list(), []);
  const again = await openProxyRecords(database);
  await settleRecords(backendWith([listed], [{ id: 'p1' }]), { images, records: again, log });
  assert.deepEqual(again.containers.list(), [{ ...container, id: 'c1', name: 'c1' }]);
  assert.deepEqual(again.creations.list(), []);
});

it('limits the update of a container that the backend created without an answer', async (context) => {
  const { records, create } = await setUp(context);
  await assert.rejects(
    create(() => Promise.reject(new Error('the connection was lost'))),
    /lost/,
  );
  const answers: Record<string, Buffer> = {
    'RuntimeService/ContainerStatus': criCodec<ContainerStatusResponse>('ContainerStatusResponse').encode({
      status: { id: 'c1' },
    }),
    'RuntimeService/ListContainers': criCodec<ListContainersResponse>('ListContainersResponse').encode({
      containers: [listed],
    }),
  };
  const calls = containerCalls({ records } as unknown as ContainerCallsDeps);
  const request = criCodec<UpdateContainerResourcesRequest>('UpdateContainerResourcesRequest').encode({
    ...{ containerId: 'c1', linux: { memoryLimitInBytes: 2000 } },
  });
  const update = calls['RuntimeService/UpdateContainerResources']?.({
    request,
    ask: (rpc: string) => Promise.resolve(answers[rpc]),
  } as unknown as InterceptedCall);
  await assert.rejects(update ?? Promise.resolve(), /memory of 2000 bytes/);
});

it('keeps what an unanswered call asked for when the backend refuses the next one', async (context) => {
  const { records, create } = await setUp(context);
  await assert.rejects(create(() => Promise.reject(new Error('the connection was lost'))));
  await assert.rejects(
    create(() => Promise.reject(new BackendStatus('CreateContainer', {}, { 'grpc-status': '2' }))),
  );
  while (records.creations.list().length > 1) await turn();
  assert.equal(records.creations.list().length, 1);
});

it('forgets an unanswered creation whose pod the backend does not have', async (context) => {
  const { records, create } = await setUp(context);
  await assert.rejects(create(() => Promise.reject(new Error('the connection was lost'))));
  await settleRecords(backendWith([], []), { images, records, log });
  assert.deepEqual(records.creations.list(), []);
});

it('records an answered container, and nothing else', async (context) => {
  const { records, create } = await setUp(context);
  const message = criCodec<CreateContainerResponse>('CreateContainerResponse').encode({ containerId: 'c1' });
  await create(() => Promise.resolve({ headers: {}, message, trailers: {} }));
  while (records.creations.list().length > 0) await turn();
  assert.deepEqual(
    records.containers.list().map(({ id }) => id),
    ['c1'],
  );
});

it('keeps no record of a container whose pod is removed while the backend creates it', async (context) => {
  const { records, create } = await setUp(context);
  const message = criCodec<CreateContainerResponse>('CreateContainerResponse').encode({ containerId: 'c1' });
  const answer = { headers: {}, message, trailers: {} };
  const remove = sandboxCalls(records, log)['RuntimeService/RemovePodSandbox'];
  const request = criCodec<RemovePodSandboxRequest>('RemovePodSandboxRequest').encode({ podSandboxId: 'p1' });
  await create(async () => {
    const lasting = { forward: () => Promise.resolve(answer) };
    await remove?.({ request, lasting } as unknown as InterceptedCall);
    return answer;
  });
  while (records.sandboxes.list().length + records.creations.list().length > 0) await turn();
  // Writes are made in order: the removal of the record has been made before this one.
  await records.creations.delete('none');
  assert.deepEqual(records.containers.list(), []);
});

for (const rpc of ['RemoveContainer', 'RemovePodSandbox'] as const)
  it(`keeps no record after a ${rpc} whose client has gone before the answer`, async (context) => {
    const { records } = await setUp(context);
    await records.containers.put({ ...container, id: 'c1', name: 'c1' });
    const remove = sandboxCalls(records, log)[`RuntimeService/${rpc}`];
    const request =
      rpc === 'RemoveContainer'
        ? criCodec<RemoveContainerRequest>('RemoveContainerRequest').encode({ containerId: 'c1' })
        : criCodec<RemovePodSandboxRequest>('RemovePodSandboxRequest').encode({ podSandboxId: 'p1' });
    const answer = { headers: {}, message: Buffer.alloc(0), trailers: {} };
    const forward = () => Promise.reject(new Error('the client has gone'));
    const lasting = { forward: () => Promise.resolve(answer) };
    await remove?.({ request, forward, lasting } as unknown as InterceptedCall).catch(() => undefined);
    // Writes are made in order. The removal of a pod needs two.
    for (let write = 0; write < 3; write += 1) await records.creations.delete('none');
    assert.deepEqual(records.containers.list(), []);
  });
