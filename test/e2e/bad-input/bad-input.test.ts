import '../../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { Client, Metadata, credentials, status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { readdirSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { criContract, rpcs } from '../../../runtime/cri/contract/services.ts';
import type { RpcDefinition } from '../../../runtime/cri/contract/services.ts';
import { containerConfig, expectServing, podConfig, runContainer, runPod } from '../../fixtures/pod.ts';
import type { Pod } from '../../fixtures/pod.ts';
import { openStage } from '../../fixtures/stage.ts';
import type { Stage } from '../../fixtures/stage.ts';
import { corpusOf, rawBodies } from './corpus.ts';

/**
 * The time, in ms, after which streams that do not end are cancelled, and calls that wait for a bad value.
 */
const patience = 20_000;
const streamPatience = 150;
/**
 * The number of requests of one RPC in an ordinary run, spread over the whole corpus. With
 * PORTCULLIS_CORPUS=whole, all requests are sent (about 4,000, several minutes): `npm run test:generated`.
 */
const share = process.env['PORTCULLIS_CORPUS'] === 'whole' ? Number.POSITIVE_INFINITY : 60;

const requestOf = (rpc: string): string =>
  [...criContract.services.values()].flat().find(({ name }) => name === rpc)?.request ?? '';

describe('bad input', () => {
  let stage: Stage;
  let client: Client;
  let image = '';
  let pod: Pod;
  let container = '';
  let hostRoot: string[] = [];
  before(async () => {
    hostRoot = readdirSync('/');
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    pod = await runPod(stage, 'standing');
    container = await runContainer(stage, pod, { image });
    client = new Client(`unix:${stage.folders.socket}`, credentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
    });
  });
  after(async () => {
    client.close();
    await stage.close();
    assert.deepEqual(readdirSync('/'), hostRoot, 'nothing was created on the host');
  });

  /** A valid request, from which the corpus is generated. */
  function goodRequest(rpc: string, serial: number): Readonly<Record<string, unknown>> {
    const config = containerConfig({ name: `c${serial}`, image });
    switch (rpc) {
      case 'RunPodSandbox':
        return { config: podConfig(stage, `bad-${serial}`), runtimeHandler: '' };
      case 'CreateContainer':
        return { podSandboxId: pod.id, config, sandboxConfig: pod.config };
      case 'PullImage':
        return { image: { image: 'good.test/app/a:1' }, sandboxConfig: pod.config };
      case 'ImageStatus':
      case 'RemoveImage':
        return { image: { image: 'good.test/app/none:1' } };
      case 'ExecSync':
        return { containerId: container, cmd: ['true'], timeout: 5 };
      case 'Exec':
        return { containerId: container, cmd: ['true'], stdout: true };
      case 'Attach':
        return { containerId: container, stdout: true };
      case 'PortForward':
        return { podSandboxId: pod.id, port: [80] };
      case 'UpdateContainerResources':
        return { containerId: container, linux: { cpuShares: 100 } };
      case 'UpdatePodSandboxResources':
        return { podSandboxId: pod.id, resources: { cpuShares: 100 } };
      case 'StopContainer':
      case 'RemoveContainer':
        return { containerId: 'ab'.repeat(32) };
      case 'StopPodSandbox':
      case 'RemovePodSandbox':
        return { podSandboxId: 'ab'.repeat(32) };
      default: {
        const fields = criContract.messages.get(requestOf(rpc)) ?? [];
        const named = (name: string, value: string): object =>
          fields.some((field) => field.name === name) ? { [name]: value } : {};
        return { ...named('containerId', container), ...named('podSandboxId', pod.id) };
      }
    }
  }

  function call(
    rpc: RpcDefinition,
    bytes: Buffer,
  ): Promise<{ readonly code: number; readonly why: string; readonly answer?: unknown }> {
    const identity = (value: Buffer): Buffer => value;
    return new Promise((resolve) => {
      const done = (error: ServiceError | null, body?: Buffer): void =>
        resolve({
          code: error?.code ?? 0,
          why: error?.details ?? '',
          ...(body !== undefined && { answer: rpc.response.decode(body) }),
        });
      const deadline = Date.now() + (rpc.responseStream ? streamPatience : patience);
      if (!rpc.responseStream) {
        client.makeUnaryRequest(rpc.path, identity, identity, bytes, new Metadata(), { deadline }, done);
        return;
      }
      const stream = client.makeServerStreamRequest(rpc.path, identity, identity, bytes, new Metadata(), {
        deadline,
      });
      stream.on('data', () => undefined);
      stream.on('end', () => resolve({ code: 0, why: '' }));
      stream.on('error', (error: ServiceError) =>
        resolve({ code: error.code === status.DEADLINE_EXCEEDED ? 0 : error.code, why: error.details }),
      );
    });
  }

  async function undo(answer: unknown): Promise<void> {
    const { podSandboxId, containerId } = (answer ?? {}) as { podSandboxId?: string; containerId?: string };
    if (containerId !== undefined) await stage.daemon.cri.runtime.removeContainer({ containerId });
    if (podSandboxId !== undefined && podSandboxId !== pod.id)
      await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId });
  }

  /**
   * For the kubelet, a denial is UNKNOWN on the wire (runtime/cri/status.ts). It refuses the image and is not
   * a failure.
   */
  const isVerdict = (rpc: string, why: string): boolean =>
    rpc === 'PullImage' && /^(SignatureValidationFailed|RegistryUnavailable): /.test(why);

  for (const rpc of rpcs) {
    it(rpc.name, async () => {
      const wrong: string[] = [];
      let serial = 0;
      const judge = ({ code, why }: { code: number; why: string }, what: string): void => {
        const bad =
          code === Number(status.INTERNAL) ||
          (code === Number(status.UNKNOWN) && !isVerdict(rpc.name, why)) ||
          code === Number(status.DEADLINE_EXCEEDED);
        if (bad || why.includes('CRI_INTERNAL'))
          wrong.push(`${what} → ${status[code] ?? code}: ${why.slice(0, 300)}`);
      };
      const request = rpc.request;
      const corpus = [...corpusOf(requestOf(rpc.name), goodRequest(rpc.name, 0))];
      const stride = Math.max(1, corpus.length / share);
      for (let at = 0; at < corpus.length; at += stride) {
        const { what, request: asked } = corpus[Math.floor(at)] ?? { what: '', request: {} };
        serial += 1;
        let bytes: Buffer;
        try {
          bytes = request.encode(asked);
        } catch {
          continue; // this client cannot encode it
        }
        const outcome = await call(rpc, bytes);
        judge(outcome, what);
        await undo(outcome.answer);
      }
      for (const { what, bytes } of rawBodies(request.encode(goodRequest(rpc.name, 1)))) {
        const outcome = await call(rpc, Buffer.from(bytes));
        judge(outcome, what);
        await undo(outcome.answer);
      }
      assert.deepEqual(wrong, [], `${wrong.length} of ${serial} requests`);
      await expectServing(stage, image);
    });
  }
});
