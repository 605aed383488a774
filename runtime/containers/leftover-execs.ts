import { sameProcess } from '../../base/process/index.ts';
import { endLeftoverExecs } from '../oci/exec-files.ts';
import type { ExecScopes } from '../oci/exec-scope.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import { takesCgroup } from '../oci/start-command.ts';
import type { ContainerRecord } from './record.ts';

/** Ends, in every container, the exec commands that ran when a daemon was killed, and removes their files. */
export async function endLeftovers(
  containers: readonly ContainerRecord[],
  parts: {
    readonly scopes: ExecScopes;
    readonly handlers: ReadonlyMap<string, RuntimeHandler>;
    readonly bundle: (containerId: string) => string;
  },
): Promise<void> {
  await Promise.all(
    containers.map(({ id, init, runtimeHandler }) => {
      const handler = parts.handlers.get(runtimeHandler);
      return endLeftoverExecs(parts.scopes, {
        id,
        dir: parts.bundle(id),
        init: init !== undefined && sameProcess(init) ? init.pid : undefined,
        isShim: handler?.tasks !== undefined,
        takesCgroup: handler !== undefined && takesCgroup(handler),
      });
    }),
  );
}
