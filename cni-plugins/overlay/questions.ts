import { PortcullisError, isPortcullisError } from '../../base/errors/index.ts';
import type { Service } from '../services/model.ts';
import type { EtcdClient } from './etcd/client.ts';
import type { Comparison } from './etcd/messages.ts';
import { addressHolder } from './network-services/records.ts';
import type { OverlayQuestion, OverlayStatus } from './protocol.ts';
import { readClaim } from './records.ts';
import type { Keys } from './records.ts';
import { spread, takeBack } from './spreading.ts';

interface Asked {
  readonly status: () => OverlayStatus;
  readonly rotateKey: () => Promise<object>;
  readonly leave: () => Promise<object>;
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly host: string;
  /** Services that stand in etcd, as this host heard last. */
  readonly standing: () => Iterable<Service>;
}

/** etcd takes 128 operations in one transaction unless it is told otherwise. */
const mostSteps = 100;

/**
 * Answers a command with plain JSON.
 * @throws OVERLAY_SERVICES_INVALID · OVERLAY_SERVICE_UNKNOWN · OVERLAY_NOT_ENCRYPTED · OVERLAY_PODS_LEFT · OVERLAY_HOST_ALIVE · OVERLAY_HOST_UNKNOWN · OVERLAY_ETCD_UNREACHABLE
 */
export async function answerQuestion(question: OverlayQuestion, asked: Asked): Promise<object> {
  try {
    return await answer(question, asked);
  } catch (thrown) {
    throw isPortcullisError(thrown) && thrown.code === 'OVERLAY_ETCD_UNREACHABLE' ? unreached(question, thrown) : thrown;
  }
}

const attempts: Readonly<Record<OverlayQuestion['do'], string>> = {
  status: 'say how this host stands',
  'rotate-key': 'change the key of this host',
  leave: 'leave the overlay',
  spread: 'spread services over the overlay',
  'take-back': 'take services back from the overlay',
  release: 'give back the subnets of the host',
};

/** What was asked for, in front of what etcd was asked for in its place. */
function unreached(question: OverlayQuestion, cause: PortcullisError): PortcullisError {
  const { failure } = cause;
  const on = question.do === 'release' ? question.host : question.do === 'spread' ? question.file : '';
  return new PortcullisError({
    ...failure,
    attempted: attempts[question.do],
    on,
    why: `${failure.attempted} ${failure.on}: ${failure.why}`,
    cause,
  });
}

async function answer(question: OverlayQuestion, { status, rotateKey, leave, client, keys, host, standing }: Asked): Promise<object> {
  switch (question.do) {
    case 'status':
      return status();
    case 'rotate-key':
      return rotateKey();
    case 'leave':
      return leave();
    case 'spread':
      return spread(question.file, question.text, { client, keys, standing });
    case 'take-back':
      return takeBack(question.names, { client, keys, standing });
    case 'release': {
      if (question.host === host || (await client.get(keys.host(question.host))) !== undefined) throw alive(question.host);
      const listing = await client.list(`${keys.all}subnets/`);
      const claims = listing.pairs.filter(({ value }) => readClaim(value)?.host === question.host);
      if (claims.length === 0 || question.host === addressHolder) throw unknownHost(question.host);
      const unless = { result: 0, target: 1, key: keys.host(question.host), createRevision: 0 } as const;
      const compare = claims.map(({ key, modRevision }) => ({ result: 0, target: 2, key, modRevision }) as const);
      if (!(await releaseHoldings(client, keys, question.host, unless))) throw alive(question.host);
      const isDone = await client.transact(
        [unless, ...compare],
        claims.map(({ key }) => ({ deleteRange: { key } })),
      );
      if (!isDone) throw alive(question.host);
      return {
        released: claims.flatMap(({ key }) => {
          const read = keys.read(key);
          return read.kind === 'subnet' ? [read.subnet] : [];
        }),
      };
    }
  }
}

/** What members of the host had of services: others let go of them now. @returns false: the host is there */
async function releaseHoldings(client: EtcdClient, keys: Keys, host: string, unless: Comparison): Promise<boolean> {
  const { pairs } = await client.list(`${keys.all}holders/`);
  const held = pairs.filter(({ key }) => {
    const read = keys.read(key);
    return read.kind === 'holder' && read.host === host;
  });
  let isGone = true;
  await inSteps(held, async (some) => {
    isGone &&= await client.transact(
      [unless],
      some.map(({ key }) => ({ deleteRange: { key } })),
    );
  });
  return isGone;
}

async function inSteps<Item>(items: readonly Item[], act: (some: readonly Item[]) => Promise<unknown>): Promise<void> {
  for (let at = 0; at < items.length; at += mostSteps) await act(items.slice(at, at + mostSteps));
}

function alive(host: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_HOST_ALIVE',
    kind: 'precondition',
    attempted: 'give back the subnets of the host',
    on: host,
    why: 'it is in the overlay',
    fix: 'stop its daemon, remove its pods, and wait until its lease has ended',
  });
}

function unknownHost(host: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_HOST_UNKNOWN',
    kind: 'not-found',
    attempted: 'give back the subnets of the host',
    on: host,
    why: 'it has none',
    fix: 'see `portcullis network overlay status` for the names of hosts',
  });
}
