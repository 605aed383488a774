import { unknownAnnotations } from '../../entitlements/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { SandboxRecord } from './record.ts';

/** The API server accepts 63 characters for the part after the prefix. Another client may send more. */
const longest = 200;

/**
 * Logs the annotations below `portcullis.dev/` that Portcullis does not know. The pod runs nevertheless: its
 * author may have written them for another version.
 */
export function warnOfUnknownAnnotations(
  log: Pick<Logger, 'warn'>,
  { id, config: { annotations, metadata } }: Pick<SandboxRecord, 'id' | 'config'>,
): void {
  for (const { key, meant } of unknownAnnotations(Object.keys(annotations)))
    log.warn(
      {
        ...{
          id,
          pod: `${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`,
          annotation: key.slice(0, longest),
        },
        ...(meant !== undefined && { meant: meant.slice(0, longest) }),
      },
      'Portcullis does not know an annotation of a pod, which has no effect',
    );
}
