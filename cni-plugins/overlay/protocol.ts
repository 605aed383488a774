import type { SerialisedError } from '../../base/errors/index.ts';
import type { RefusedService, Service } from '../services/model.ts';

/** Between the main thread and the overlay's. */

export interface PeerStatus {
  readonly host: string;
  readonly underlay: string;
  readonly subnets: readonly string[];
  /** Nothing is sent to it, because of this. */
  readonly unreachable?: string;
  /** etcd forgot it; it is sent to until the hold time is over. */
  readonly held: boolean;
}

export interface OverlayStatus {
  readonly name: string;
  readonly host: string;
  /** `joining` until etcd was heard for the first time since the start. */
  readonly state: 'joining' | 'connected' | 'away';
  /** Why it is not connected, or what etcd refused. */
  readonly trouble?: string;
  readonly underlay?: string;
  readonly subnets: readonly string[];
  readonly mtu?: number;
  readonly peers: readonly PeerStatus[];
  /** What was found otherwise in the kernel and put right, since the start. */
  readonly corrected: number;
  /** Changes heard from etcd since the start. */
  readonly changes: number;
  readonly services: number;
}

/** What a command may ask. */
export type OverlayQuestion =
  | { readonly do: 'status' }
  /** Descriptions of services, as text; all or none. */
  | { readonly do: 'spread'; readonly file: string; readonly text: string }
  | { readonly do: 'take-back'; readonly names: readonly string[] }
  /** Gives back what a host that is gone for good has in etcd. */
  | { readonly do: 'release'; readonly host: string };

/** What the overlay wants of this host's services, and hears back. */
export type ControlCall =
  | { readonly do: 'replace' | 'put'; readonly source: string; readonly services: readonly Service[] }
  | { readonly do: 'remove'; readonly source: string; readonly names: readonly string[] };

export type ToOverlay =
  | { readonly ask: OverlayQuestion; readonly sequence: number }
  | { readonly controlled: number; readonly refused: readonly RefusedService[] }
  | { readonly controlled: number; readonly error: SerialisedError }
  | { readonly close: true };

export type FromOverlay =
  | { readonly level: 'info' | 'warn'; readonly fields: object; readonly message: string }
  | { readonly control: ControlCall; readonly sequence: number }
  | { readonly sequence: number; readonly answer: object }
  | { readonly sequence: number; readonly error: SerialisedError }
  | { readonly started: true }
  | { readonly failed: SerialisedError };
