import { strict as assert } from 'node:assert';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { peers, repository } from '../conformance/endpoint.ts';
import { openHost } from './host.ts';
import type { Host } from './host.ts';
import type { Judged } from './judged.ts';
import type { Stage } from './stage.ts';

const cnitool = join(peers, 'bin/cnitool');

/**
 * Runs every example of docs/cni-plugins.md through libcni's own command: ADD, CHECK, STATUS, DEL twice, and
 * GC of attachments that were not deleted.
 */
export function byCnitool(stage: Stage): Judged {
  let host: Host | undefined;
  const inside = (command: string, environment: Readonly<Record<string, string>> = {}): string =>
    (host ?? assert.fail('it is not started')).run(['sh', '-c', command], environment);
  const examples = [
    ...readFileSync(join(repository, 'docs/cni-plugins.md'), 'utf8').matchAll(/```json\n([^]*?)```/gu),
  ].map(
    ([, text = '{}']) => JSON.parse(text) as { readonly name: string; readonly plugins: readonly object[] },
  );
  const folder = stage.at('cnitool');
  const environment = { NETCONFPATH: folder, CNI_PATH: stage.binDir, CNI_IFNAME: 'eth0' };
  const capabilities = {
    CAP_ARGS: JSON.stringify({ portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] }),
  };
  const tool = (verb: string, network: string, pod: string): string =>
    inside(`${cnitool} ${verb} ${network} ${pod}`, { ...environment, ...capabilities });
  const links = (): string =>
    inside(
      "ip -br link | awk '{ print $1 }' | grep -Ev '^(lo|uplink|far|dev0|far0|br[0-9])(@|$)' || true",
    ).trim();

  const cycle = (name: string, plugins: readonly object[]): string => {
    writeFileSync(join(folder, `${name}.conflist`), JSON.stringify({ cniVersion: '1.1.0', name, plugins }));
    const pod = `/run/pods/${name}`;
    inside(`mkdir -p /run/pods && touch ${pod} && unshare --net=${pod} true`);
    try {
      return calls(name, pod);
    } finally {
      inside(`umount ${pod} && rm ${pod}`);
    }
  };
  const calls = (name: string, pod: string): string => {
    try {
      const result = JSON.parse(tool('add', name, pod)) as { readonly cniVersion: string };
      assert.equal(result.cniVersion, '1.1.0');
    } catch (thrown) {
      if (!String(thrown).includes('NETWORK_LINK_TYPE_MISSING')) throw thrown;
      return `${name} not: the kernel lacks its link`;
    }
    tool('check', name, pod);
    tool('status', name, pod);
    tool('del', name, pod);
    tool('del', name, pod);
    assert.equal(links(), '', `${name} after DEL`);
    tool('add', name, pod);
    // No attachment is valid now: libcni deletes its cached attachments, and the plugins delete theirs.
    tool('gc', name, pod);
    assert.equal(links(), '', `${name} after GC`);
    return name;
  };

  return {
    async start() {
      host = await openHost(['/run', '/var/lib/cni']);
      mkdirSync(folder, { recursive: true });
      inside(
        'sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link add uplink type veth peer name far; ip addr add 192.0.2.1/24 dev uplink; ip link set uplink up; ip link set far up; ip route add default via 192.0.2.9; ip link add dev0 type veth peer name far0',
      );
    },
    judge() {
      try {
        assert.equal(examples.length > 0, true);
        console.log(`cnitool: ${examples.map(({ name, plugins }) => cycle(name, plugins)).join(', ')}`);
        return { passed: true, left: links() };
      } catch (thrown) {
        console.error(thrown);
        return { passed: false, left: links() };
      }
    },
    stop: () => host?.end(),
  };
}
