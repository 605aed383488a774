/** A type of event that CRI does not have; clients get it only when they send {@link policyEventsHeader}. */
export const policyEventType = 100;

/** The header by which a client of GetContainerEvents asks for policy events as well; any value. */
export const policyEventsHeader = 'portcullis-policy-events';

/** Reasons of the container's status in a policy event. */
export const policyReasons = { out: 'OutOfPolicy', in: 'InPolicy' } as const;

/** A container that runs is not what the policy in force admits, or is so again. */
export interface PolicyChange {
  readonly reason: (typeof policyReasons)[keyof typeof policyReasons];
  /** One sentence for people: the rule and the verdict. */
  readonly message: string;
}

/** The id that an enforcement event has in the place of a container's: it is about the node. */
export const enforcementEventId = 'enforcement';

/** Reasons in an enforcement event, by result. */
export const enforcementReasons = {
  pass: 'EnforcementPass',
  fail: 'EnforcementFail',
  'could not tell': 'EnforcementCouldNotTell',
} as const;

/** Whether this node refuses what its policy refuses was found to be so, otherwise, or not to be seen. */
export interface EnforcementChange {
  readonly reason: (typeof enforcementReasons)[keyof typeof enforcementReasons];
  /** Codes of the findings, for people. */
  readonly message: string;
}
