import type { Mutant } from './mutant.ts';
import { mutants as certificates } from './mutants-of-certificates.ts';
import { mutants as enforcement } from './mutants-of-enforcement.ts';
import { mutants as flaws } from './mutants-of-flaws.ts';
import { mutants as http } from './mutants-of-http.ts';
import { mutants as images } from './mutants-of-images.ts';
import { mutants as metadata } from './mutants-of-metadata.ts';
import { mutants as network } from './mutants-of-network.ts';
import { mutants as overlay } from './mutants-of-overlay.ts';
import { mutants as runtime } from './mutants-of-runtime.ts';
import { mutants as unpacking } from './mutants-of-unpacking.ts';

/** Every check that `npm run test:mutants` removes. */
export const mutants: readonly Mutant[] = [
  ...certificates,
  ...enforcement,
  ...flaws,
  ...http,
  ...images,
  ...metadata,
  ...network,
  ...overlay,
  ...runtime,
  ...unpacking,
];
