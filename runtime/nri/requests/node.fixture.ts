import type { Init } from '../../../base/protobuf/index.ts';
import { createLogger } from '../../../base/log/index.ts';
import type { Database } from '../../../base/storage/index.ts';
import type { TtrpcMethod } from '../../../base/ttrpc/index.ts';
import type { ContainerRecord } from '../../containers/record.ts';
import type { ContainerConfig, PodSandboxConfig } from '../../cri/contract/contract.types.ts';
import { criCodec } from '../../cri/contract/services.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import { openRecords } from '../../state/records.ts';
import { createPluginSet } from '../plugins/plugin-set.ts';
import type { NriNode } from './node.ts';

const log = createLogger({ level: 'silent' });

/** The answers of the plugin, by the name of the method. A method without an entry answers with nothing. */
type Answers = Readonly<Record<string, (request: unknown) => object>>;

const podConfigs = criCodec<PodSandboxConfig>('PodSandboxConfig');
const configs = criCodec<ContainerConfig>('ContainerConfig');

export const pod = {
  id: 'p1',
  name: 'pod',
  phase: 'ready',
  config: podConfigs.decode(podConfigs.encode({ metadata: { name: 'pod', uid: 'u', namespace: 'shop' } })),
  runtimeHandler: '',
  cgroupParent: '',
} as unknown as SandboxRecord;

export const config = configs.decode(configs.encode({ metadata: { name: 'c' }, command: ['sleep'] }));

export const container = {
  ...{ id: 'c1', name: 'container', sandboxId: 'p1', phase: 'created', config, createdAt: '1' },
  ...{ startedAt: '0', finishedAt: '0', exitCode: 0, reason: '', message: '', imageId: 'i', verdictId: 'v' },
} as unknown as ContainerRecord;

/** Opens a node with one plugin, the pod `p1`, and nothing on disk. */
export async function openNode(answers: Answers = {}): Promise<{
  readonly node: NriNode;
  /** The names of the methods that the plugin was called with, except events that it has no answer for. */
  readonly calls: string[];
  /** The outcomes that were counted. */
  readonly counted: string[];
  /** The containers whose limits were changed. */
  readonly updated: string[];
}> {
  const [calls, counted, updated]: [string[], string[], string[]] = [[], [], []];
  const database = { all: async () => [], write: async () => [] } as unknown as Database;
  const sandboxRecords = await openRecords<SandboxRecord>(database, 'sandbox');
  const containerRecords = await openRecords<ContainerRecord>(database, 'container');
  await sandboxRecords.put(pod);
  const plugins = createPluginSet({ required: [], log });
  plugins.add({
    ...{ index: '10', base: 'p', name: '10-p', subscribes: () => true, isClosed: () => false },
    call: async <Request, Response>(
      { name, response }: TtrpcMethod<Request, Response>,
      request: Init<Request>,
    ): Promise<Response> => {
      calls.push(name);
      return response.decode(response.encode((answers[name]?.(request) ?? {}) as Init<Response>));
    },
    exclusively: async () => undefined,
    closed: new Promise(() => undefined),
    close: () => undefined,
  });
  const node: NriNode = {
    ...{ plugins, containerRecords, sandboxRecords, log, allowedHooks: [] },
    containers: () => ({
      updateAdjusted: async (id) => {
        updated.push(id);
      },
    }),
    imageConfig: () => undefined,
    logged: async () => undefined,
    adjusted: (outcome) => void counted.push(outcome),
  };
  return { node, calls, counted, updated };
}
