import type { PluginAttachment } from '../database/plugin-attachments.ts';
import type { GivenAddresses } from '../networks/addresses.ts';
import type { Steps } from './address-program-steps.ts';

/** An address plugin that needs the interface. */
export interface LaterSource {
  /** `ipam.type`. */
  readonly type: string;
  /** Asks for the addresses of the links of the attachment. */
  acquire(links: PluginAttachment): Steps<Acquired | undefined>;
  /** Releases what `acquire` may have got, before the links are removed. */
  letGo(links: PluginAttachment): Steps<void>;
}

export interface Acquired {
  readonly given: GivenAddresses;
  /** Runs in the transaction that records the attachment with the addresses. */
  readonly record?: (part: PluginAttachment) => void;
}
