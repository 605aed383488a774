import { join } from 'node:path';
import type { Kernel } from '../../base/kernel/index.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { parseNetDevices } from './net-devices.ts';
import type { NetDevice } from './net-devices.ts';

/**
 * The number of pods whose network is read in one turn of the namespaces' Worker, so that a pod that starts
 * does not wait longer.
 */
const namespacesAtOnce = 16;

/** Returns the network devices of each pod that has a network namespace of its own, by the id of the pod. */
export async function networksOf(
  kernel: Pick<Kernel, 'readNetFiles'>,
  records: readonly SandboxRecord[],
): Promise<ReadonlyMap<string, readonly NetDevice[]>> {
  const found = new Map<string, readonly NetDevice[]>();
  const own = records.flatMap(({ id, namespacesDir, config }) =>
    namespacesDir === undefined ||
    config.linux?.securityContext?.namespaceOptions?.network === NamespaceMode.NODE
      ? []
      : [{ id, pin: join(namespacesDir, 'net') }],
  );
  for (let at = 0; at < own.length; at += namespacesAtOnce) {
    const some = own.slice(at, at + namespacesAtOnce);
    const texts = await kernel.readNetFiles(
      some.map(({ pin }) => pin),
      'dev',
    );
    some.forEach(({ id }, index) => {
      const text = texts[index];
      if (text !== undefined) found.set(id, parseNetDevices(text));
    });
  }
  return found;
}
