import type { Records } from '../state/records.ts';
import { containerNotFound } from './errors.ts';
import type { ContainerRecord } from './record.ts';

/**
 * Returns a container by its id or an unambiguous prefix of it. A container that is being created does not
 * count.
 * @throws PortcullisError RUNTIME_CONTAINER_NOT_FOUND
 */
export function requireContainer(
  records: Pick<Records<ContainerRecord>, 'find'>,
  idOrPrefix: string,
): ContainerRecord {
  const record = records.find(idOrPrefix);
  if (record === undefined || record.phase === 'creating') throw containerNotFound(idOrPrefix);
  return record;
}
