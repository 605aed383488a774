import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { parse } from 'yaml';
import { createHttpServer } from '../../base/connections/index.ts';
import { portcullis } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { daemonFolders, startDaemon } from '../fixtures/daemon.ts';
import type { TestDaemon } from '../fixtures/daemon.ts';

const head = (name: string): string =>
  `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\n`;

interface Listed {
  readonly balancer: string;
  readonly services: readonly {
    readonly name: string;
    readonly source?: string;
    readonly backends: readonly {
      readonly address: string;
      readonly state: string;
      readonly weight: number;
    }[];
  }[];
}

describe('the services command', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-services-'));
  const folders = daemonFolders(folder);
  const file = join(folder, 'web.yaml');
  const servers: Server[] = [];
  const flags = ['--config', join(folder, 'config.yaml')];
  let daemon: TestDaemon | undefined;
  const service = (...words: string[]): Promise<Ended> =>
    portcullis(['service', ...words, '--admin-socket', join(folders.state, 'admin.sock')]);
  const listed = async (): Promise<Listed> =>
    JSON.parse((await service('ls', '-o', 'json')).stdout) as Listed;
  /** Returns the backends that answer successive connections. */
  const answering = async (url: string, times = 8): Promise<string> => {
    const names = new Set<string>();
    for (let count = 0; count < times; count += 1) {
      const answer = await fetch(url, {
        headers: { connection: 'close' },
        signal: AbortSignal.timeout(10_000),
      }).then(
        (response) => response.text(),
        () => 'nobody',
      );
      names.add(answer);
    }
    return [...names].toSorted().join();
  };
  const comesAbout = async (holds: () => Promise<boolean>): Promise<void> => {
    for (const deadline = Date.now() + 60_000; !(await holds()); await pause(100))
      if (Date.now() > deadline) assert.fail(`the condition was not met: ${holds.toString()}`);
  };

  before(async () => {
    for (const path of [folders.policy, folders.cniConf, join(folder, 'services')])
      mkdirSync(path, { recursive: true });
    writeFileSync(
      join(folder, 'config.yaml'),
      `network: { services: { folder: services } }\nmetrics: { address: '127.0.0.1:19464' }\n`,
    );
    execFileSync('sh', ['-c', 'ip link add backends type bridge; ip link set backends up']);
    for (const [name, address] of [
      ['one', '10.250.0.2'],
      ['two', '10.250.0.3'],
    ] as const) {
      execFileSync('ip', ['address', 'add', `${address}/24`, 'dev', 'backends']);
      const server = createHttpServer((_request, response) => response.end(name));
      await new Promise<void>((resolve) => server.listen(8080, address, resolve));
      servers.push(server);
    }
    // A default route, because a virtual address is not on a link.
    execFileSync('ip', ['route', 'add', 'default', 'via', '10.250.0.254']);
    daemon = await startDaemon(folders, flags);
  });
  after(async () => {
    try {
      if (daemon !== undefined) assert.equal(await daemon.stop(), 0, daemon.log().slice(-3000));
    } finally {
      await daemon?.kill();
      for (const server of servers) server.close().closeAllConnections();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('applies valid services, refuses invalid services with their file and line, and lists the result', async () => {
    writeFileSync(
      file,
      [
        `${head('shop/web')}addresses: [10.96.0.1]\nports: [80:8080/tcp]\ndrainGrace: 1s\nbackends: [10.250.0.2, 10.250.0.3]\n`,
        `${head('other')}addresses: [10.96.0.1]\nports: [80:8080/tcp]\nbackends: [10.250.0.2]\n`,
        `${head('wrong')}addresses: [10.96.0.3]\nports: [80]\nscheduler: randomly\nbackends: [10.250.0.2]\n`,
      ].join('---\n'),
    );
    const { code, stdout, stderr } = await service('apply', '-f', file);
    assert.deepEqual([code, stdout], [1, 'shop/web applied\n'], stderr);
    assert.match(
      stderr,
      /web\.yaml:21:12: scheduler: "randomly" is not known here; use one of: `rr`, `wrr`, `lc`, `sh`, `maglev`\n/u,
    );
    assert.match(
      stderr,
      /web\.yaml:12:13: other: addresses\[0\]: 10\.96\.0\.1 port 80\/tcp belongs to the service shop\/web \(source: command\) \[NETWORK_SERVICE_ADDRESS_TAKEN\]\n/u,
    );
    writeFileSync(join(folder, 'empty.yaml'), '');
    const empty = await service('apply', '-f', join(folder, 'empty.yaml'));
    assert.deepEqual(
      [empty.code, /empty\.yaml: no service is described here\n$/u.test(empty.stderr)],
      [1, true],
    );
    const many = join(folder, 'many');
    mkdirSync(many);
    symlinkSync('circle.yaml', join(many, 'circle.yaml'));
    writeFileSync(join(many, 'fine.yaml'), `${head('fine')}addresses: [10.96.0.9]\nports: [80]\n`);
    const some = await service('apply', '--check', '-f', many);
    assert.deepEqual([some.code, some.stdout], [1, 'fine valid\n'], some.stderr);
    assert.match(some.stderr, /circle\.yaml: it cannot be read: its symbolic links form a loop/u);
    assert.equal(await answering('http://10.96.0.1/'), 'one,two');
    const text = (await service('ls')).stdout;
    assert.match(
      text,
      /^shop\/web +command +nftables +rr +10\.96\.0\.1 +80\/tcp +10\.250\.0\.2:8080 +1 +in service +not checked +/mu,
    );
    const yaml = parse((await service('ls', 'shop/web', '-o', 'yaml')).stdout) as Listed;
    assert.deepEqual(
      yaml.services.map(({ name, source }) => [name, source]),
      [['shop/web', 'command']],
    );
    const missing = await service('ls', 'nothing', 'shop/web');
    assert.deepEqual([missing.code, missing.stderr], [1, 'nothing: there is no service of that name\n']);
  });

  it('drains a backend and restores it; both survive kill -9', async () => {
    assert.match(
      (await service('drain', 'shop/web', '10.250.0.2')).stdout,
      /^10\.250\.0\.2 is draining; existing connections end within 1 s\n$/u,
    );
    assert.equal(await answering('http://10.96.0.1/'), 'two');
    await daemon?.kill();
    assert.equal(await answering('http://10.96.0.1/'), 'two', 'the kernel continues without a daemon');
    daemon = await startDaemon(folders, flags);
    await comesAbout(
      async () => (await listed()).services[0]?.backends.some(({ weight }) => weight === 0) === true,
    );
    assert.equal(await answering('http://10.96.0.1/'), 'two');
    assert.equal((await service('drain', 'shop/web', '--undo')).code, 0);
    assert.equal(await answering('http://10.96.0.1/'), 'one,two');
    const unknown = await service('drain', 'shop/web', '10.250.0.9');
    assert.deepEqual([unknown.code, /NETWORK_SERVICE_BACKEND_UNKNOWN/u.test(unknown.stderr)], [1, true]);
    assert.equal((await service('drain', 'nothing')).code, 1);
  });

  it('follows the configured folder, whose services a command cannot remove', async () => {
    writeFileSync(
      join(folder, 'services', 'api.yaml'),
      `${head('api')}addresses: [10.96.0.7]\nports: [80:8080]\nbackends: [10.250.0.3]\n`,
    );
    await comesAbout(async () => (await answering('http://10.96.0.7/', 1)) === 'two');
    const removed = await service('rm', 'api');
    assert.deepEqual([removed.code, /NETWORK_SERVICE_NOT_YOURS/u.test(removed.stderr)], [1, true]);
  });

  it('has metrics for each backend', async () => {
    const text = await (await fetch('http://127.0.0.1:19464/metrics')).text();
    assert.match(text, /^portcullis_services\{source="command"\} 1$/mu);
    assert.match(text, /^portcullis_services\{source="files"\} 1$/mu);
    assert.match(
      text,
      /^portcullis_service_backend_weight\{service="shop\/web",port="tcp-80",backend="10\.250\.0\.2:8080"\} 1$/mu,
    );
    assert.match(text, /^portcullis_service_balancer_info\{balancer="nftables"\} 1$/mu);
  });

  it('refuses a load balancer that the kernel does not support, and keeps the current one', async () => {
    const { code, stderr } = await service('apply', '--backend', 'ipvs');
    // A kernel with IPVS accepts it.
    if (code !== 0) assert.match(stderr, /NETWORK_BALANCER_MISSING/u);
    assert.equal((await service('apply', '--backend', 'nftables')).code, 0);
    assert.equal(await answering('http://10.96.0.1/'), 'one,two');
    assert.equal((await service('apply')).code, 2);
  });

  it('removes a service, and leaves nothing of it in the kernel', async () => {
    assert.equal((await service('rm', 'shop/web')).stdout, 'shop/web removed\n');
    assert.equal(await answering('http://10.96.0.1/', 1), 'nobody');
    await comesAbout(async () => !(await listed()).services.some(({ name }) => name === 'shop/web'));
    assert.equal((await service('rm', 'shop/web')).code, 1);
    assert.doesNotMatch(
      execFileSync('nft', ['list', 'map', 'ip', 'portcullis_services', 'servers'], { encoding: 'utf8' }),
      /10\.96\.0\.1 /u,
    );
  });

  it('reports how to proceed if no daemon runs', async () => {
    const { code, stderr } = await portcullis([
      'service',
      'ls',
      '--cni-socket',
      join(folder, 'nowhere.sock'),
    ]);
    assert.deepEqual([code, /CLI_NO_DAEMON/u.test(stderr)], [4, true]);
  });
});
