/**
 * Runs the first example of docs/docker.md literally, on docker with its default configuration: with its own
 * bridge and its own rules, which drop traffic that other bridges forward. `npm run test:docker` runs this
 * file beside suite.ts. Needs `test/peers/get docker`, iptables and containernetworking-plugins.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { portcullisCommand, runProgram } from '../fixtures/command.ts';
import { findDocker, startDocker } from '../fixtures/dockerd.ts';
import type { Docker } from '../fixtures/dockerd.ts';
import { driverIn } from './driver.ts';
import type { Driver } from './driver.ts';
import { leftovers } from './leftovers.ts';

const { skip } = findDocker();
const folder = mkdtempSync(join(tmpdir(), 'pct-docker-example-'));
const at = (name: string): string => join(folder, name);
const page = readFileSync(join(import.meta.dirname, '../../docs/docker.md'), 'utf8');
const block = (language: string, holds: string): string => {
  const blocks = [...page.matchAll(/```(\w+)\n([^]*?)```/gu)];
  const found = blocks.find(([, of, text]) => of === language && text?.includes(holds) === true)?.[2];
  assert.ok(found !== undefined, `the page no longer has a block with ${holds}`);
  return found;
};

describe('the first example of docs/docker.md', { skip }, () => {
  let docker: Docker;
  let driver: Driver;
  /**
   * Runs a command as a user types it, with a local server image in place of the image that would be pulled.
   */
  const typed = async (line: string): Promise<string> => {
    // Debian's static busybox cannot resolve names for wget.
    const command = line.replace(
      /wget -qO- http:\/\/web\//u,
      `sh -c 'printf "GET / HTTP/1.0\\r\\n\\r\\n" | nc -w 10 web 80'`,
    );
    const { code, output } = await runProgram('sh', ['-c', command], docker.environment, folder);
    assert.equal(code, 0, `${line}: ${output}`);
    return output;
  };

  before(async () => {
    mkdirSync(at('conf'));
    const conflist = JSON.parse(block('json', '"bridge": "cni0"')) as { plugins: { ipam?: object }[] };
    conflist.plugins[0] = {
      ...conflist.plugins[0],
      ipam: { ...conflist.plugins[0]?.ipam, dataDir: at('leases') },
    };
    writeFileSync(at('conf/10-pods.conflist'), JSON.stringify(conflist));
    driver = driverIn({ folder: at('driver'), confDir: at('conf') });
    // Docker sets its chain to drop if it enables forwarding itself, as on a newly installed machine.
    writeFileSync('/proc/sys/net/ipv4/ip_forward', '0');
    docker = await startDocker({ folder: at('docker'), ownFirewall: true });
    await docker.importBusybox();
    await docker.ok('create', '--name', 'server', 'busybox');
    await docker.ok('commit', '--change', 'CMD ["httpd","-f","-p","80","-h","/www"]', 'server', 'nginx');
    await docker.ok('rm', 'server');
    await driver.up();
  });
  after(async () => {
    await driver?.down('SIGTERM');
    await docker?.end();
    rmSync(folder, { recursive: true, force: true });
  });

  it('runs line by line and leaves nothing', async () => {
    const lines = block('sh', 'docker network connect pods').split('\n');
    assert.ok(lines.length > 5);
    for (const line of lines) {
      const said = await typed(line);
      if (line.includes('wget')) assert.match(said, /a page/u);
      if (!line.includes('network connect')) continue;
      // A client of the host port and a container connected later get the page as well.
      assert.equal((await (await fetch('http://127.0.0.1:8080/')).text()).trim(), 'a page');
      assert.match(await typed('docker exec late wget -qO- http://web/'), /a page/u);
    }
    const left = leftovers({ root: at('driver/root'), state: at('driver/state'), leases: [at('leases')] });
    const ofDocker = /docker0|172\.17\./u;
    assert.deepEqual(
      left.filter((each) => !ofDocker.test(each)),
      [],
    );
  });

  it('creating a network reports the firewall rules that it needs, and so does `doctor`', async () => {
    const [program = '', ...words] = portcullisCommand;
    const portcullis = async (...more: string[]): Promise<string> =>
      (await runProgram(program, [...words, ...more], docker.environment, folder)).output;
    const places = ['--conf-dir', at('conf'), '--root', at('driver/root')];
    const reported = await portcullis('network', 'create', 'mine', '--subnet', '10.67.0.0/24', ...places);
    const rules = reported.match(/iptables -I DOCKER-USER .*/gu) ?? [];
    assert.equal(rules.length, 2, reported);
    for (const rule of rules) await typed(rule);
    await typed('docker network create -d portcullis --ipam-driver null -o conflist=mine mine');
    await typed('docker run -d --name web --network mine nginx');
    assert.match(await typed('docker run --rm --network mine busybox wget -qO- http://web/'), /a page/u);
    assert.match(await portcullis('doctor'), /forwarding +ip filter FORWARD drops forwarded packets/u);
    await typed('docker rm -f web && docker network rm mine');
  });
});
