import { attempt } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';

/** The attachment of a row of `host_port`. */
export interface HostPortHolder {
  readonly container_id: string;
  readonly spec: string;
  readonly origin: string;
}

/** Describes the holder of a host port: `pod default/web (sandbox 0123…)`. */
export function hostPortHolderText({ container_id: id, spec, origin }: HostPortHolder): string {
  // The record of a pod may be damaged.
  const { pod } = (attempt(() => parseJson(spec)) ?? {}) as {
    readonly pod?: { readonly name: string; readonly namespace: string };
  };
  const owner = `${origin === 'pod' ? 'sandbox' : 'container'} ${id}`;
  return pod === undefined ? owner : `pod ${pod.namespace}/${pod.name} (${owner})`;
}
