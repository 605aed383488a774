import type { Database } from '../../base/storage/index.ts';
import type { RuntimeBounds } from '../../entitlements/index.ts';
import type { LinuxContainerResources, PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { openRecords } from '../state/records.ts';
import type { Keyed, Records } from '../state/records.ts';

/** A pod that was created through the proxy, or that existed before it. */
export interface ProxySandbox extends Keyed {
  readonly config: PodSandboxConfig;
  /** The pod existed before the proxy: its `config` is what the first request for a container said. */
  readonly isAsDescribed?: true;
}

/** A container that was created through the proxy. */
export interface ProxyContainer extends Keyed {
  readonly sandboxId: string;
  /** The namespace of its pod. */
  readonly namespace: string;
  readonly imageId: string;
  readonly userSpecified: string;
  readonly verdictId: string;
  /** The limits of its ceilings, and what it has. Absent: there are none. */
  readonly bounded?: {
    readonly limits: RuntimeBounds['resources'];
    readonly resources: LinuxContainerResources;
  };
}

/** Records that the proxy needs about pods and containers of the backend. */
export interface ProxyRecords {
  readonly sandboxes: Records<ProxySandbox>;
  readonly containers: Records<ProxyContainer>;
}

/** @throws the errors of the database */
export async function openProxyRecords(database: Database): Promise<ProxyRecords> {
  const [sandboxes, containers] = await Promise.all([
    openRecords<ProxySandbox>(database, 'sandbox'),
    openRecords<ProxyContainer>(database, 'container'),
  ]);
  return { sandboxes, containers };
}
