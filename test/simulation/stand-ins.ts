import { registerHooks } from 'node:module';
import { mutated } from '../mutants/mutant.ts';

/** One line of the product, changed: see `planted/`. */
export interface SourceChange {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

interface StandIn {
  /** Whose import it is, by the end of its path. */
  readonly of: RegExp;
  /** What is imported. */
  readonly imported: RegExp;
  /** What is imported instead, below `images/stand-ins`. */
  readonly standIn: string;
}

/** What the image store calls the system by. Everything above is the product's own. */
const standIns: readonly StandIn[] = [
  { of: /\/runtime\/images\/[^/]+\.ts$|\/base\/storage\/atomic-file\.ts$/, imported: /^node:fs\/promises$/, standIn: 'fs-promises.ts' },
  { of: /\/runtime\/images\/(rootfs|unpack\/file-manifest|unpack\/unpack\.worker)\.ts$/, imported: /^node:fs$/, standIn: 'fs.ts' },
  { of: /\/runtime\/images\/.*\.ts$/, imported: /\/base\/kernel\/index\.ts$/, standIn: 'kernel.ts' },
  {
    of: /\/runtime\/images\/(shutdown-marker|unpack\/unpack-pool)\.ts$/,
    imported: /\/base\/process\/index\.ts$/,
    standIn: 'process.ts',
  },
  { of: /\/runtime\/images\/unpack\/unpack\.worker\.ts$/, imported: /^node:worker_threads$/, standIn: 'worker-threads.ts' },
  { of: /\/runtime\/images\/unpack\/unpack\.worker\.ts$/, imported: /\/unpack-layer\.ts$/, standIn: 'unpack-layer.ts' },
];

/**
 * Puts the simulated machine below the image store, for all that is loaded from now on. Called before the first import of the product, so that
 * entry points of the simulation import it when they have called this.
 */
export function registerStandIns(planted?: SourceChange): void {
  registerHooks({
    resolve: (specifier, context, next) => {
      const { parentURL = '' } = context;
      const found = standIns.find(({ of, imported }) => imported.test(specifier) && of.test(parentURL));
      return found === undefined
        ? next(specifier, context)
        : next(new URL(`images/stand-ins/${found.standIn}`, import.meta.url).href, context);
    },
    load: (url, context, next) => {
      const loaded = next(url, context);
      if (planted === undefined || !url.endsWith(`/${planted.file}`)) return loaded;
      return { ...loaded, source: mutated(textOf(loaded.source), planted) };
    },
  });
}

function textOf(source: string | NodeJS.TypedArray | ArrayBuffer | undefined): string {
  if (typeof source === 'string') return source;
  if (source === undefined) throw new Error('a module without a source was loaded');
  return Buffer.from(source as Uint8Array).toString();
}
