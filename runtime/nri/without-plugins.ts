import { PortcullisError } from '../../base/errors/index.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { requiredByPod } from './requests/required.ts';

/**
 * Refuses a container whose pod requires plugins, on a node where NRI is off.
 * @param container its name in the pod
 * @throws PortcullisError NRI_REQUIRED_PLUGIN_MISSING, NRI_BAD_ADJUSTMENT when the annotation is not a list
 */
export function requireNoPlugin(pod: Pick<SandboxRecord, 'config'>, container: string): void {
  const required = requiredByPod(pod, container);
  if (required.length === 0) return;
  throw new PortcullisError({
    code: 'NRI_REQUIRED_PLUGIN_MISSING',
    kind: 'unavailable',
    attempted: 'create container',
    on: container,
    why: `its pod requires the NRI plugins ${required.slice(0, 8).join(', ').slice(0, 1024)}, and NRI is off on this node`,
    fix: 'set nri.enabled in the configuration of the node, or remove the annotation from the pod',
    details: { missing: required.slice(0, 100) },
  });
}
