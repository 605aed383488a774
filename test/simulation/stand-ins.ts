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
  /** What is imported instead. */
  readonly standIn: string;
}

/** What the image store calls the system by. Everything above is the product's own. */
const ofImages: readonly StandIn[] = [
  { of: /\/runtime\/images\/[^/]+\.ts$|\/base\/storage\/atomic-file\.ts$/, imported: /^node:fs\/promises$/, standIn: 'fs-promises' },
  { of: /\/runtime\/images\/(rootfs|unpack\/file-manifest|unpack\/unpack\.worker)\.ts$/, imported: /^node:fs$/, standIn: 'fs' },
  { of: /\/runtime\/images\/.*\.ts$/, imported: /\/base\/kernel\/index\.ts$/, standIn: 'kernel' },
  { of: /\/runtime\/images\/(shutdown-marker|unpack\/unpack-pool)\.ts$/, imported: /\/base\/process\/index\.ts$/, standIn: 'process' },
  { of: /\/runtime\/images\/unpack\/unpack\.worker\.ts$/, imported: /^node:worker_threads$/, standIn: 'worker-threads' },
  { of: /\/runtime\/images\/unpack\/unpack\.worker\.ts$/, imported: /\/unpack-layer\.ts$/, standIn: 'unpack-layer' },
];

const servicesThread = /\/services\/control\/services\.worker\.ts$/;
/** What the thread of services calls the kernel and the disk by. */
const ofServices: readonly StandIn[] = [
  { of: /\/cni-plugins\/services\/.*\.ts$/, imported: /\/netlink\/socket\.ts$/, standIn: 'netlink-socket' },
  { of: /\/services\/control\/services(\.worker)?\.ts$/, imported: /\/base\/process\/index\.ts$/, standIn: 'process' },
  { of: /\/services\.worker\.ts$|\/base\/process\/serve-thread\.ts$/, imported: /^node:worker_threads$/, standIn: 'worker-threads' },
  { of: servicesThread, imported: /\/attach\/database\.ts$/, standIn: 'database' },
  { of: servicesThread, imported: /\/network-services\/follow\.ts$/, standIn: 'follow' },
  { of: /\/services\/control\/node-ports\.ts$/, imported: /\/attach\/realm\.ts$/, standIn: 'realm' },
  { of: /\/services\/ipvs\/remains\.ts$/, imported: /\/link\.ts$/, standIn: 'service-link' },
];

const below = (folder: string, all: readonly StandIn[]): readonly StandIn[] =>
  all.map((one) => ({ ...one, standIn: `${folder}/stand-ins/${one.standIn}.ts` }));
const standIns = [...below('images', ofImages), ...below('services', ofServices)];

/**
 * Puts the simulated machine below the product, for all that is loaded from now on. Called before the first import of the product, so that
 * entry points of the simulation import it when they have called this.
 */
export function registerStandIns(planted?: SourceChange): void {
  registerHooks({
    resolve: (specifier, context, next) => {
      const { parentURL = '' } = context;
      const found = standIns.find(({ of, imported }) => imported.test(specifier) && of.test(parentURL));
      return found === undefined ? next(specifier, context) : next(new URL(found.standIn, import.meta.url).href, context);
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
