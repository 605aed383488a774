/** Hears, in order, what happens in a history: for whoever reads one that failed. */
export type Tell = (event: string) => void;

export const untold: Tell = () => undefined;
