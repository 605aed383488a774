import { constants } from 'node:os';
import { PortcullisError } from '../../base/errors/index.ts';
import { Signal } from '../cri/contract/contract.types.ts';

/** Below it are the two signals that the C library reserves: signal(7). */
const realTimeMin = 34;
const realTimeMax = 64;

/**
 * Returns the number of a signal by its name (`SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `SIGRTMAX-1`).
 * @throws PortcullisError RUNTIME_BAD_SIGNAL
 */
export function signalNumber(name: string): number {
  const plain = name.trim().toUpperCase().replace(/^SIG/, '');
  if (/^\d{1,2}$/.test(plain) && Number(plain) >= 1 && Number(plain) <= 64) return Number(plain);
  const realTime = /^RTM(?:(IN)(?:(?:\+|PLUS)(\d{1,2}))?|AX(?:(?:-|MINUS)(\d{1,2}))?)$/.exec(plain);
  if (realTime !== null) {
    const number =
      realTime[1] === undefined
        ? realTimeMax - Number(realTime[3] ?? 0)
        : realTimeMin + Number(realTime[2] ?? 0);
    if (number >= realTimeMin && number <= realTimeMax) return number;
  }
  const known =
    (constants.signals as Readonly<Record<string, number | undefined>>)[`SIG${plain}`] ??
    (plain === 'CLD' ? 17 : undefined);
  if (known !== undefined) return known;
  throw badSignal(name);
}

function badSignal(name: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_SIGNAL',
    kind: 'invalid',
    attempted: 'find stop signal',
    on: name,
    why: 'the signal does not exist',
    fix: 'use a name such as SIGTERM or a number from 1 to 64',
  });
}

/**
 * Returns the signal that asks a container to stop: that of the pod, else that of the image, else SIGTERM
 * (cri-api ContainerConfig.stop_signal).
 * @throws PortcullisError RUNTIME_BAD_SIGNAL for a number that is not in the CRI
 */
export function stopSignalOf(asked: Signal, image: string): string {
  if (asked !== Signal.SIGNAL_RUNTIME_DEFAULT) {
    const name = Object.entries(Signal).find(([, value]) => value === asked)?.[0];
    if (name === undefined) throw badSignal(String(asked));
    return name.replace('SIGNAL_', '');
  }
  return image === '' ? 'SIGTERM' : image;
}
