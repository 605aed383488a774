import { callAdmin } from '../../cni-plugins/index.ts';
import type { AdminApi, AdminOperation, AdminResponse } from '../../cni-plugins/index.ts';
import { failure } from '../../base/errors/index.ts';
import type { CriClient } from '../../runtime/client.ts';

/** How controllers reach the daemon: as any other client does. */
export interface DaemonAccess {
  readonly cri: CriClient;
  readonly adminSocket: string;
}

/** The daemon answers all of these within seconds. */
export const askMs = 30_000;
/** An image of some gigabytes takes minutes. */
export const pullMs = 900_000;

/**
 * Asks the daemon by its admin API.
 * @throws the daemon's own error · NODE_STATE_NO_DAEMON
 */
export async function askDaemonAdmin<Name extends AdminOperation>(
  { adminSocket }: DaemonAccess,
  operation: Name,
  fields: AdminApi[Name]['request'],
): Promise<AdminResponse<Name>> {
  const answer = await callAdmin(adminSocket, operation, fields, askMs);
  if ('value' in answer) return answer.value;
  if (answer.failure !== undefined) throw answer.failure;
  throw failure(
    'NODE_STATE_NO_DAEMON',
    'unavailable',
    'ask the daemon',
    adminSocket,
    answer.why,
    'start portcullisd, or give its socket by --admin-socket; the request is repeated',
  );
}
