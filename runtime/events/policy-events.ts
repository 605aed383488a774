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
