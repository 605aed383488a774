import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const program = join(import.meta.dirname, '../../node_modules/yaml-language-server/bin/yaml-language-server');

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: unknown;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

export interface Diagnostic {
  readonly range: { readonly start: { readonly line: number; readonly character: number } };
  readonly message: string;
}

/** The YAML language server as an editor starts it (Language Server Protocol 3.17, over standard input). */
export interface LanguageServer {
  /** Opens a document, and returns what the server finds in it. */
  open(uri: string, text: string): Promise<readonly Diagnostic[]>;
  ask(method: string, params: object): Promise<unknown>;
  close(): Promise<void>;
}

/** @param settings the section `yaml` of the editor's settings */
export async function startLanguageServer(settings: object): Promise<LanguageServer> {
  const child = spawn(process.execPath, [program, '--stdio'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  const diagnostics = new Map<string, (found: readonly Diagnostic[]) => void>();
  let received = Buffer.alloc(0);
  let last = 0;

  const send = (message: Message): void => {
    const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message }));
    child.stdin.write(`Content-Length: ${body.length}\r\n\r\n`);
    child.stdin.write(body);
  };
  const take = ({ id, method, params, result, error }: Message): void => {
    if (method === 'workspace/configuration' && id !== undefined) {
      const { items } = params as { items: readonly { section: string }[] };
      send({ id, result: items.map(({ section }) => (section === 'yaml' ? settings : {})) });
    } else if (method === 'textDocument/publishDiagnostics') {
      const found = params as { uri: string; diagnostics: readonly Diagnostic[] };
      diagnostics.get(found.uri)?.(found.diagnostics);
    } else if (method !== undefined && id !== undefined) send({ id, result: null });
    else if (id !== undefined) {
      if (error === undefined) waiting.get(id)?.resolve(result);
      else waiting.get(id)?.reject(new Error(error.message));
      waiting.delete(id);
    }
  };
  child.stdout.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    for (;;) {
      const end = received.indexOf('\r\n\r\n');
      const length = Number(/Content-Length: (\d+)/u.exec(received.toString('latin1', 0, end))?.[1]);
      if (end === -1 || received.length < end + 4 + length) return;
      take(JSON.parse(received.toString('utf8', end + 4, end + 4 + length)) as Message);
      received = received.subarray(end + 4 + length);
    }
  });
  const ask = (method: string, params: object): Promise<unknown> => {
    last += 1;
    const id = last;
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      send({ id, method, params });
    });
  };
  await ask('initialize', {
    processId: process.pid,
    rootUri: null,
    capabilities: { workspace: { configuration: true }, textDocument: { hover: {}, completion: {} } },
  });
  send({ method: 'initialized', params: {} });
  send({ method: 'workspace/didChangeConfiguration', params: { settings: { yaml: settings } } });
  return {
    ask,
    open(uri, text) {
      const found = new Promise<readonly Diagnostic[]>((resolve) => diagnostics.set(uri, resolve));
      send({
        method: 'textDocument/didOpen',
        params: { textDocument: { uri, languageId: 'yaml', version: 1, text } },
      });
      return found;
    },
    async close() {
      const ended = once(child, 'exit');
      child.kill();
      await ended;
    },
  };
}
