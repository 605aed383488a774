import { isPortcullisError, PortcullisError } from '../../base/errors/index.ts';
import type { ContainerConfig, LinuxContainerResources } from '../cri/contract/contract.types.ts';
import type { SandboxRecord } from '../pods/record.ts';

/** One change that a plugin of the node made to the request of a container. */
export interface Adjustment {
  /** Index and name, such as `10-device-injector`. */
  readonly plugin: string;
  /** The changed field, such as `mount`, `env` or `memory.limit`. */
  readonly field: string;
  /** The key, such as a path in the container; empty for a field that exists only once. */
  readonly key: string;
  readonly action: 'set' | 'remove';
  /** The new value, shortened. Never the value of a variable, which may be a secret. */
  readonly value?: string;
}

/** The parts of an adjusted request for which CRI has no field. */
export interface BeyondCri {
  /** Names of variables that the container does not get, not even from the image. */
  readonly removedEnv: readonly string[];
  /**
   * Shown to other plugins in place of those of the request. Absent: the same. No annotation reaches the OCI
   * runtime.
   */
  readonly annotations?: Readonly<Record<string, string>>;
  /** `type` as in the OCI specification; decimal, because "no limit" is above 2^53. */
  readonly rlimits: readonly { readonly type: string; readonly soft: string; readonly hard: string }[];
  /** Device nodes by their numbers. */
  readonly devices: readonly {
    readonly path: string;
    readonly type: 'b' | 'c';
    readonly major: number;
    readonly minor: number;
    readonly fileMode: number;
    readonly uid: number;
    readonly gid: number;
  }[];
  /** OCI hooks: programs of the host. */
  readonly hooks: readonly AdjustedHook[];
  /** An OCI seccomp object, in place of the requested profile. */
  readonly seccomp?: object;
}

/** The stages at which an OCI runtime runs hooks (runtime-spec, config.md, "POSIX-platform Hooks"). */
export type HookName =
  | 'prestart'
  | 'createRuntime'
  | 'createContainer'
  | 'startContainer'
  | 'poststart'
  | 'poststop';

export interface AdjustedHook {
  readonly hookName: HookName;
  readonly path: string;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  /** Seconds. */
  readonly timeout?: number;
}

/** The adjustments of a container, as its record keeps them. */
export interface Adjusted {
  readonly adjustments: readonly Adjustment[];
  readonly beyond: BeyondCri;
}

/** A request that plugins changed. */
export interface AdjustedRequest {
  readonly config: ContainerConfig;
  readonly adjusted: Adjusted;
  /**
   * Writes the changes to the verdict log. Called after the ceilings have allowed them, and before anything
   * runs with them.
   */
  record(): Promise<void>;
}

/** Lets the plugins of the node adjust the request of a container before anything checks it. */
export interface ContainerAdjuster {
  /**
   * Returns the adjusted request, which is bounded by the same ceilings as any request. Undefined: no plugin
   * changed it.
   * @throws PortcullisError NRI_* when a plugin refuses, when two plugins contradict each other, or when a
   * plugin requests something that this runtime does not support
   */
  adjust(container: {
    readonly id: string;
    readonly config: ContainerConfig;
    readonly sandbox: SandboxRecord;
    readonly imageId: string;
    readonly verdictId: string;
    readonly createdAt: string;
  }): Promise<AdjustedRequest | undefined>;
  /** Called when the request has ended: the container is recorded as created, or does not exist. */
  ended(id: string): void;
}

/** A change of a container's resources that a plugin made, and the plugin's name. */
export interface AdjustedResources {
  readonly resources: LinuxContainerResources;
  readonly adjustments: readonly Adjustment[];
  /** As {@link AdjustedRequest.record}. Absent: nothing to write. */
  readonly record?: () => Promise<void>;
}

/** Enough for every field of a container, and a limit for a plugin that sends updates endlessly. */
const mostAdjustments = 512;

/**
 * Returns the adjustments with later ones added. A later adjustment replaces an earlier one of the same field
 * and key.
 */
export function withAdjustments(
  existing: Adjusted | undefined,
  more: readonly Adjustment[],
): Adjusted | undefined {
  if (more.length === 0) return existing;
  const keyOf = ({ field, key, plugin }: Adjustment): string => JSON.stringify([field, key, plugin]);
  const replaced = new Set(more.map(keyOf));
  const kept = (existing?.adjustments ?? []).filter((one) => !replaced.has(keyOf(one)));
  return {
    beyond: existing?.beyond ?? nothingBeyond,
    adjustments: [...kept, ...more].slice(-mostAdjustments),
  };
}

export const nothingBeyond: BeyondCri = {
  removedEnv: [],
  rlimits: [],
  devices: [],
  hooks: [],
};

/** Fields of adjustments that can cause an error, by its code. */
const causes: Readonly<Record<string, readonly string[]>> = {
  RUNTIME_DEVICE_NOT_GRANTED: ['device', 'cdi-device', 'hook'],
  RUNTIME_BAD_DEVICE: ['device'],
  RUNTIME_BAD_CDI_DEVICE: ['cdi-device'],
  RUNTIME_CDI_UNUSABLE: ['cdi-device', 'hook'],
  RUNTIME_HOST_PATH_NOT_GRANTED: ['mount'],
  RUNTIME_BAD_MOUNT: ['mount'],
};

/**
 * Returns the error of a request that plugins adjusted: it names the plugins whose adjustment is or may be
 * the cause. An error that no adjustment can have caused is returned unchanged.
 */
export function blamePlugins(thrown: unknown, adjusted: Adjusted | undefined): unknown {
  if (adjusted === undefined || !isPortcullisError(thrown)) return thrown;
  const { failure } = thrown;
  if (!['invalid', 'denied', 'precondition', 'not-found'].includes(failure.kind)) return thrown;
  const fields = causes[failure.code];
  const candidates = adjusted.adjustments.filter(
    ({ field, action }) => action === 'set' && (fields === undefined || fields.includes(field)),
  );
  const refused = failure.details?.['refused'];
  const texts = Array.isArray(refused) ? refused.map((one) => JSON.stringify(one)) : [];
  const exact = candidates.filter(({ key, value }) =>
    texts.some((text) => text.includes(JSON.stringify(key)) || (value !== undefined && text.includes(value))),
  );
  const blamed = exact.length > 0 ? exact : candidates;
  const plugins = [...new Set(blamed.map(({ plugin }) => plugin))];
  if (plugins.length === 0) return thrown;
  const named = plugins.length === 1 ? 'the NRI plugin' : 'the NRI plugins';
  const nameOf = ({ field, key }: Adjustment): string =>
    key === '' ? field : `${field} ${JSON.stringify(key.slice(0, 300))}`;
  const what = [...new Set(blamed.map(nameOf))];
  const shown = what.length > 4 ? [...what.slice(0, 4), `${what.length - 4} more`] : what;
  return new PortcullisError({
    ...failure,
    why: `${failure.why} (${named} ${plugins.join(', ')} set ${shown.join(', ')})`,
    fix: `${failure.fix}, or change what the plugin does`,
    details: { ...failure.details, plugins },
    cause: thrown,
  });
}
