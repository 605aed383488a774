import { parseJson } from '../../base/json/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { SandboxRecord } from '../pods/record.ts';

/** The content of the documents of an archive. */
export interface DocumentInput {
  readonly record: ContainerRecord;
  readonly sandbox: Pick<SandboxRecord, 'config'> | undefined;
  /** The digest or id of the image that ran. */
  readonly runtime: string;
  /** The OCI specification of the container, as text. */
  readonly spec: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * Returns `config.dump`, which identifies the container for checkpointctl and other runtimes
 * (checkpoint-restore/checkpointctl, lib/metadata.go: ContainerConfig).
 */
export function configDump({ record, runtime, now }: DocumentInput): string {
  const time = (nanoseconds: string): string =>
    new Date(Number(BigInt(nanoseconds) / 1_000_000n)).toISOString();
  return JSON.stringify({
    id: record.id,
    name: record.config.metadata?.name ?? '',
    rootfsImage: record.imageId,
    rootfsImageRef: record.imageRef,
    rootfsImageName: record.config.image?.userSpecifiedImage || record.config.image?.image || record.imageRef,
    runtime,
    createdTime: time(record.createdAt),
    checkpointedTime: new Date(now).toISOString(),
    restoredTime: new Date(0).toISOString(),
    restored: false,
  });
}

/**
 * Returns `spec.dump`: the specification of the container with the annotations from which readers of archives
 * take its names. It contains the environment variables, which are also in the memory image.
 */
export function specDump({ record, sandbox, spec }: DocumentInput): string {
  const document = parseJson(spec) as { annotations?: Readonly<Record<string, string>> };
  const metadata = sandbox?.config.metadata;
  return JSON.stringify({
    ...document,
    annotations: {
      ...document.annotations,
      'io.kubernetes.cri.container-type': 'container',
      'io.kubernetes.cri.container-name': record.config.metadata?.name ?? '',
      'io.kubernetes.cri.sandbox-id': record.sandboxId,
      'io.kubernetes.cri.sandbox-name': metadata?.name ?? '',
      'io.kubernetes.cri.sandbox-namespace': metadata?.namespace ?? '',
      'io.kubernetes.cri.sandbox-uid': metadata?.uid ?? '',
      'io.kubernetes.cri.image-name': record.imageRef,
    },
  });
}
