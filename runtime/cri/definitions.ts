import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { rpcs } from './contract/services.ts';
import type { RpcDefinition, ServiceName } from './contract/services.ts';

const untouched = (bytes: Buffer): Buffer => bytes;

/**
 * Returns all RPCs of a service, by key, for a server that decodes and encodes by itself. grpc-js answers a
 * codec's failure without code or reason.
 */
export function serverDefinition(service: ServiceName): ServiceDefinition {
  const define = (rpc: RpcDefinition): MethodDefinition<Buffer, Buffer> => ({
    path: rpc.path,
    requestStream: false,
    responseStream: rpc.responseStream,
    requestSerialize: untouched,
    requestDeserialize: untouched,
    responseSerialize: untouched,
    responseDeserialize: untouched,
  });
  return Object.fromEntries(
    rpcs.filter((rpc) => rpc.service === service).map((rpc) => [rpc.key, define(rpc)]),
  );
}
