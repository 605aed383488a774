import type { Attachment, AttachRequest } from '../../cni-plugins/index.ts';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import type { InfraEffects } from './sharing.ts';
import type { SandboxRecord } from './record.ts';
import type { SandboxPlan } from './validate.ts';

/** The side effects in the life of a sandbox. Each effect succeeds if its work is already done. */
export interface SandboxEffects {
  readonly namespaces: {
    claim(plan: SandboxPlan, runtimeHandler: string): Promise<string | undefined>;
    release(dir: string): Promise<void>;
  };
  readonly network: {
    attach(request: AttachRequest): Promise<Attachment>;
    detach(id: string): Promise<void>;
    /** Whether the network knows the pod. */
    has(id: string): boolean;
  };
  readonly files: {
    make(record: SandboxRecord, plan: SandboxPlan): Promise<void>;
    remove(id: string): Promise<void>;
    /** Whether the files exist. */
    stand(id: string): boolean;
  };
  /**
   * Lets the pod send name queries to a network that it is attached to; its resolv.conf then names that
   * network's gateway.
   * @throws PortcullisError NETWORK_NOT_ON_NETWORK
   */
  askNames(record: SandboxRecord, network: string): Promise<void>;
  readonly cgroups: {
    /**
     * Returns the pod's cgroup for the requested parent. @throws PortcullisError RUNTIME_BAD_CGROUP_PARENT
     */
    place(asked: string, sandboxId: string): string;
    /**
     * Returns `path` and those of its parents that do not exist, or exist only because of pods of this
     * daemon.
     */
    owned(path: string): readonly string[];
    /**
     * Removes the cgroups that the pod owns and that no other pod may be about to use. A cgroup in use stays.
     */
    remove(record: Pick<SandboxRecord, 'id' | 'ownedCgroups'>): Promise<void>;
  };
  /** Processes that hold shared PID namespaces. */
  readonly infra: InfraEffects;
  /** Whether the pods of a handler have a network stack of their own. */
  hasOwnStack(runtimeHandler: string): boolean;
  /** Refuses an unknown handler, and labels that this kernel cannot apply. */
  requireHandler(name: string, config: PodSandboxConfig): void;
  digest(value: unknown): string;
  newId(): string;
  /** Nanoseconds since 1970, decimal. */
  now(): string;
  sleep(ms: number): Promise<void>;
  /** Returns the id of the current boot of the machine. */
  bootId(): string;
}
