import type { Socket } from 'node:net';
import { deserialize, serialize } from 'node:v8';
import type { Credentials, Reference, RegistryClientOptions } from '../../../base/distribution/index.ts';
import type { LayerChunks } from './chunk-index.ts';

/** The daemon cannot talk to a filler of another version: its layers count as unguarded. */
export const fillerVersion = 1;

/** Where the chunks of a layer come from. */
export interface ChunkOrigin {
  readonly registry: RegistryClientOptions;
  readonly reference: Pick<Reference, 'registry' | 'repository'>;
  readonly credentials: Credentials | undefined;
  /** Indexes among the client's repositories for the reference, in the order in which they are asked. */
  readonly places: readonly number[];
}

/** A layer whose file has holes. */
export interface LazyLayer {
  /** Names the layer. */
  readonly folder: string;
  /** The file of the layer, with its final length and everything except the archive. */
  readonly path: string;
  /** Where the blob is written. */
  readonly blobPath: string;
  readonly chunks: LayerChunks;
  readonly origin: ChunkOrigin;
}

/** From the daemon to the filler. */
export type FillerRequest = { readonly id: number } & (
  | { readonly kind: 'hello' }
  /** Guard the file, and fill it. A layer that is known already gets the new origin too. */
  | { readonly kind: 'add'; readonly layer: LazyLayer }
  /** The layer is complete and recorded as such, or is not needed any more. */
  | { readonly kind: 'forget'; readonly folder: string }
);

export type LayerState = 'filling' | 'complete' | 'refused';

/** From the filler to the daemon. */
export type FillerMessage =
  /** The answer to `add` has the state of the layer. */
  | { readonly kind: 'done'; readonly id: number; readonly state?: LayerState }
  | { readonly kind: 'failed'; readonly id: number; readonly why: string }
  | {
      readonly kind: 'hello';
      readonly id: number;
      readonly version: number;
      /** The filler and its keeper. */
      readonly pids: readonly number[];
      readonly layers: readonly { readonly folder: string; readonly state: LayerState }[];
    }
  | { readonly kind: 'state'; readonly folder: string; readonly state: LayerState; readonly why: string }
  | {
      readonly kind: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly fields: Readonly<Record<string, unknown>>;
      readonly text: string;
    };

/** An index of many chunks is part of a request. */
const mostBytes = 512 * 1024 * 1024;

/** Sends one message: its length, and its value in the form of structured clones. */
export function sendMessage(socket: Socket, message: FillerRequest | FillerMessage): void {
  if (socket.destroyed) return;
  const body = serialize(message);
  const head = Buffer.alloc(4);
  head.writeUInt32LE(body.length, 0);
  socket.write(head);
  socket.write(body);
}

/** Calls `hear` with each message. A message that is too long ends the connection. */
export function hearMessages(socket: Socket, hear: (message: unknown) => void): void {
  let parts: Buffer[] = [];
  let bytes = 0;
  const take = (length: number): Buffer => {
    const all = Buffer.concat(parts);
    parts = [all.subarray(length)];
    bytes -= length;
    return all.subarray(0, length);
  };
  let wanted: number | undefined;
  socket.on('data', (part: Buffer) => {
    parts.push(part);
    bytes += part.length;
    for (;;) {
      if (wanted === undefined) {
        if (bytes < 4) return;
        wanted = take(4).readUInt32LE(0);
        if (wanted > mostBytes) {
          socket.destroy(new Error(`a message of ${wanted} bytes`));
          return;
        }
      }
      if (bytes < wanted) return;
      const body = take(wanted);
      wanted = undefined;
      hear(deserialize(body));
    }
  });
}
