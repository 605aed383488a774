import { PortcullisError } from '../../base/errors/index.ts';
import { filesOutside } from '../../trust/policy-release/index.ts';

/**
 * Refuses documents that name a file elsewhere: every node and the webhook must decide the same.
 * @param folder the documents, and the files that they may name
 * @param setting the option that names the folder of these files
 * @throws PortcullisError `POLICY_OBJECTS_OUTSIDE`
 */
export function refuseOutside(
  folder: string,
  loaded: Parameters<typeof filesOutside>[1],
  setting: string,
): void {
  const outside = filesOutside(folder, loaded)[0];
  if (outside === undefined) return;
  throw new PortcullisError({
    code: 'POLICY_OBJECTS_OUTSIDE',
    kind: 'invalid',
    attempted: 'use the policies of the cluster',
    on: outside,
    why: `an object names a file that is not in ${setting}`,
    fix: `put the file into the folder ${setting}, and name it by its relative path`,
  });
}
