import type { Init } from '../../../base/protobuf/index.ts';
import type { ContainerRecord } from '../../containers/record.ts';
import type { Container, PodSandbox } from '../protocol/contract.types.ts';
import { containerMessage } from '../view/container.ts';
import { sandboxMessage } from '../view/sandbox.ts';
import type { NriNode } from './node.ts';

/** Returns a recorded container and its pod as messages; undefined if its pod is gone. */
export function recordMessages(
  { sandboxRecords, imageConfig }: Pick<NriNode, 'sandboxRecords' | 'imageConfig'>,
  record: ContainerRecord,
): { readonly pod: Init<PodSandbox>; readonly container: Init<Container> } | undefined {
  const sandbox = sandboxRecords.get(record.sandboxId);
  if (sandbox === undefined) return undefined;
  const { id, config, adjusted, createdAt, imageId } = record;
  const facts = { id, config, beyond: adjusted?.beyond, sandbox, createdAt, record };
  return {
    pod: sandboxMessage(sandbox),
    container: containerMessage({ ...facts, imageConfig: imageConfig(imageId) }),
  };
}
