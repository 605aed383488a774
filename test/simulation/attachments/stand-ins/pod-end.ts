/** Replaces `links/pod-end.ts`: the simulated pods leave their ends of links as they are. */
export const podEndDifferences = (): readonly string[] => [];
