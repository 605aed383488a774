/** One PEM block (RFC 7468). */
export interface PemBlock {
  readonly type: string;
  readonly content: Buffer;
}

/** Returns the only PEM block of a text, or the reason why there is none. */
export function readPem(text: string): PemBlock | { readonly problem: string } {
  const blocks = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----/g)];
  const [block] = blocks;
  if (block === undefined) return { problem: 'it is not PEM' };
  if (blocks.length > 1) return { problem: `it holds ${blocks.length} PEM blocks, not one` };
  return {
    type: block[1] as string,
    content: Buffer.from((block[2] as string).replace(/\s/g, ''), 'base64'),
  };
}

export function writePem(type: string, content: Uint8Array): string {
  const base64 = Buffer.from(content).toString('base64');
  return `-----BEGIN ${type}-----\n${base64.replace(/(.{64})(?=.)/g, '$1\n')}\n-----END ${type}-----\n`;
}
