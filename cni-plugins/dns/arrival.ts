import type { IpAddress } from '../spec/address.ts';
import type { Place } from './place.ts';

export interface Arrival {
  /** Holds until the call that it is given to returns. */
  readonly message: Buffer;
  readonly asker: IpAddress;
  readonly byStream: boolean;
  /** Called once, or never for what is not answered. */
  reply(message: Buffer | undefined): void;
}

export interface GateOptions {
  readonly place: Place;
  readonly address: IpAddress;
  readonly port: number;
  readonly onArrival: (arrival: Arrival) => void;
  /** Called between the arrival of some questions and the first of them being handed on. */
  readonly onArrivals: () => void;
  /** A socket failed: the gate is closed. */
  readonly onFailure: (why: string) => void;
}
