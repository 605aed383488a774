import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';

/**
 * Where a passphrase comes from when it is needed. Never from the command line, which any process may read.
 */
export interface PassphraseSource {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** A file whose first line is the passphrase. */
  readonly file?: string;
  /** Asks the user; absent when there is no terminal. */
  readonly prompt?: (question: string) => Promise<string>;
}

const mostPassphraseFileBytes = 64 * 1024;

/**
 * Returns the passphrase from the file, else from PORTCULLIS_PASSPHRASE or COSIGN_PASSWORD (an empty one
 * counts), else from the prompt.
 * @throws PortcullisError `TRUST_PASSPHRASE_MISSING`, `TRUST_PASSPHRASE_UNREADABLE`
 */
export async function readPassphrase(source: PassphraseSource, question: string): Promise<string> {
  if (source.file !== undefined) {
    try {
      return (
        (await readGivenFile(source.file, mostPassphraseFileBytes)).toString('utf8').split(/\r?\n/, 1)[0] ??
        ''
      );
    } catch (error) {
      throw new PortcullisError({
        code: 'TRUST_PASSPHRASE_UNREADABLE',
        kind: 'invalid',
        attempted: 'read passphrase file',
        on: source.file,
        why: fileReason(error, source.file),
        fix: 'name a readable file whose first line is the passphrase',
      });
    }
  }
  const given = source.environment['PORTCULLIS_PASSPHRASE'] ?? source.environment['COSIGN_PASSWORD'];
  if (given !== undefined) return given;
  if (source.prompt !== undefined) return source.prompt(question);
  throw new PortcullisError({
    code: 'TRUST_PASSPHRASE_MISSING',
    kind: 'invalid',
    attempted: 'read passphrase',
    on: '',
    why: 'a private key is encrypted with a passphrase, and there is no terminal to ask for it',
    fix: 'set PORTCULLIS_PASSPHRASE or COSIGN_PASSWORD, or name a file with --passphrase-file',
  });
}

/** A user who mistypes a passphrase is asked this often. */
const mostEntries = 3;

/**
 * Returns a passphrase for a new key. Like {@link readPassphrase}, but asks twice when a user types the
 * passphrase, and again if the entries differ, at most 3 times.
 * @throws PortcullisError `TRUST_PASSPHRASE_DIFFERS`, and the errors of readPassphrase
 */
export async function readNewPassphrase(source: PassphraseSource, question: string): Promise<string> {
  const { prompt } = source;
  if (prompt === undefined) return readPassphrase(source, question);
  const twice = async (first: string): Promise<string> => {
    for (let entry = 1; entry <= mostEntries; entry++) {
      const words = await prompt(entry === 1 ? first : `The two entries differ.\n${first}`);
      if (words === (await prompt('Again: '))) return words;
    }
    throw new PortcullisError({
      code: 'TRUST_PASSPHRASE_DIFFERS',
      kind: 'invalid',
      attempted: 'read passphrase',
      on: '',
      why: 'the two entries differ',
      fix: 'type the same passphrase twice',
    });
  };
  return readPassphrase({ ...source, prompt: twice }, question);
}

/**
 * Returns the source for a command: the environment of the process, `file` when given, and the terminal,
 * without echo.
 */
export function processPassphrase(file?: string): PassphraseSource {
  return {
    environment: process.env,
    ...(file === undefined ? {} : { file }),
    ...(process.stdin.isTTY && process.stderr.isTTY ? { prompt: promptWithoutEcho } : {}),
  };
}

function promptWithoutEcho(question: string): Promise<string> {
  process.stderr.write(question);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: silent, terminal: true });
  return new Promise((resolve, reject) => {
    lines.once('line', (line) => {
      resolve(line);
      lines.close();
    });
    lines.once('SIGINT', () => lines.close());
    lines.once('close', () => {
      process.stderr.write('\n');
      reject(
        new PortcullisError({
          code: 'TRUST_PASSPHRASE_MISSING',
          kind: 'cancelled',
          attempted: 'read passphrase',
          on: '',
          why: 'no passphrase was entered',
          fix: 'type the passphrase, or set PORTCULLIS_PASSPHRASE',
        }),
      );
    });
  });
}
