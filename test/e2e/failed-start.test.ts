import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { daemonFolders, patience } from '../fixtures/daemon.ts';
import type { DaemonFolders } from '../fixtures/daemon.ts';
import { mountsBelow } from '../fixtures/stage.ts';

const launcher = join(import.meta.dirname, '../../packaging/bin/portcullisd');

describe('a daemon that cannot start', () => {
  let folders: DaemonFolders;
  const taken = createServer();

  beforeEach(() => {
    folders = daemonFolders(mkdtempSync(join(tmpdir(), 'pc-start-')));
    for (const path of [folders.policy, folders.cniConf]) mkdirSync(path);
  });
  afterEach(async () => {
    await new Promise((resolve) => taken.close(resolve));
    // As after a crash: the next start takes over the mounts.
    for (const mount of mountsBelow(folders.folder).reverse()) execFileSync('umount', ['--lazy', mount]);
    rmSync(folders.folder, { recursive: true, force: true });
  });

  const listen = async (at: string | { readonly port: number; readonly host: string }): Promise<void> => {
    taken.listen(at);
    await once(taken, 'listening');
  };
  const start = async (
    settings: object,
  ): Promise<{ code: number | null; signal: string | null; output: string }> => {
    const config = join(folders.folder, 'config.yaml');
    writeFileSync(config, JSON.stringify(settings));
    const { socket, root, state, policy, cniConf } = folders;
    const flags = [
      '--config',
      config,
      '--socket',
      socket,
      '--root',
      root,
      '--state',
      state,
      '--policy',
      policy,
      '--cni-conf-dir',
      cniConf,
    ];
    const daemon = spawn(launcher, flags, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [daemon.stdout, daemon.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    const late = setTimeout(() => daemon.kill('SIGKILL'), patience);
    const [code, signal] = (await once(daemon, 'close')) as [number | null, string | null];
    clearTimeout(late);
    return { code, signal, output };
  };

  /** Checks that the daemon left nothing of its network, and of the namespaces that it created in advance. */
  const nothingIsLeft = (): void => {
    assert.deepEqual(mountsBelow(folders.folder), []);
    assert.deepEqual(readdirSync(join(folders.state, 'ns')), []);
    assert.equal(execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }), '');
    assert.doesNotMatch(execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' }), /cni|pc[0-9a-f]{12}/);
  };

  it('exits with 4 and a reason when the port of its metrics is in use', async () => {
    await listen({ port: 0, host: '127.0.0.1' });
    const { port } = taken.address() as AddressInfo;
    const { code, output } = await start({ metrics: { address: `127.0.0.1:${port}` } });
    assert.equal(code, 4, output);
    assert.match(output, /RUNTIME_METRICS_LISTEN/);
    nothingIsLeft();
  });

  it('exits with 4 and a reason when the port of its streams is in use', async () => {
    await listen({ port: 0, host: '127.0.0.1' });
    const { port } = taken.address() as AddressInfo;
    const { code, output } = await start({ streaming: { address: '127.0.0.1', port } });
    assert.equal(code, 4, output);
    assert.match(output, /RUNTIME_STREAMING_LISTEN/);
    nothingIsLeft();
  });

  it('exits with 4 and a reason when the address of its streams is not an address of the node', async () => {
    const { code, output } = await start({ streaming: { address: '192.0.2.9', port: 0 } });
    assert.equal(code, 4, output);
    assert.match(output, /RUNTIME_STREAMING_LISTEN/);
  });

  for (const [name, what] of [
    ['root', 'folder of its images'],
    ['state', 'folder of its state'],
  ] as const)
    it(`exits with 4 and a reason when a file is in place of the ${what}`, async () => {
      writeFileSync(folders[name], '');
      const { code, output } = await start({});
      assert.equal(code, 4, output);
      assert.match(output, new RegExp(`${folders[name]}.*\\[(?!CLI_FAILED)[A-Z_]+\\]`));
    });

  it('exits with 4 and a reason when another process listens at its socket', async () => {
    await listen(folders.socket);
    const { code, output } = await start({});
    assert.equal(code, 4, output);
    assert.match(output, /another process listens/);
  });
});
