import { registerHooks } from 'node:module';
import { mutated } from '../mutants/mutant.ts';
import type { SourceChange } from '../mutants/mutant.ts';

export interface StandIn {
  /** The importing module, matched by the end of its path. */
  readonly of: RegExp;
  /** The import to replace. */
  readonly imported: RegExp;
  /** The replacement. */
  readonly standIn: string;
}

/** The modules through which the image store calls the system. Everything above is product code. */
const ofImages: readonly StandIn[] = [
  {
    of: /\/runtime\/images\/([^/]+|layer-workers\/download)\.ts$|\/base\/storage\/(atomic-file|make-folder)\.ts$/,
    imported: /^node:fs\/promises$/,
    standIn: 'fs-promises',
  },
  {
    of: /\/runtime\/images\/(rootfs|unpack\/file-manifest|layer-workers\/(download|layer\.worker))\.ts$/,
    imported: /^node:fs$/,
    standIn: 'fs',
  },
  { of: /\/runtime\/images\/.*\.ts$/, imported: /\/base\/kernel\/index\.ts$/, standIn: 'kernel' },
  {
    of: /\/runtime\/images\/(shutdown-marker|layer-workers\/layer-pool)\.ts$/,
    imported: /\/base\/process\/index\.ts$/,
    standIn: 'process',
  },
  {
    of: /\/runtime\/images\/layer-workers\/layer\.worker\.ts$/,
    imported: /^node:worker_threads$/,
    standIn: 'worker-threads',
  },
  {
    of: /\/runtime\/images\/layer-workers\/layer\.worker\.ts$/,
    imported: /\/unpack-layer\.ts$/,
    standIn: 'unpack-layer',
  },
];

const servicesThread = /\/services\/control\/services\.worker\.ts$/;
/** The modules through which the thread of services calls the kernel and the disk. */
const ofServices: readonly StandIn[] = [
  {
    of: /\/cni-plugins\/services\/.*\.ts$/,
    imported: /\/base\/netlink\/index\.ts$/,
    standIn: 'netlink-socket',
  },
  {
    of: /\/services\/control\/services(\.worker)?\.ts$/,
    imported: /\/base\/process\/index\.ts$/,
    standIn: 'process',
  },
  {
    of: /\/services\.worker\.ts$|\/base\/process\/serve-thread\.ts$/,
    imported: /^node:worker_threads$/,
    standIn: 'worker-threads',
  },
  { of: servicesThread, imported: /\/database\/database\.ts$/, standIn: 'database' },
  { of: servicesThread, imported: /\/network-services\/follow\.ts$/, standIn: 'follow' },
  {
    of: /\/services\/control\/node-ports\.ts$/,
    imported: /\/namespaces\/namespace-id\.ts$/,
    standIn: 'namespace-id',
  },
  { of: /\/services\/ipvs\/leftovers\.ts$/, imported: /\/link\.ts$/, standIn: 'service-link' },
];

const networkThread = /\/cni-plugins\/engine\/thread\/network\.worker\.ts$/;
const networkModules = /\/cni-plugins\/(namespaces\/(netns|caller)|database\/database)\.ts$/;
/** The modules through which the network's thread calls the kernel and the disk. */
const ofAttachments: readonly StandIn[] = [
  {
    of: /\/cni-plugins\/engine\/thread\/opened-parts\.ts$/,
    imported: /\/host-kernel\.ts$/,
    standIn: 'host-kernel',
  },
  { of: networkThread, imported: /^node:worker_threads$/, standIn: 'worker-threads' },
  { of: /\/cni-plugins\/policy\/index\.ts$/, imported: /\/kubernetes\/folder\.ts$/, standIn: 'policies' },
  {
    of: /\/cni-plugins\/engine\/thread\/engine-thread\.ts$/,
    imported: /\/base\/process\/index\.ts$/,
    standIn: 'process',
  },
  { of: /\/cni-plugins\/libnetwork\/index\.ts$/, imported: /\/client\/attachments\.ts$/, standIn: 'remote' },
  {
    of: /\/cni-plugins\/engine\/thread\/link-watch\.ts$/,
    imported: /\/base\/netlink\/index\.ts$/,
    standIn: 'netlink-events',
  },
  { of: /\/cni-plugins\/engine\/pods\/altered-links\.ts$/, imported: /\/pod-end\.ts$/, standIn: 'pod-end' },
  { of: networkModules, imported: /^node:fs$/, standIn: 'fs' },
  { of: networkModules, imported: /\/base\/kernel\/index\.ts$/, standIn: 'kernel' },
  { of: networkModules, imported: /\/base\/netlink\/index\.ts$/, standIn: 'socket' },
  { of: networkModules, imported: /\/namespace-id\.ts$/, standIn: 'namespace-id' },
  { of: networkModules, imported: /^node:sqlite$/, standIn: 'sqlite' },
  { of: networkModules, imported: /\/base\/storage\/index\.ts$/, standIn: 'storage' },
];

const below = (folder: string, all: readonly StandIn[]): readonly StandIn[] =>
  all.map((one) => ({ ...one, standIn: `${folder}/stand-ins/${one.standIn}.ts` }));
export const standIns: readonly StandIn[] = [
  ...below('images', ofImages),
  ...below('services', ofServices),
  ...below('attachments', ofAttachments),
];

/**
 * Puts the simulated machine below the product, for all modules that are loaded from now on. Call it before
 * the first import of the product: entry points of the simulation import the product after this call.
 */
export function registerStandIns(planted?: SourceChange): void {
  registerHooks({
    resolve: (specifier, context, next) => {
      const { parentURL = '' } = context;
      const found = standIns.find(({ of, imported }) => imported.test(specifier) && of.test(parentURL));
      return found === undefined
        ? next(specifier, context)
        : next(new URL(found.standIn, import.meta.url).href, context);
    },
    load: (url, context, next) => {
      const loaded = next(url, context);
      const isPlanted = planted !== undefined && url.endsWith(`/${planted.file}`);
      if (!isPlanted && !networkThread.test(url)) return loaded;
      const source = isPlanted ? mutated(textOf(loaded.source), planted) : textOf(loaded.source);
      return { ...loaded, source: networkThread.test(url) ? asThread(source) : source };
    },
  });
}

/**
 * Turns a module that is a Worker's whole life into a function, which each simulated Worker runs: the text
 * after the last import is its body.
 */
function asThread(source: string): string {
  const imports = [...source.matchAll(/^import .*;$/gm)].at(-1);
  if (imports === undefined) throw new Error('the thread imports nothing');
  const end = imports.index + imports[0].length;
  return `${source.slice(0, end)}\nexport async function thread() {${source.slice(end)}}\n`;
}

function textOf(source: string | NodeJS.TypedArray | ArrayBuffer | undefined): string {
  if (typeof source === 'string') return source;
  if (source === undefined) throw new Error('a module without a source was loaded');
  return Buffer.from(source as Uint8Array).toString();
}
