import { bashCompletion } from './bash.ts';
import { fishCompletion } from './fish.ts';
import { zshCompletion } from './zsh.ts';

/** The shells, and the function that writes the script of each. */
export const completions = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;
