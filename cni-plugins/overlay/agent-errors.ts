import { PortcullisError } from '../../base/errors/index.ts';

/** Errors for questions that a host of the overlay cannot answer in its current state. */

export function podsLeft(bridge: string, count: number): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_PODS_LEFT',
    kind: 'precondition',
    attempted: 'leave the overlay',
    on: bridge,
    why: `it has ${count} ${count === 1 ? 'pod' : 'pods'}`,
    fix: 'remove the pods of this host first',
  });
}

export function hasLeft(): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_LEFT',
    kind: 'precondition',
    attempted: 'ask about the overlay',
    on: '',
    why: 'this host has left it',
    fix: 'remove `network.overlay` from the configuration; or restart the daemon to join again',
  });
}

export function notEncrypted(): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_NOT_ENCRYPTED',
    kind: 'precondition',
    attempted: 'change the key of this host',
    on: '',
    why: 'this host does not encrypt, so it has no key',
    fix: 'set `network.overlay.encryption` to wireguard on every host',
  });
}
