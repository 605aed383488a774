import type { ProcessIdentity } from '../../../base/process/index.ts';
import type { Caller } from '../../calls/plugin-call.ts';
import type { CniResult } from '../../spec/result.ts';
import type { EndpointInterface, PortBinding } from '../protocol/protocol.ts';
import type { CnmEndpoint, CnmNetwork, EndpointLink } from '../acts/records.ts';

/**
 * Creates, publishes and removes endpoints. Each step is recorded before and after it is executed. A repeated
 * call is executed only once.
 */
export interface Endpoints {
  create(id: string, network: string, wanted: EndpointInterface, by: Engine): Promise<MadeEndpoint>;
  /** Succeeds if the endpoint is already gone. */
  remove(id: string, by: Engine): Promise<void>;
  /** @throws NETWORK_CNM_ENDPOINT_UNKNOWN */
  require(id: string, network: string): Promise<MadeEndpoint>;
  setSandbox(
    id: string,
    network: string,
    sandbox: string | undefined,
    by: Engine,
  ): Promise<MadeEndpoint | undefined>;
  publish(id: string, network: string, bindings: readonly Required<PortBinding>[], by: Engine): Promise<void>;
  /** Succeeds if nothing is published, or if the endpoint is gone. */
  unpublish(id: string, by: Engine): Promise<void>;
  /** Removes endpoints that no container has and that their engine no longer knows. */
  sweep(which: (endpoint: CnmEndpoint) => boolean, by: Engine): Promise<void>;
  /**
   * Removes what crashed processes left half-created, and endpoints that no container can have any more.
   * @param which only those whose engine is gone
   */
  reconcile(by: Engine, which?: 'of the dead'): Promise<void>;
}

/** The engine that calls: its namespaces and its process. */
export interface Engine {
  readonly caller: Caller;
  readonly identity?: ProcessIdentity;
}

export interface MadeEndpoint {
  readonly endpoint: CnmEndpoint;
  readonly network: CnmNetwork;
  readonly result: CniResult;
  readonly link: EndpointLink;
}
