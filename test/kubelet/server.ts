import { request } from 'node:https';
import { patience } from './patience.ts';

/** The server of the kubelet (:10250), without authentication. */
export interface KubeletServer {
  isReady(): Promise<boolean>;
  /** Sends a GET and returns the text of the answer. Throws for every status except 200. */
  text(path: string): Promise<string>;
  /** Sends a GET and returns the JSON of the answer. */
  json(path: string): Promise<unknown>;
  readonly host: string;
  readonly port: number;
}

export function createKubeletServer(host: string, port: number): KubeletServer {
  const text = (path: string): Promise<string> =>
    new Promise((resolve, reject) => {
      // Its certificate is self-signed.
      const asked = request(
        { host, port, path, rejectUnauthorized: false, timeout: patience(20_000) },
        (answer) => {
          const chunks: Buffer[] = [];
          answer.on('data', (chunk: Buffer) => chunks.push(chunk));
          answer.on('error', reject);
          answer.on('end', () => {
            const body = Buffer.concat(chunks).toString();
            if (answer.statusCode === 200) resolve(body);
            else reject(new Error(`GET ${path}: ${answer.statusCode ?? 0} ${body}`));
          });
        },
      );
      asked.on('timeout', () => asked.destroy(new Error(`GET ${path}: no answer in time`)));
      asked.on('error', reject);
      asked.end();
    });
  return {
    host,
    port,
    text,
    json: async (path) => JSON.parse(await text(path)) as unknown,
    isReady: () =>
      text('/pods').then(
        () => true,
        () => false,
      ),
  };
}
