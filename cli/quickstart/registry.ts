import { execFileSync, spawn } from 'node:child_process';
import { accessSync, constants, openSync, closeSync, readFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { delimiter, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { PortcullisError } from '../../base/errors/index.ts';

export interface Registry {
  /** `127.0.0.1:5000`. */
  readonly host: string;
  readonly version: string;
  readonly pid: number;
  close(): Promise<void>;
}

/** Where packaging/prepare unpacks Debian's registry. It is never installed as a service. */
const unpacked = '/var/cache/portcullis/debian/usr/bin';
/** The network namespace belongs to the quickstart, so the port is free. */
const host = '127.0.0.1:5000';
/** How long the registry may take to answer, in ms. */
const patience = 10_000;

/**
 * Starts Debian's docker-registry on loopback with its storage under `folder`. Throws CLI_REGISTRY_MISSING,
 * CLI_REGISTRY_SILENT.
 */
export async function startRegistry(folder: string): Promise<Registry> {
  const program = findProgram('docker-registry');
  mkdirSync(folder, { recursive: true });
  const config = join(folder, 'config.yml');
  const logFile = join(folder, 'registry.log');
  writeFileSync(
    config,
    `version: 0.1\nlog: { level: warn, accesslog: { disabled: true } }\nstorage:\n  filesystem: { rootdirectory: ${JSON.stringify(join(folder, 'data'))} }\nhttp: { addr: '${host}' }\n`,
  );
  const log = openSync(logFile, 'a', 0o600);
  const child = spawn(program, ['serve', config], {
    stdio: ['ignore', log, log],
    env: { PATH: process.env['PATH'], OTEL_TRACES_EXPORTER: 'none' },
  });
  closeSync(log);
  const exited = once(child, 'exit');
  await answers(() => child.exitCode !== null, logFile);
  return {
    host,
    version:
      /\d+\.\d+\.\d+/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[0] ??
      'of unknown version',
    pid: child.pid ?? 0,
    async close() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function findProgram(name: string): string {
  for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), unpacked]) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {
      continue;
    }
  }
  throw new PortcullisError({
    code: 'CLI_REGISTRY_MISSING',
    kind: 'precondition',
    attempted: 'start the registry',
    on: name,
    why: `${name} is neither in PATH nor in ${unpacked}`,
    fix: 'run `portcullis doctor --fix`, which unpacks it there',
  });
}

async function answers(gone: () => boolean, logFile: string): Promise<void> {
  const until = performance.now() + patience;
  while (performance.now() < until && !gone()) {
    const answer = await fetch(`http://${host}/v2/`).catch(() => undefined);
    if (answer?.ok === true) return;
    await pause(10);
  }
  throw new PortcullisError({
    code: 'CLI_REGISTRY_SILENT',
    kind: 'unavailable',
    attempted: 'start the registry',
    on: host,
    why: `it ${gone() ? 'stopped' : `did not answer within ${patience / 1000} s`}: ${readFileSync(logFile, 'utf8').trim().slice(-500)}`,
    fix: 'see its log above',
  });
}
