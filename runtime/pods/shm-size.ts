import { PortcullisError } from '../../base/errors/index.ts';
import { bytesOf } from '../config/bytes.ts';

const annotation = 'portcullis.dev/shm-size';

/**
 * Returns the size of the pod's /dev/shm, in bytes: the size in the pod's annotation, up to the configured
 * limit, else the configured size. (A pod may also mount an emptyDir of medium Memory there: that replaces
 * ours.)
 * @throws PortcullisError RUNTIME_BAD_SHM_SIZE
 */
export function shmBytes(
  annotations: Readonly<Record<string, string>>,
  configured: { readonly size: string; readonly limit: string },
): number {
  const standard = bytesOf(configured.size) ?? 0;
  if (!Object.hasOwn(annotations, annotation)) return standard;
  const text = annotations[annotation] ?? '';
  const bytes = bytesOf(text);
  const most = Math.max(bytesOf(configured.limit) ?? 0, standard);
  if (bytes !== undefined && bytes >= 4096 && bytes <= most) return bytes;
  throw new PortcullisError({
    code: 'RUNTIME_BAD_SHM_SIZE',
    kind: 'invalid',
    attempted: `read annotation ${annotation}`,
    on: JSON.stringify(text.slice(0, 64)),
    why:
      bytes === undefined
        ? 'it is not a size'
        : `it must be from 4096 bytes to ${configured.limit} (shm.limit of the configuration)`,
    fix: 'write a number of bytes, or a number with Ki, Mi or Gi, such as 256Mi',
  });
}
