import declaration from './contract.json' with { type: 'json' };
import { createCodecs, methodKey, parseDeclaration } from '../../../base/protobuf/index.ts';
import type { MessageCodec } from '../../../base/protobuf/index.ts';

/**
 * The parsed CRI v1 contract: package `runtime.v1`, field names and numbers of cri-api v0.37.2. The messages
 * CgroupNamespace and DoubleValue, CgroupMountMode, and the fields that have these types are those of v0.38.
 */
export const criContract = parseDeclaration(declaration);

/** Returns the codec for a message of the CRI contract, by its name there. */
export const criCodec = createCodecs(criContract);

export type ServiceName = 'RuntimeService' | 'ImageService';

/** One RPC, ready for a gRPC server or client. */
export interface RpcDefinition {
  readonly service: ServiceName;
  /** `RunPodSandbox`. */
  readonly name: string;
  /** `runPodSandbox`: the key in handlers and clients. */
  readonly key: string;
  /** `/runtime.v1.RuntimeService/RunPodSandbox`. */
  readonly path: string;
  readonly responseStream: boolean;
  readonly request: MessageCodec<unknown>;
  readonly response: MessageCodec<unknown>;
}

/** All 43 RPCs of both services. */
export const rpcs: readonly RpcDefinition[] = (['RuntimeService', 'ImageService'] as const).flatMap(
  (service) =>
    (criContract.services.get(service) ?? []).map((method) => ({
      service,
      name: method.name,
      key: methodKey(method.name),
      path: `/${criContract.package}.${service}/${method.name}`,
      responseStream: method.responseStream,
      request: criCodec(method.request),
      response: criCodec(method.response),
    })),
);
