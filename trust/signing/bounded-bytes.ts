/** The body of an answer, no larger than what is expected of it. @throws Error */
export async function boundedBytes(answer: Response, maximum: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > maximum) throw new Error(`its answer is larger than ${maximum} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
