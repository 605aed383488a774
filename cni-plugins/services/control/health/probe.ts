import { spawn } from 'node:child_process';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { httpRequest } from '../../../../base/connections/index.ts';
import { leavesUnknown, meansShortage } from '../../../../base/errors/index.ts';
import type { HealthCheck } from '../../model/model.ts';

/** The target of a check. */
export interface Probed {
  readonly address: string;
  readonly port: number;
}

/** The check could not run: the host lacks descriptors or memory. It says nothing about the backend. */
export const notRun = Symbol('not run');

type Result = string | typeof notRun | undefined;

/**
 * Runs one check from this network namespace. Returns undefined if the backend is healthy, else the reason,
 * or {@link notRun}. Never throws, and ends within the time limit of the check.
 */
export function probe(check: HealthCheck, backend: Probed): Promise<Result> {
  switch (check.kind) {
    case 'tcp':
      return probeTcp(check, backend);
    case 'http':
      return probeHttp(check, backend);
    case 'exec':
      return probeExec(check, backend);
  }
}

function probeTcp({ timeoutSeconds }: HealthCheck, { address, port }: Probed): Promise<Result> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const done = (why?: Result): void => {
      clearTimeout(late);
      socket.destroy();
      resolve(why);
    };
    const late = setTimeout(() => done(`no connection within ${timeoutSeconds} s`), timeoutSeconds * 1000);
    socket.once('connect', () => done());
    socket.on('error', (error) => done(meansShortage(error) ? notRun : error.message));
  });
}

function probeHttp(
  check: Extract<HealthCheck, { kind: 'http' }>,
  { address, port }: Probed,
): Promise<Result> {
  const { timeoutSeconds, path, host, status: wanted } = check;
  return new Promise((resolve) => {
    const asked = httpRequest({
      host: address,
      port,
      path,
      agent: false,
      headers: { connection: 'close', 'user-agent': 'portcullis', ...(host !== undefined && { host }) },
    });
    const done = (why?: Result): void => {
      clearTimeout(late);
      asked.destroy();
      resolve(why);
    };
    const late = setTimeout(() => done(`no answer within ${timeoutSeconds} s`), timeoutSeconds * 1000);
    asked.on('error', (error) => done(meansShortage(error) ? notRun : error.message));
    const judge = ({ statusCode = 0 }: IncomingMessage): void => {
      const isWell =
        wanted.length === 0 ? statusCode >= 200 && statusCode < 400 : wanted.includes(statusCode);
      done(isWell ? undefined : `it answered ${statusCode}`);
    };
    asked.once('response', judge);
    // A 101 response, which the request did not ask for.
    asked.once('upgrade', (answer, socket) => {
      socket.destroy();
      judge(answer);
    });
    asked.end();
  });
}

/** The meanings of these exit statuses for timeout(1) and shells. */
const meanings: Readonly<Record<number, string>> = {
  126: ': it cannot be executed',
  127: ': it was not found',
  137: ', or was killed',
};

/**
 * Runs the program by timeout(1), which ends it with all its children even if this process is killed
 * meanwhile.
 */
function probeExec(
  check: Extract<HealthCheck, { kind: 'exec' }>,
  { address, port }: Probed,
): Promise<Result> {
  const { timeoutSeconds, command } = check;
  const begun = performance.now();
  return new Promise((resolve) => {
    const child = spawn('/usr/bin/timeout', ['--signal=KILL', `${timeoutSeconds}s`, ...command], {
      stdio: 'ignore',
      cwd: '/',
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        BACKEND_ADDRESS: address,
        BACKEND_PORT: String(port),
      },
    });
    child.on('error', (error) => resolve(leavesUnknown(error) ? notRun : error.message));
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(undefined);
      // timeout(1) ends with 137 when it killed the program, and also when another process did.
      const isLate = performance.now() - begun >= timeoutSeconds * 1000;
      resolve(
        (code === 137 && isLate) || signal !== null
          ? `the program did not end within ${timeoutSeconds} s`
          : `the program ended with status ${code}${meanings[code ?? 0] ?? ''}`,
      );
    });
  });
}
