/** Receives, in order, the events of a history, for readers of one that failed. */
export type Tell = (event: string) => void;

export const untold: Tell = () => undefined;
