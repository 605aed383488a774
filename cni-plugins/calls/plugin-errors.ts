import { PortcullisError } from '../../base/errors/index.ts';
import type { AttachmentKey } from '../spec/attachment-key.ts';

const nameOf = (key: AttachmentKey): string => `${key.network}/${key.containerId}/${key.interface}`;

export function configInvalid(type: string, problems: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CONFIG_INVALID',
    kind: 'invalid',
    attempted: 'read the configuration of the plugin',
    on: type,
    why: problems.join('; '),
    fix: 'correct the network configuration',
    details: { problems },
  });
}

export function fieldsUnsupported(type: string, problems: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_FIELD_UNSUPPORTED',
    kind: 'unimplemented',
    attempted: 'read the configuration of the plugin',
    on: type,
    why: problems.join('; '),
    fix: 'remove these fields, or give them a value that is supported',
    details: { problems },
  });
}

export function unknownPlugin(type: string, known: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PLUGIN_UNKNOWN',
    kind: 'invalid',
    attempted: 'run the plugin',
    on: type,
    why: 'there is no plugin of that name',
    fix: `use one of ${known.join(', ')}`,
  });
}

export function alreadyAttached(key: AttachmentKey, type: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_ALREADY_ATTACHED',
    kind: 'already-exists',
    attempted: `add ${type} to the attachment`,
    on: nameOf(key),
    why: 'it was added already',
    fix: 'call DEL for it first',
  });
}

export function notAttached(key: AttachmentKey, type: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NOT_ATTACHED',
    kind: 'not-found',
    attempted: `check ${type} of the attachment`,
    on: nameOf(key),
    why: 'it was never added, or was deleted',
    fix: 'call ADD for it',
  });
}

export function differs(key: AttachmentKey, type: string, found: readonly string[]): PortcullisError {
  // Several plugin attachments of an attachment may check the same interface.
  const differences = [...new Set(found)];
  return new PortcullisError({
    code: 'NETWORK_DIFFERS',
    kind: 'precondition',
    attempted: `check ${type} of the attachment`,
    on: nameOf(key),
    why: differences.join('; '),
    fix: 'call DEL and ADD for it; the daemon repairs everything except MAC address, MTU and routes of the pod',
    details: { differences },
  });
}

export function previousResultMissing(type: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PREVIOUS_RESULT_MISSING',
    kind: 'invalid',
    attempted: 'run the plugin',
    on: type,
    why: "the configuration has no 'prevResult'",
    fix: 'place the plugin after one that creates an interface; the runtime passes the result of the previous plugin',
  });
}

/** The error of a CHECK, to which the runtime passes the result of ADD. */
export function addResultMissing(key: AttachmentKey, type: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PREVIOUS_RESULT_MISSING',
    kind: 'invalid',
    attempted: `check ${type} of the attachment`,
    on: nameOf(key),
    why: "the configuration has no 'prevResult', the result of ADD",
    fix: 'call ADD first: it failed, or the runtime has lost its result',
  });
}

/** @param pod NAMESPACE/NAME */
export function policiesNotEnforced(pod: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_POLICIES_NOT_ENFORCED',
    kind: 'unavailable',
    attempted: 'attach the pod',
    on: pod,
    why: 'the daemon applies the NetworkPolicies of this node, and it does not answer',
    fix: 'start the daemon; the runtime tries again',
  });
}

export function notAvailable(type: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NOT_AVAILABLE',
    kind: 'unavailable',
    attempted: 'report the state of the plugin',
    on: type,
    why,
    fix: 'remove the cause; until then the plugin cannot add attachments',
  });
}

export function unknownSandbox(id: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NOT_ATTACHED',
    kind: 'not-found',
    attempted: 'set the link class of sandbox',
    on: id,
    why: 'it is not attached',
    fix: 'attach it first',
  });
}
