import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../../base/log/index.ts';
import { currentBootId, processIdentity } from '../../../base/process/index.ts';
import { createLauncher, installedPlugins } from './launch.ts';
import type { InstalledPlugin, PluginLauncher } from './launch.ts';

const log = createLogger({ level: 'silent' });

describe('plugins of a folder', () => {
  let folder: string;
  let stateFile: string;
  let launcher: PluginLauncher | undefined;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-nri-launch-'));
    stateFile = join(folder, 'nri-plugins.json');
  });
  afterEach(() => {
    launcher?.close();
    launcher = undefined;
    rmSync(folder, { recursive: true, force: true });
  });

  /** A plugin that writes its pid to a file, and runs on without its connection. */
  const plugin = (base: string): InstalledPlugin => {
    const path = join(folder, `10-${base}`);
    const program = `#!/bin/sh\necho $$ > ${join(folder, base)}.part\nmv ${join(folder, base)}.part ${join(folder, base)}.pid\nexec sleep 600\n`;
    writeFileSync(path, program, { mode: 0o755 });
    return { index: '10', base, path };
  };
  const pidOf = async (base: string): Promise<number> => {
    for (let waited = 0; waited < 20_000; waited += 20)
      try {
        return Number(readFileSync(join(folder, `${base}.pid`), 'utf8'));
      } catch {
        await pause(20);
      }
    throw new Error(`${base} did not start`);
  };
  const ended = async (pid: number): Promise<boolean> => {
    for (let waited = 0; waited < 20_000; waited += 20) {
      if (processIdentity(pid) === undefined) return true;
      await pause(20);
    }
    return false;
  };
  const noted = (): readonly { pid: number }[] =>
    JSON.parse(readFileSync(stateFile, 'utf8')) as { pid: number }[];
  /** Makes each write of the list fail, as on a full disk. */
  const blockList = (): void => {
    rmSync(stateFile, { force: true });
    mkdirSync(join(stateFile, 'in-the-way'), { recursive: true });
  };

  it('do not keep running if their process cannot be noted', async () => {
    launcher = await createLauncher(stateFile, log);
    blockList();
    const before = new Set(childrenOf(process.pid));
    await assert.rejects(launcher.launch(plugin('a')), { code: 'STORAGE_NO_ACCESS' });
    for (const pid of childrenOf(process.pid).filter((each) => !before.has(each)))
      assert.ok(await ended(pid), 'the plugin has ended');
  });

  it('may end while the list of processes cannot be written', async () => {
    launcher = await createLauncher(stateFile, log);
    const first = await launcher.launch(plugin('a'));
    await launcher.launch(plugin('b'));
    await pidOf('b');
    blockList();
    first.kill();
    assert.ok(await ended(await pidOf('a')));
    // The error of an event handler would end this process.
    await pause(100);
    rmSync(stateFile, { recursive: true });
    await launcher.launch(plugin('c'));
    assert.deepEqual(
      noted().map(({ pid }) => pid),
      [await pidOf('b'), await pidOf('c')],
    );
  });

  it('that an earlier run left are ended, although another cannot be examined', async () => {
    const leftover = spawn('sleep', ['600']);
    await once(leftover, 'spawn');
    const other = { pid: 'self/stat', startTime: '1', bootId: currentBootId() };
    writeFileSync(stateFile, JSON.stringify([other, processIdentity(leftover.pid ?? 0)]));
    const end = once(leftover, 'exit');
    launcher = await createLauncher(stateFile, log);
    assert.deepEqual(await end, [null, 'SIGKILL']);
    assert.deepEqual(noted(), [other], 'the next run tries again');
  });

  for (const content of ['{}', 'null', '"x"', '[null, 1]', '[{"pid":'])
    it(`can be started although the list of an earlier run is not valid: ${content}`, async () => {
      writeFileSync(stateFile, content);
      launcher = await createLauncher(stateFile, log);
      await launcher.launch(plugin('a'));
      assert.equal(noted().length, 1);
    });

  it('are found by their names', async () => {
    const { path } = plugin('a');
    assert.deepEqual(await installedPlugins(folder), [{ index: '10', base: 'a', path }]);
  });

  it('are refused if the folder or the plugin is a symbolic link, and the error says so', async () => {
    const { path } = plugin('a');
    const link = join(folder, 'link');
    symlinkSync(folder, link);
    const refusal = { code: 'NRI_PLUGIN_FOLDER', message: /it is a symbolic link/ };
    await assert.rejects(installedPlugins(link), refusal);
    rmSync(link);
    symlinkSync(path, join(folder, '20-b'));
    await assert.rejects(installedPlugins(folder), refusal);
  });
});

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
}
