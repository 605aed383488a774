import type { IncomingMessage } from 'node:http';
import { Busboy } from '@fastify/busboy';
import type { BusboyInstance } from '@fastify/busboy';
import { collectBytes } from '../../base/lists/index.ts';
import { isRefusal, refuse } from './refusal.ts';
import type { Refusal } from './refusal.ts';

/** One posted file. */
export interface Upload {
  /** The file name of the part, without `.json` at its end. */
  readonly name: string;
  readonly bytes: Buffer;
}

export interface UploadLimits {
  /** Maximum size of all parts together. */
  readonly bytes: number;
  readonly parts: number;
  /** Bytes that are still free for all uploads that are being received. */
  readonly memory: { free: number };
}

/** Parts with the name of their field: `notary`, `files` or any other. The caller distinguishes them. */
export type Uploads = readonly (Upload & { readonly field: string })[];

/**
 * Reads multipart/form-data, one file per part, as Notary's clients post it. Nothing is written to disk, and
 * memory use stays within the limit.
 * @returns MALFORMED_UPLOAD for another type of body, or one that is cut off or too large; NO_FILENAME for a
 * part without a file name; UNAVAILABLE when other uploads use the remaining memory. The returned uploads
 * hold memory until {@link releaseUploads}
 */
export function readUploads(request: IncomingMessage, limits: UploadLimits): Promise<Uploads | Refusal> {
  const type = request.headers['content-type'] ?? '';
  if (!/^multipart\/form-data\s*;/iu.test(type)) return Promise.resolve(refuse('MALFORMED_UPLOAD'));
  if (Number(request.headers['content-length'] ?? 0) > limits.bytes)
    return Promise.resolve(refuse('MALFORMED_UPLOAD'));
  return new Promise((resolve) => {
    const uploads: (Upload & { readonly field: string })[] = [];
    let [bytes, done] = [0, false];
    const end = (outcome: Uploads | Refusal): void => {
      if (done) return;
      done = true;
      if (isRefusal(outcome)) limits.memory.free += bytes;
      request.unpipe(parser);
      request.resume();
      resolve(outcome);
    };
    const malformed = (): void => end(refuse('MALFORMED_UPLOAD'));
    const parser = reader(type, limits);
    if (parser === undefined) {
      resolve(refuse('MALFORMED_UPLOAD'));
      return;
    }
    const take = (length: number): void => {
      bytes += length;
      limits.memory.free -= length;
      if (bytes > limits.bytes) malformed();
      else if (limits.memory.free < 0) end(refuse('UNAVAILABLE'));
    };
    parser.on('file', (field, stream, fileName) => {
      const content = collectBytes();
      const name = (fileName as string | undefined) ?? '';
      if (!done) take(namesIn({ field, name }));
      stream.on('data', (chunk: Buffer) => {
        if (!done) take(chunk.length);
        if (!done) content.add(chunk);
      });
      stream.on('error', malformed);
      stream.on('limit', malformed);
      stream.on('end', () => done || uploads.push({ field, name, bytes: content.join() }));
    });
    // A part without a file name is not a file.
    parser.on('field', () => end(refuse('NO_FILENAME')));
    parser.on('partsLimit', malformed);
    parser.on('filesLimit', malformed);
    parser.on('error', malformed);
    parser.on('finish', () => end(uploads));
    request.on('aborted', malformed);
    request.on('error', malformed);
    request.pipe(parser);
  });
}

/** Releases the memory of uploads that are no longer used. */
export function releaseUploads(uploads: Uploads, { memory }: UploadLimits): void {
  memory.free += uploads.reduce((sum, one) => sum + one.bytes.length + namesIn(one), 0);
}

/** Names count as well: a part without content may have a name of 80 KB. */
const namesIn = ({ field, name }: { readonly field: string; readonly name: string }): number =>
  field.length + name.length;

function reader(type: string, { bytes, parts }: UploadLimits): BusboyInstance | undefined {
  try {
    const limits = { fileSize: bytes, files: parts, parts, fields: 1, headerPairs: 16 };
    // Roles such as `targets/releases` are paths: they must not be reduced to their last segment.
    return new Busboy({ headers: { 'content-type': type }, limits, preservePath: true });
  } catch {
    return undefined;
  }
}
