import assert from 'node:assert/strict';
import { test } from 'node:test';
import { choosePorts } from './host-ports.ts';
import type { TakenPort } from './host-ports.ts';

const binding = (HostIP: string): Parameters<typeof choosePorts>[0][number] => ({
  ...{ Proto: 6, IP: '', HostIP },
  ...{ Port: 80, HostPort: 8080, HostPortEnd: 8080 },
});
const chosen = (hosts: readonly string[], taken: readonly TakenPort[] = []): (string | undefined)[] =>
  choosePorts(hosts.map(binding), taken, () => false).map(({ hostIp }) => hostIp);

test('one port is published at 0.0.0.0 and at [::], as `docker run -p 0.0.0.0:8080:80 -p [::]:8080:80` requests', () => {
  assert.deepEqual(chosen(['0.0.0.0', '::']), ['0.0.0.0', '::']);
});

test('a port at every address of a family is not free while one of them, or all addresses, have it', () => {
  const taken = (hostIp: string): TakenPort[] => [{ protocol: 'tcp', port: 8080, hostIp }];
  for (const hostIp of ['', '192.0.2.1', '0.0.0.0'])
    assert.throws(() => chosen(['0.0.0.0'], taken(hostIp)), { code: 'NETWORK_HOST_PORT_TAKEN' }, hostIp);
  assert.deepEqual(chosen(['0.0.0.0'], taken('2001:db8::1')), ['0.0.0.0']);
});
