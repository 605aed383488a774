import { constants } from 'node:os';
import { PortcullisError } from '../../base/errors/index.ts';
import { Signal } from '../cri/contract/contract.types.ts';

const realTimeMin = 34;

/**
 * The number of a signal by its name (`SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `SIGRTMAX-1`).
 * @throws PortcullisError RUNTIME_BAD_SIGNAL
 */
export function signalNumber(name: string): number {
  const plain = name.trim().toUpperCase().replace(/^SIG/, '');
  if (/^\d{1,2}$/.test(plain) && Number(plain) >= 1 && Number(plain) <= 64) return Number(plain);
  const realTime = /^RTM(IN|AX)(?:([+-])(\d{1,2})|(?:PLUS|MINUS)(\d{1,2}))?$/.exec(plain);
  if (realTime !== null) {
    const offset = Number(realTime[3] ?? realTime[4] ?? 0);
    return realTime[1] === 'IN' ? realTimeMin + offset : 64 - offset;
  }
  const known = (constants.signals as Readonly<Record<string, number | undefined>>)[`SIG${plain}`] ?? (plain === 'CLD' ? 17 : undefined);
  if (known !== undefined) return known;
  throw new PortcullisError({
    code: 'RUNTIME_BAD_SIGNAL',
    kind: 'invalid',
    attempted: 'find stop signal',
    on: name,
    why: 'there is no such signal',
    fix: 'use a name such as SIGTERM or a number from 1 to 64',
  });
}

/** The signal that asks a container to stop: the pod's word, else the image's, else SIGTERM (cri-api ContainerConfig.stop_signal). */
export function stopSignalOf(asked: Signal, image: string): string {
  if (asked !== Signal.SIGNAL_RUNTIME_DEFAULT) {
    const name = Object.entries(Signal).find(([, value]) => value === asked)?.[0];
    if (name !== undefined) return name.replace('SIGNAL_', '');
  }
  return image === '' ? 'SIGTERM' : image;
}
