/**
 * Frees the memory of a buffer. The garbage collector does it later: it counts only its own small objects,
 * and a hundred megabytes of buffers can wait for it. Memory that the buffer shares with others stays.
 */
export function freeBuffer({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength && !buffer.detached) {
    buffer.transfer(0);
  }
}
