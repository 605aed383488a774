/** The attachment of a row of `host_port`. */
import { parseJson } from '../../base/json/index.ts';
export interface HostPortHolder {
  readonly container_id: string;
  readonly spec: string;
  readonly origin: string;
}

/** Describes the holder of a host port: `pod default/web, sandbox 0123…`. */
export function hostPortHolderText({ container_id: id, spec, origin }: HostPortHolder): string {
  const { pod } = parseJson(spec) as { readonly pod?: { readonly name: string; readonly namespace: string } };
  return `${pod === undefined ? '' : `pod ${pod.namespace}/${pod.name}, `}${origin === 'pod' ? 'sandbox' : 'container'} ${id}`;
}
