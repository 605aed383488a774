/** Receives, in order, the events of a history, for readers of one that failed. */
export type Report = (event: string) => void;

export const noReport: Report = () => undefined;
