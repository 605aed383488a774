import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import type { Family } from '../../cni-plugins/services/model/model.ts';
import type { TestHost } from '../../cni-plugins/services/switch/hosts.fixture.ts';

/** SCTP clients and servers of the cases. */

export const sctpPort = 8082;
const family6 = (family: Family): string => (family === 6 ? 'AF_INET6' : 'AF_INET');

/** The SCTP sockets are Python's: Node has none. */
export function sctpMissing(): string | undefined {
  const run = spawnSync(
    'python3',
    ['-c', 'import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)'],
    { encoding: 'utf8' },
  );
  if (run.error !== undefined) return 'there is no python3';
  return run.status === 0 ? undefined : 'this kernel has no SCTP';
}

/** Serves its name and the peer's address to every client, until the host is gone. */
export function serveSctp(host: TestHost, family: Family): void {
  const program = [
    'import socket',
    `s = socket.socket(socket.${family6(family)}, socket.SOCK_STREAM, 132)`,
    `s.bind(("${family === 4 ? host.address : host.address6}", ${sctpPort}))`,
    's.listen(64)',
    'while True:',
    ' c, peer = s.accept()',
    ` c.send(("${host.name} " + peer[0]).encode())`,
    ' c.close()',
  ].join('\n');
  host.start(['python3', '-c', program]);
}

type SctpClient = Pick<TestHost, 'address' | 'address6' | 'output'>;

/** Opens one association after another; returns each greeting, or the errno. */
export function greetBySctp(
  host: SctpClient,
  family: Family,
  address: string,
  port: number,
  times: number,
): string[] {
  const program = [
    'import socket, errno',
    `for time in range(${times}):`,
    ` s = socket.socket(socket.${family6(family)}, socket.SOCK_STREAM, 132)`,
    ' s.settimeout(20)',
    ' try:',
    `  s.bind(("${family === 4 ? host.address : host.address6}", 0))`,
    `  s.connect(("${address}", ${port}))`,
    '  print(s.recv(100).decode())',
    ' except OSError as error:',
    '  print(errno.errorcode.get(error.errno, "TIMEOUT"))',
    ' s.close()',
  ].join('\n');
  return host.output(['python3', '-c', program]).trim().split('\n');
}

export async function untilServing(host: SctpClient, family: Family, server: TestHost): Promise<void> {
  const address = family === 4 ? server.address : server.address6;
  for (let time = 0; time < 300; time += 1) {
    if (greetBySctp(host, family, address, sctpPort, 1)[0]?.startsWith(server.name) === true) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`${server.name} does not serve`);
}
