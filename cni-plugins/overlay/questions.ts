import { PortcullisError, isPortcullisError } from '../../base/errors/index.ts';
import type { Service } from '../services/index.ts';
import type { EtcdClient } from './etcd/client.ts';
import { endOf } from './etcd/messages.ts';
import type { OverlayQuestion, OverlayStatus } from './protocol.ts';
import { readClaim } from './records/records.ts';
import type { Keys } from './records/records.ts';
import { isHostName } from './records/settings.ts';
import { spread, takeBack } from './spreading.ts';

interface Asked {
  readonly status: () => OverlayStatus;
  readonly rotateKey: () => Promise<object>;
  readonly leave: () => Promise<object>;
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly host: string;
  /** Services in etcd, as last received. */
  readonly standing: () => Iterable<Service>;
}

/**
 * Answers a command with plain JSON.
 * @throws OVERLAY_SERVICES_INVALID · OVERLAY_SERVICE_UNKNOWN · OVERLAY_NOT_ENCRYPTED · OVERLAY_PODS_LEFT ·
 * OVERLAY_HOST_ALIVE · OVERLAY_HOST_UNKNOWN · OVERLAY_KEY_NOT_ANNOUNCED · OVERLAY_ETCD_UNREACHABLE
 */
export async function answerQuestion(question: OverlayQuestion, asked: Asked): Promise<object> {
  try {
    return await answer(question, asked);
  } catch (thrown) {
    if (isPortcullisError(thrown) && thrown.code === 'OVERLAY_ETCD_DENIED')
      throw unreached(question, thrown, byAdministrator(question));
    throw isPortcullisError(thrown) && thrown.code === 'OVERLAY_ETCD_UNREACHABLE'
      ? unreached(question, thrown)
      : thrown;
  }
}

/** Returns the fix for an act that a host's own role does not allow. */
const byAdministrator = ({ do: what }: OverlayQuestion): string =>
  what === 'release'
    ? "as an administrator, delete the host's keys with etcdctl: docs/overlay.md, section Ownership"
    : 'ask on a host whose role may write `services/`, or give this host such a role: docs/overlay.md, section Ownership';

const attempts: Readonly<Record<OverlayQuestion['do'], string>> = {
  status: 'report the state of this host',
  'rotate-key': 'change the key of this host',
  leave: 'leave the overlay',
  spread: 'publish services to the overlay',
  'take-back': 'remove services from the overlay',
  release: 'release the subnets of the host',
};

/** Names the user's request in the error instead of the call to etcd. */
function unreached(
  question: OverlayQuestion,
  cause: PortcullisError,
  fix = cause.failure.fix,
): PortcullisError {
  const { failure } = cause;
  const on = question.do === 'release' ? question.host : question.do === 'spread' ? question.file : '';
  return new PortcullisError({
    ...failure,
    fix,
    attempted: attempts[question.do],
    on,
    why: `${failure.attempted} ${failure.on}: ${failure.why}`,
    cause,
  });
}

async function answer(
  question: OverlayQuestion,
  { status, rotateKey, leave, client, keys, host, standing: existing }: Asked,
): Promise<object> {
  switch (question.do) {
    case 'status':
      return status();
    case 'rotate-key':
      return rotateKey();
    case 'leave':
      return leave();
    case 'spread':
      return spread(question.file, question.text, { client, keys, standing: existing });
    case 'take-back':
      return takeBack(question.names, { client, keys, standing: existing });
    case 'release': {
      if (!isHostName(question.host)) throw unknownHost(question.host);
      return question.host === host ? Promise.reject(alive(host)) : release(client, keys, question.host);
    }
  }
}

/** Removes all keys of the host in one transaction, and what a daemon of the former version wrote for it. */
async function release(client: EtcdClient, keys: Keys, host: string): Promise<object> {
  const own = keys.own(host);
  const { pairs } = await client.list(own.all);
  const former = (await client.list(`${keys.all}subnets/`)).pairs.filter(
    ({ value }) => readClaim(value)?.host === host,
  );
  if (pairs.length === 0 && former.length === 0) throw unknownHost(host);
  const unless = [own.record, keys.host(host)].map(
    (key) => ({ result: 0, target: 1, key, createRevision: 0 }) as const,
  );
  const isDone = await client.transact(
    [
      ...unless,
      ...former.map(({ key, modRevision }) => ({ result: 0, target: 2, key, modRevision }) as const),
    ],
    [
      { deleteRange: { key: own.all, rangeEnd: endOf(own.all) } },
      ...former.map(({ key }) => ({ deleteRange: { key } })),
    ],
  );
  if (!isDone) throw alive(host);
  const subnets = new Set([
    ...pairs.flatMap(({ key }) => {
      const read = keys.readOwn(key);
      return read?.kind === 'subnets' ? [read.name] : [];
    }),
    ...former.flatMap(({ key }) => {
      const read = keys.read(key);
      return read.kind === 'subnet' ? [read.subnet] : [];
    }),
  ]);
  return { released: [...subnets] };
}

function alive(host: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_HOST_ALIVE',
    kind: 'precondition',
    attempted: 'release the subnets of the host',
    on: host,
    why: 'it still takes part in the overlay',
    fix: 'stop its daemon, remove its pods, and wait until its lease has ended',
  });
}

function unknownHost(host: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_HOST_UNKNOWN',
    kind: 'not-found',
    attempted: 'release the subnets of the host',
    on: host,
    why: 'it has no subnets',
    fix: 'see `portcullis network overlay status` for the names of hosts',
  });
}
