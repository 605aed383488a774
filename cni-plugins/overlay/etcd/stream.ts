import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { PortcullisError } from '../../../base/errors/index.ts';
import type { MemberAccess } from './calls.ts';
import { failureOf, isOwnFault, unreachable } from './failures.ts';
import type { Rpc } from './messages.ts';
import type { Stream } from './stream-contract.ts';

/**
 * Opens a stream to the current member. Its failures are OVERLAY_ETCD_UNREACHABLE and OVERLAY_ETCD_DENIED.
 */
export function openStream<Ask, Answer>(
  { members, metadata, leave }: MemberAccess,
  { path, ask, answer }: Rpc<Ask, Answer>,
): Stream<Ask, Answer> {
  const member = members.current();
  const { client, release } = member.take();
  const duplex: ClientDuplexStream<Ask, Answer> = client.makeBidiStreamRequest(
    path,
    ask.encode,
    answer.decode,
    metadata,
  );
  const attempted = 'follow etcd';
  let over = false;
  const isOver = (): boolean => over;
  let abandoned: PortcullisError | undefined;
  const end = (): void => {
    if (!over) release();
    over = true;
    duplex.on('error', () => undefined);
    duplex.cancel();
  };
  return {
    write(value) {
      if (!over) duplex.write(value);
    },
    answers: (async function* () {
      try {
        for await (const each of duplex) {
          members.answered(member);
          yield each as Answer;
        }
        if (!isOver()) throw unreachable(attempted, member.endpoint, 'it ended the stream');
      } catch (thrown) {
        if (!isOver()) {
          end();
          if (!isOwnFault(thrown as ServiceError)) leave(member);
          throw thrown instanceof PortcullisError
            ? thrown
            : failureOf(attempted, member.endpoint, thrown as ServiceError);
        }
      }
      if (abandoned !== undefined) throw abandoned;
    })(),
    close: end,
    abandon(why) {
      if (over) return;
      abandoned = unreachable(attempted, member.endpoint, why);
      leave(member);
      end();
    },
  };
}
