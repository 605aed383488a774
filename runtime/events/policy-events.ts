/**
 * An event type that the CRI does not have; clients get it only when they send {@link policyEventsHeader}.
 */
export const policyEventType = 100;

/** With this header, of any value, a client of GetContainerEvents asks for policy events as well. */
export const policyEventsHeader = 'portcullis-policy-events';

/** Reasons of the container's status in a policy event. */
export const policyReasons = { out: 'OutOfPolicy', in: 'InPolicy' } as const;

/** A running container is out of policy, or in policy again. */
export interface PolicyChange {
  readonly reason: (typeof policyReasons)[keyof typeof policyReasons];
  /** One sentence for people: the rule and the verdict. */
  readonly message: string;
}

/** The id of an enforcement event, in place of a container's id: the event is about the node. */
export const enforcementEventId = 'enforcement';

/** Reasons in an enforcement event, by result. */
export const enforcementReasons = {
  pass: 'EnforcementPass',
  fail: 'EnforcementFail',
  'could not tell': 'EnforcementCouldNotTell',
} as const;

/**
 * The result of the enforcement check: this node refuses what its policy refuses, it does not, or the check
 * could not find out.
 */
export interface EnforcementChange {
  readonly reason: (typeof enforcementReasons)[keyof typeof enforcementReasons];
  /** Codes of the findings, for people. */
  readonly message: string;
}
