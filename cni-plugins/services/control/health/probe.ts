import { spawn } from 'node:child_process';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import type { HealthCheck } from '../../model.ts';

/** Who is asked. */
export interface Probed {
  readonly address: string;
  readonly port: number;
}

/**
 * One check, from this network namespace; undefined: well, else why not. Never throws, and ends within the time limit of the check.
 */
export function probe(check: HealthCheck, backend: Probed): Promise<string | undefined> {
  switch (check.kind) {
    case 'tcp':
      return probeTcp(check, backend);
    case 'http':
      return probeHttp(check, backend);
    case 'exec':
      return probeExec(check, backend);
  }
}

function probeTcp({ timeoutSeconds }: HealthCheck, { address, port }: Probed): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const done = (why?: string): void => {
      clearTimeout(late);
      socket.destroy();
      resolve(why);
    };
    const late = setTimeout(() => done(`no connection within ${timeoutSeconds} s`), timeoutSeconds * 1000);
    socket.once('connect', () => done());
    socket.on('error', (error) => done(error.message));
  });
}

function probeHttp(check: Extract<HealthCheck, { kind: 'http' }>, { address, port }: Probed): Promise<string | undefined> {
  const { timeoutSeconds, path, host, status: wanted } = check;
  return new Promise((resolve) => {
    const asked = request({
      host: address,
      port,
      path,
      agent: false,
      headers: { connection: 'close', 'user-agent': 'portcullis', ...(host !== undefined && { host }) },
    });
    const done = (why?: string): void => {
      clearTimeout(late);
      asked.destroy();
      resolve(why);
    };
    const late = setTimeout(() => done(`no answer within ${timeoutSeconds} s`), timeoutSeconds * 1000);
    asked.on('error', (error) => done(error.message));
    const judge = ({ statusCode = 0 }: IncomingMessage): void => {
      const isWell = wanted.length === 0 ? statusCode >= 200 && statusCode < 400 : wanted.includes(statusCode);
      done(isWell ? undefined : `it answered ${statusCode}`);
    };
    asked.once('response', judge);
    // 101, which nobody asked for.
    asked.once('upgrade', (answer, socket) => {
      socket.destroy();
      judge(answer);
    });
    asked.end();
  });
}

/** What timeout(1) and shells mean by them. */
const meanings: Readonly<Record<number, string>> = {
  126: ': it can not be run',
  127: ': there is no such program',
  137: ', or was killed',
};

/** By timeout(1), which ends the program with all that it started even when this process is killed meanwhile. */
function probeExec(check: Extract<HealthCheck, { kind: 'exec' }>, { address, port }: Probed): Promise<string | undefined> {
  const { timeoutSeconds, command } = check;
  const begun = performance.now();
  return new Promise((resolve) => {
    const child = spawn('/usr/bin/timeout', ['--signal=KILL', `${timeoutSeconds}s`, ...command], {
      stdio: 'ignore',
      cwd: '/',
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', BACKEND_ADDRESS: address, BACKEND_PORT: String(port) },
    });
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(undefined);
      // timeout(1) ends with 137 when it killed the program, and when somebody else did.
      const isLate = performance.now() - begun >= timeoutSeconds * 1000;
      resolve(
        (code === 137 && isLate) || signal !== null
          ? `it did not end within ${timeoutSeconds} s`
          : `it ended with status ${code}${meanings[code ?? 0] ?? ''}`,
      );
    });
  });
}
