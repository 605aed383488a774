import { spawn } from 'node:child_process';
import { parseJson } from '../../base/json/index.ts';
import type { Credentials } from '../../base/distribution/index.ts';
import { PortcullisError, reasonOf, orThrow } from '../../base/errors/index.ts';
import { killTree } from '../../base/process/index.ts';
import { recordOf } from '../json/strict-json.ts';

const answerLimit = 64 * 1024;
/** A helper may ask its user. */
const patienceMs = 60_000;
/** Secrets of this command that no helper needs. */
const passphrases = /^(?:(?:PORTCULLIS|NOTARY)_(?:[A-Z]+_)?PASSPHRASE|COSIGN_PASSWORD)$/u;

/**
 * Asks `docker-credential-NAME get` for a registry's credentials (docker-credential-helpers): writes the
 * registry to its standard input and reads the answer as JSON from its standard output. No secret is in an
 * argument, and the output of the helper is never repeated. The helper gets no passphrases of signing keys.
 * @param patience how long the helper may take; milliseconds
 * @returns undefined when the helper has no credentials
 * @throws PortcullisError `TRUST_CREDENTIAL_HELPER`
 */
export async function askHelper(
  name: string,
  registry: string,
  environment: Readonly<Record<string, string | undefined>>,
  patience = patienceMs,
): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  const fail = (why: string): PortcullisError =>
    new PortcullisError({
      code: 'TRUST_CREDENTIAL_HELPER',
      kind: 'precondition',
      attempted: 'ask credential helper',
      on: `${program} for ${registry}`,
      why,
      fix: `install ${program} on the PATH, or remove it from the credential file`,
    });
  // A name with a slash would be a path that the file chooses.
  if (!/^[A-Za-z0-9._-]+$/.test(name)) throw fail('its name is not valid for a credential helper');
  const { code, output } = await run(program, registry, environment, patience).catch((error: unknown) => {
    throw fail(
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such program' : reasonOf(error),
    );
  });
  if (code !== 0) {
    // The protocol's own message for "no credentials". Any other output may contain secrets.
    if (/credentials not found|no credentials server URL|no credentials username/i.test(output))
      return undefined;
    throw fail(`it ended with ${code === null ? 'a signal' : `exit code ${code}`}`);
  }
  const answer: Readonly<Record<string, unknown>> = orThrow(
    () => recordOf(parseJson(output)) ?? {},
    () => fail('its answer is not JSON'),
  );
  const { Username: username, Secret: secret } = answer;
  if (typeof username !== 'string' || typeof secret !== 'string')
    throw fail('its answer has no Username and Secret');
  // This user name means that the secret is an identity token.
  return username === '<token>' ? { identityToken: secret } : { username, password: secret };
}

function run(
  program: string,
  input: string,
  environment: Readonly<Record<string, string | undefined>>,
  patience: number,
): Promise<{ readonly code: number | null; readonly output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['get'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: Object.fromEntries(Object.entries(environment).filter(([name]) => !passphrases.test(name))),
    });
    const end = (why: string): void => {
      // A helper is often a script that waits for the program that hangs. It has no process group of its own,
      // because it may ask its user, and only the foreground group reads from the terminal.
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
        killTree(child.pid);
      // A process that the helper started before it ended may still hold the pipe.
      child.stdout.destroy();
      child.unref();
      reject(new Error(why));
    };
    const late = setTimeout(end, patience, `it did not answer within ${patience / 1000} seconds`);
    const chunks: Buffer[] = [];
    let size = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > answerLimit) end('its answer is longer than the limit');
      else chunks.push(chunk);
    });
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(late);
      resolve({ code, output: Buffer.concat(chunks).toString('utf8') });
    });
    // A helper may exit without reading its input.
    child.stdin.on('error', () => undefined);
    child.stdin.end(`${input}\n`);
  });
}
