import type { Metadata, ServiceError } from '@grpc/grpc-js';
import type { Connections } from './connections.ts';
import { failureOf, isOwnFault, unreachable } from './failures.ts';
import type { Members } from './members.ts';
import type { Rpc } from './messages.ts';

/** How calls and streams reach the members of etcd. */
export interface MemberAccess {
  readonly members: Members<Connections>;
  /** Sent with each call. */
  readonly metadata: Metadata;
  /** Called with a member that does not answer as it should. */
  leave(member: Connections): void;
  isClosed(): boolean;
}

const deadlineMs = 5000;

/**
 * Makes a call. If a member does not answer, the next member is asked, until each was asked once.
 * @throws OVERLAY_ETCD_UNREACHABLE · OVERLAY_ETCD_DENIED
 */
export async function callEtcd<Ask, Answer>(
  access: MemberAccess,
  rpc: Rpc<Ask, Answer>,
  value: Ask,
): Promise<Answer> {
  for (let left = access.members.size; ; left -= 1) {
    try {
      return await callMember(access, access.members.current(), rpc, value);
    } catch (thrown) {
      const { cause } = thrown as Error;
      if (left <= 1 || access.isClosed() || (cause !== undefined && isOwnFault(cause as ServiceError)))
        throw thrown;
    }
  }
}

function callMember<Ask, Answer>(
  { members, metadata, leave }: MemberAccess,
  member: Connections,
  { path, ask, answer }: Rpc<Ask, Answer>,
  value: Ask,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { client, release } = member.take();
    const deadline = Date.now() + deadlineMs;
    client.makeUnaryRequest(
      path,
      ask.encode,
      answer.decode,
      value,
      metadata,
      { deadline },
      (error, found) => {
        release();
        if (found !== undefined && error === null) {
          members.answered(member);
          return resolve(found);
        }
        if (error === null || !isOwnFault(error)) leave(member);
        reject(
          error === null
            ? unreachable(
                `call ${path.slice(path.lastIndexOf('/') + 1)}`,
                member.endpoint,
                'it answered nothing',
              )
            : failureOf(`call ${path.slice(path.lastIndexOf('/') + 1)}`, member.endpoint, error),
        );
      },
    );
  });
}
