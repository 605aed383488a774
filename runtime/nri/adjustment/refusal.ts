import { PortcullisError } from '../../../base/errors/index.ts';
import type { Change } from './change.ts';

/** An entry that cannot be applied, and the plugin that asks for it. */
export type Culprit = Pick<Change, 'field' | 'key'> & { readonly plugin: string };

/** An entry that Portcullis does not support. It is refused, never ignored. */
export function unsupported(culprit: Culprit, why: string, fix: string): PortcullisError {
  return refusal('NRI_UNSUPPORTED', 'unimplemented', culprit, why, fix);
}

/** An entry that is not valid. */
export function badAdjustment(culprit: Culprit, why: string, fix: string): PortcullisError {
  return refusal('NRI_BAD_ADJUSTMENT', 'invalid', culprit, why, fix);
}

/** An entry that the configuration of the node does not allow. */
export function notAllowed(culprit: Culprit, why: string, fix: string): PortcullisError {
  return refusal('NRI_NOT_ALLOWED', 'denied', culprit, why, fix);
}

function refusal(
  code: string,
  kind: 'unimplemented' | 'invalid' | 'denied',
  { plugin, field, key }: Culprit,
  why: string,
  fix: string,
): PortcullisError {
  const what = key === '' ? field : `${field} ${JSON.stringify(key.slice(0, 300))}`;
  return new PortcullisError({
    code,
    kind,
    attempted: `apply ${what} of NRI plugin`,
    on: plugin,
    why,
    fix,
    details: { plugin, field, key: key.slice(0, 300) },
  });
}
