import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import { openDatabase } from '../../base/storage/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { criCodec } from '../cri/contract/services.ts';
import type {
  CreateContainerRequest,
  PodSandboxConfig,
  PodSandboxStatusResponse,
  RemovePodSandboxRequest,
  RunPodSandboxRequest,
  RunPodSandboxResponse,
} from '../cri/contract/contract.types.ts';
import { openRecords, recordsSchema } from '../state/records.ts';
import type { InterceptedCall } from './calls.ts';
import type { ProxyRecords, ProxySandbox } from './records.ts';
import { podEdits, sandboxCalls, sandboxOf } from './sandbox-calls.ts';
import { editMessage } from './wire.ts';

const pods = criCodec<PodSandboxConfig>('PodSandboxConfig');
const answers = criCodec<PodSandboxStatusResponse>('PodSandboxStatusResponse');
const metadata = { name: 'pod', namespace: 'team', uid: 'u1' };
const podOf = (more: Parameters<typeof pods.encode>[0]) => pods.decode(pods.encode({ metadata, ...more }));

/** Records of pods, and a backend that describes one pod whatever it is asked for. */
async function setUp(
  context: TestContext,
  status: Parameters<typeof answers.encode>[0]['status'],
  info: Readonly<Record<string, string>> = {},
) {
  const folder = mkdtempSync(join(tmpdir(), 'pc-pods-'));
  const database = await openDatabase({
    path: join(folder, 'db'),
    migrations: [{ version: 1, sql: recordsSchema }],
  });
  context.after(async () => {
    await database.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const ask = () => Promise.resolve(answers.encode({ status: status ?? {}, info }));
  return { sandboxes: await openRecords<ProxySandbox>(database, 'sandbox'), call: { ask } };
}

it('uses the record of the pod that the backend finds by a prefix of an id', async (context) => {
  const { sandboxes, call } = await setUp(context, { id: 'aa1', metadata });
  const config = podOf({});
  for (const id of ['aa1', 'aa2']) await sandboxes.put({ id, name: id, config });
  const described = podOf({ linux: { securityContext: { privileged: true } } });
  assert.deepEqual((await sandboxOf({ sandboxes }, call, 'aa', described)).config, config);
  assert.deepEqual(sandboxes.get('aa1')?.config, config);
});

it('does not accept a user namespace that the backend does not confirm', async (context) => {
  const { sandboxes, call } = await setUp(context, { id: 'aa1', metadata });
  const ranges = [{ hostId: 65_536, containerId: 0, length: 65_536 }];
  const namespaceOptions = { usernsOptions: { mode: 0, uids: ranges, gids: ranges } } as const;
  await assert.rejects(
    sandboxOf({ sandboxes }, call, 'aa1', podOf({ linux: { securityContext: { namespaceOptions } } })),
    { code: 'PROXY_UNKNOWN_POD' },
  );
  assert.ok(await sandboxOf({ sandboxes }, call, 'aa1', podOf({})));
});

it('removes a pod that cannot be recorded from the backend', async () => {
  const full = new Error('the disk is full');
  const records = { sandboxes: { put: () => Promise.reject(full) } } as unknown as ProxyRecords;
  const asked: string[] = [];
  const run = sandboxCalls(records, createLogger({ level: 'silent' }))['RuntimeService/RunPodSandbox'];
  const answer = criCodec<RunPodSandboxResponse>('RunPodSandboxResponse').encode({ podSandboxId: 'aa1' });
  const call = {
    request: criCodec<RunPodSandboxRequest>('RunPodSandboxRequest').encode({ config: { metadata } }),
    forward: () => Promise.resolve({ headers: {}, message: answer, trailers: {} }),
    ask: (rpc: string, message: Buffer) => {
      const { podSandboxId } = criCodec<RemovePodSandboxRequest>('RemovePodSandboxRequest').decode(message);
      asked.push(`${rpc} ${podSandboxId}`);
      return Promise.reject(new Error('the backend does not answer'));
    },
  };
  await assert.rejects(async () => run?.(call as unknown as InterceptedCall), full);
  assert.deepEqual(asked, ['RuntimeService/RemovePodSandbox aa1']);
});

it('passes on the cgroup and the folder of logs with which the pod was created', () => {
  const created = podOf({ logDirectory: '/var/log/pods/a', linux: { cgroupParent: '/pods/a' } });
  const requests = criCodec<CreateContainerRequest>('CreateContainerRequest');
  const passedOn = (described: PodSandboxConfig | undefined): CreateContainerRequest => {
    const request = requests.encode({ podSandboxId: 'aa1', ...(described && { sandboxConfig: described }) });
    const fields = podEdits({ config: created }, described);
    return requests.decode(editMessage(request, { message: 'CreateContainerRequest', fields }));
  };
  const annotations = { 'example.com/note': 'changed' };
  const linux = { cgroupParent: '/', sysctls: { a: 'b' } };
  const other = podOf({ logDirectory: '/etc', annotations, linux });
  const { sandboxConfig } = passedOn(other);
  assert.equal(sandboxConfig?.logDirectory, '/var/log/pods/a');
  assert.equal(sandboxConfig.linux?.cgroupParent, '/pods/a');
  assert.deepEqual([sandboxConfig.annotations, sandboxConfig.linux.sysctls], [annotations, { a: 'b' }]);
  assert.equal(passedOn(podOf({})).sandboxConfig?.linux?.cgroupParent, '/pods/a');
  assert.deepEqual(podEdits({ config: created }, created), {});
  assert.deepEqual(passedOn(undefined).sandboxConfig, created);
});

it('takes a cgroup and a folder of logs that the first request for a pod from before the proxy left out', async (context) => {
  const { sandboxes, call } = await setUp(context, { id: 'aa1', metadata });
  const ofKubelet = podOf({ logDirectory: '/var/log/pods/a', linux: { cgroupParent: '/pods/a' } });
  // Such as of crictl, with a short description of the pod.
  const first = await sandboxOf({ sandboxes }, call, 'aa1', podOf({}));
  assert.deepEqual(podEdits(first, ofKubelet), {});
  await sandboxes.delete('aa1');
  const known = await sandboxOf({ sandboxes }, call, 'aa1', ofKubelet);
  assert.notDeepEqual(podEdits(known, podOf({ linux: { cgroupParent: '/' } })), {});
});

it('takes the cgroup and the folder of logs of a pod from before the proxy from the backend', async (context) => {
  const config = { log_directory: '/var/log/pods/a', linux: { cgroup_parent: '/pods/a' } };
  const info = { info: JSON.stringify({ config }) };
  const { sandboxes, call } = await setUp(context, { id: 'aa1', metadata }, info);
  const known = await sandboxOf({ sandboxes }, call, 'aa1', podOf({ linux: { cgroupParent: '/' } }));
  assert.deepEqual(
    [known.config.logDirectory, known.config.linux?.cgroupParent],
    ['/var/log/pods/a', '/pods/a'],
  );
});
