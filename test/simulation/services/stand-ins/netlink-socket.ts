import { constants } from 'node:os';
import { NETLINK_NETFILTER } from '../../../../base/kernel/index.ts';
import { kernelRefused } from '../../../../base/netlink/index.ts';
import type { NetlinkSocket, Outcome, Request, Received } from '../../../../base/netlink/index.ts';
import { effect, servicesMachine } from '../machine.ts';

/**
 * Replaces `base/netlink`: nf_tables of the simulated kernel. It has no connection tracking, and no
 * links but the loopback.
 */
export * from '../../../../base/netlink/index.ts';

const batchBegin = 0x10;
const subsystems = { connections: 1, nfTables: 10 } as const;

const refusal = (request: Request | undefined, errno: string) =>
  kernelRefused(
    request ?? { what: 'ask', on: 'the kernel' },
    (constants.errno as Readonly<Record<string, number>>)[errno] ?? 5,
    'simulated',
  );

const refusedBy = (request: Request, errno: string): Outcome => ({
  answers: [],
  refused: { errno, error: () => refusal(request, errno) },
});

export function openNetlink(protocol: number): NetlinkSocket {
  effect(
    'read',
    'opening of a socket',
    (errno) =>
      refusal({ what: 'open', on: 'a netlink socket', type: 0, flags: 0, body: Buffer.alloc(0) }, errno),
    () => undefined,
  );
  const { kernel } = servicesMachine();
  const answersTo = (request: Request): readonly Received[] | { readonly errno: string } => {
    const subsystem = request.type >> 8;
    if (protocol !== NETLINK_NETFILTER) return { errno: 'ENODEV' };
    return subsystem === subsystems.connections ? [] : kernel.ask(request);
  };
  const outcomeOf = (request: Request): Outcome => {
    const answers = answersTo(request);
    return 'errno' in answers ? refusedBy(request, answers.errno) : { answers };
  };
  const send: NetlinkSocket['send'] = (requests) => {
    // Requests outside a transaction delete connections, of which there are none.
    if (requests[0]?.type !== batchBegin) return [];
    const batch = requests.slice(1, -1);
    const refused = effect(
      'kernel',
      'transaction of nf_tables',
      (errno) => refusal(batch[0], errno),
      () => kernel.commit(batch),
    );
    return refused === undefined
      ? []
      : [{ index: refused.index + 1, error: refusal(batch[refused.index], refused.errno) }];
  };
  const exchange: NetlinkSocket['exchange'] = (requests) => requests.map(outcomeOf);
  const ask = (request: Request): readonly Received[] => {
    const [outcome] = exchange([request]);
    if (outcome?.refused !== undefined) throw outcome.refused.error();
    return outcome?.answers ?? [];
  };
  // A list needs memory, and a concurrent change of the listed objects interrupts it.
  const dump: NetlinkSocket['dump'] = (request) =>
    effect(
      'kernel',
      'list of the kernel',
      (errno) => refusal(request, errno),
      () => ask(request),
    );
  return {
    fd: -1,
    send,
    sendAhead: (requests) => {
      const refusals = send(requests);
      return () => refusals;
    },
    exchange,
    ask,
    dump,
    first(request, most) {
      const listed = dump(request);
      return { listed: listed.slice(0, most), whole: listed.length <= most };
    },
    run: (requests) => {
      for (const request of requests) ask(request);
    },
    find: (request, ...absent) => {
      const [outcome] = exchange([request]);
      if (outcome?.refused !== undefined && !absent.includes(outcome.refused.errno))
        throw outcome.refused.error();
      return outcome?.refused === undefined ? outcome?.answers[0] : undefined;
    },
    askingOnce: (body) => body(),
    runApart: () => Promise.resolve(),
    close: () => undefined,
  };
}
