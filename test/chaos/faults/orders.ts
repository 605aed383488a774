import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The event at a point: the call fails without an effect, or fails after its effect, or is late; or the
 * thread (`end`) or the process (`kill`) ends just before it or just after it.
 */
export type FaultKind = 'error' | 'after' | 'delay' | 'end' | 'end-after' | 'kill' | 'kill-after';

/** One fault: the nth call of a point in a thread, counted from the order on. */
export interface Fault {
  /** `main`, or the name of a Worker. */
  readonly thread: string;
  readonly point: string;
  readonly nth: number;
  readonly kind: FaultKind;
  /** The name of an errno, or a result code of SQLite; empty when the call does not fail. */
  readonly error: string;
  readonly delayMs: number;
}

/** `record` lists each call of a point; `fault` makes one of them fail. */
export type Orders =
  | { readonly mode: 'off' }
  | { readonly mode: 'record' }
  | { readonly mode: 'fault'; readonly fault: Fault };

/** A call of a point, in the order of the calls. */
export interface Hit {
  readonly thread: string;
  readonly point: string;
  readonly subject: string;
}

/** The environment variable that names the folder. Only `inject.ts` reads it; no file of the product does. */
export const folderVariable = 'PORTCULLIS_FAULTS';
/** The environment variable that names the main thread of another process. */
export const threadVariable = 'PORTCULLIS_FAULTS_THREAD';

export const ordersFile = (folder: string): string => join(folder, 'orders');
export const hitsFile = (folder: string): string => join(folder, 'hits');
/** Exists once the fault of that order has occurred; the thread of the fault creates it. */
export const firedFile = (folder: string, generation: number): string => join(folder, `fired-${generation}`);

/** One read returns all of it: a number that changes with each order, then the order. */
export const ordersSize = 1024;
export const generationDigits = 8;

export function encodeOrders(generation: number, orders: Orders): Buffer {
  const text = `${String(generation).padStart(generationDigits, '0')}${JSON.stringify(orders)}`;
  if (Buffer.byteLength(text) > ordersSize) throw new RangeError('the order is too long');
  return Buffer.from(text.padEnd(ordersSize));
}

/** `THREAD/POINT#NTH=KIND[:ERROR or MILLISECONDS]`, as `--fault` takes it. */
export function writeFault({ thread, point, nth, kind, error, delayMs }: Fault): string {
  const more = kind === 'delay' ? `:${delayMs}` : error === '' ? '' : `:${error}`;
  return `${thread}/${point}#${nth}=${kind}${more}`;
}

/**
 * Parses the text of a fault. @throws TypeError when the text does not have the form that {@link writeFault}
 * writes
 */
export function readFault(text: string): Fault {
  const found = /^(?<thread>[^/]+)\/(?<point>[^#]+)#(?<nth>\d+)=(?<kind>[a-z-]+)(?::(?<more>\w+))?$/.exec(
    text,
  )?.groups;
  if (found === undefined) throw new TypeError(`${text} is not THREAD/POINT#NTH=KIND[:ERROR]`);
  const { thread = '', point = '', nth, more = '' } = found;
  const kind = found['kind'] as FaultKind;
  return {
    thread,
    point,
    nth: Number(nth),
    kind,
    error: kind === 'delay' ? '' : more,
    delayMs: kind === 'delay' ? Number(more) : 0,
  };
}

/** The suite's side: gives orders to every thread of a daemon that runs with `inject.ts`. */
export interface FaultControl {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
  give(orders: Orders): void;
  /** Returns the calls recorded since the last order. */
  hits(): readonly Hit[];
  /** Returns whether the most recently ordered fault has occurred, also after the order that ends it. */
  hasFired(): boolean;
}

/** @param folder created when it does not exist */
export function createFaultControl(folder: string): FaultControl {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  let generation = 0;
  let withFault = 0;
  const control: FaultControl = {
    folder,
    environment: {
      [folderVariable]: folder,
      NODE_OPTIONS: `--import=${join(import.meta.dirname, 'inject.ts')}`,
    },
    give(orders) {
      rmSync(hitsFile(folder), { force: true });
      generation += 1;
      if (orders.mode === 'fault') withFault = generation;
      rmSync(firedFile(folder, generation), { force: true });
      const fd = openSync(ordersFile(folder), generation === 1 ? 'w' : 'r+');
      try {
        writeSync(fd, encodeOrders(generation, orders), 0, ordersSize, 0);
      } finally {
        closeSync(fd);
      }
    },
    hits() {
      return textOf(hitsFile(folder))
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Hit);
    },
    hasFired: () => textOf(firedFile(folder, withFault)) !== '',
  };
  control.give({ mode: 'off' });
  return control;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
