import type { OutputRoom } from '../../base/kernel/index.ts';

/**
 * Bytes kept of both streams together, so that the answer always fits: a kubelet accepts 16 MiB per message.
 */
const answerLimit = 16 * 1024 * 1024 - 4096;
/**
 * Bytes that each command keeps in any case. A kubelet reads 10 KiB of a probe's output, so a pod whose
 * commands print much cannot shorten the output that counts of the probes of another pod.
 */
const ownBytes = 64 * 1024;

/**
 * The bytes that all running commands keep together beyond their own: any number of containers can have
 * probes that print 16 MiB at the same time.
 */
export const sharedOutput = 64 * 1024 * 1024;

/** The room for the output of one command. */
export interface CommandRoom extends OutputRoom {
  /** Returns which limit the output reaches first. */
  limit(): 'answer' | 'shared';
  /** Gives back what it took of the shared room. */
  close(): void;
}

/**
 * Opens the room of one command, which takes from the shared room what exceeds 64 KiB.
 * @param shared one object for all commands
 */
export function openCommandRoom(shared: OutputRoom): CommandRoom {
  let left = answerLimit;
  let own = ownBytes;
  let taken = 0;
  return {
    get bytes() {
      return Math.min(left, own + shared.bytes);
    },
    set bytes(remaining) {
      const used = this.bytes - remaining;
      const ofOwn = Math.min(own, used);
      own -= ofOwn;
      left -= used;
      shared.bytes -= used - ofOwn;
      taken += used - ofOwn;
    },
    limit: () => (left <= own + shared.bytes ? 'answer' : 'shared'),
    close: () => {
      shared.bytes += taken;
      taken = 0;
      left = 0;
    },
  };
}
