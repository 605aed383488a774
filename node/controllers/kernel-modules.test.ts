import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { NodeState } from '../model/types.ts';
import { kernelModuleController } from './kernel-modules.ts';

const controller = kernelModuleController();
const limits = { signal: new AbortController().signal };

describe('kernel modules of a state', () => {
  it('are present when the kernel has them, loaded or built in', async () => {
    const [there = ''] = readdirSync('/sys/module');
    const found = await controller.observe(new Set([there, 'portcullis-none']), limits);
    assert.deepEqual([...found.keys()], [there]);
  });

  it('are present when they are built in without parameters, or when the name is an alias', async () => {
    const [there = ''] = readdirSync('/sys/module');
    const folder = mkdtempSync(join(tmpdir(), 'pc-node-modules-'));
    const path = process.env['PATH'];
    try {
      // As modprobe(8) of kmod answers.
      writeFileSync(
        join(folder, 'modprobe'),
        `#!/bin/sh
case "$1 $2" in
  '-D portcullis-builtin') echo 'builtin portcullis_builtin' ;;
  '-D portcullis-alias') printf 'insmod /m/other.ko \\ninsmod /m/%s.ko.xz \\n' '${there}' ;;
  '-D portcullis-unloaded') printf 'insmod /m/%s.ko \\ninsmod /m/portcullis_unloaded.ko \\n' '${there}' ;;
  *) exit 1 ;;
esac
`,
        { mode: 0o755 },
      );
      process.env['PATH'] = `${folder}:${path ?? ''}`;
      const names = ['builtin', 'alias', 'unloaded', 'none'].map((name) => `portcullis-${name}`);
      const found = await controller.observe(new Set(names), limits);
      assert.deepEqual([...found.keys()], ['portcullis-builtin', 'portcullis-alias']);
    } finally {
      process.env['PATH'] = path;
      rmSync(folder, { recursive: true });
    }
  });

  it('need modprobe, whose absence is reported with the package that has it', async () => {
    const path = process.env['PATH'];
    try {
      process.env['PATH'] = '/nonexistent';
      const create = { action: 'create', section: 'kernelModules', drift: false, name: 'x' } as const;
      await assert.rejects(
        async () => controller.apply(create, { kernelModules: ['x'] } as unknown as NodeState, limits),
        { message: /the program modprobe is not installed; install it \(package kmod/u },
      );
    } finally {
      process.env['PATH'] = path;
    }
  });

  it('are unloaded alone, and not if the state has the module under another name', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pc-node-modules-'));
    const path = process.env['PATH'];
    try {
      // As the programs of kmod answer. `modprobe -r` would also unload what nothing uses any more.
      const script = `#!/bin/sh
case "$0 $1 $2" in
  *'modprobe -D portcullis-alias') echo 'insmod /m/portcullis_main.ko ' ;;
  *'modprobe -D '*) echo "insmod /m/$2.ko " ;;
  *) echo "\${0##*/} $*" >>'${folder}/done' ;;
esac
`;
      for (const program of ['modprobe', 'rmmod'])
        writeFileSync(join(folder, program), script, { mode: 0o755 });
      process.env['PATH'] = `${folder}:${path ?? ''}`;
      const remove = { action: 'delete', section: 'kernelModules', drift: false } as const;
      const wanting = (...kernelModules: string[]) => ({ kernelModules }) as unknown as NodeState;
      for (const [name, state] of [
        ['portcullis-main', wanting('portcullis_main')],
        ['portcullis-main', wanting('portcullis-alias')],
        ['portcullis-alias', wanting('portcullis-other')],
      ] as const)
        await controller.apply({ ...remove, name }, state, limits);
      assert.equal(readFileSync(join(folder, 'done'), 'utf8'), 'rmmod portcullis_main\n');
    } finally {
      process.env['PATH'] = path;
      rmSync(folder, { recursive: true });
    }
  });

  it('stay loaded if something uses them when they leave the state', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pc-node-modules-'));
    const path = process.env['PATH'];
    try {
      const used = join(folder, 'portcullis_used');
      mkdirSync(used);
      writeFileSync(join(used, 'refcnt'), '1\n');
      const script = '#!/bin/sh\necho "rmmod: ERROR: Module $1 is in use" >&2; exit 1\n';
      writeFileSync(join(folder, 'rmmod'), script, { mode: 0o755 });
      process.env['PATH'] = `${folder}:${path ?? ''}`;
      const own = kernelModuleController(folder);
      const remove = { action: 'delete', section: 'kernelModules', name: 'portcullis-used' } as const;
      const state = { kernelModules: [] } as unknown as NodeState;
      await own.apply({ ...remove, drift: false }, state, limits);
      // A module that leaves the state as well is unloaded first.
      mkdirSync(join(used, 'holders/portcullis_user'), { recursive: true });
      await own.observe(new Set(['portcullis-used', 'portcullis-user']), limits);
      await assert.rejects(own.apply({ ...remove, drift: false }, state, limits), /is in use/u);
      // Also if the state has it by an alias.
      const answer = "#!/bin/sh\necho 'insmod /m/portcullis_user.ko '\n";
      writeFileSync(join(folder, 'modprobe'), answer, { mode: 0o755 });
      await own.observe(new Set(['portcullis-used', 'portcullis-alias']), limits);
      await assert.rejects(own.apply({ ...remove, drift: false }, state, limits), /is in use/u);
    } finally {
      process.env['PATH'] = path;
      rmSync(folder, { recursive: true });
    }
  });

  it('are refused with the reason if they cannot be loaded', async () => {
    const change = {
      action: 'create',
      section: 'kernelModules',
      name: 'portcullis-none',
      drift: false,
    } as const;
    await assert.rejects(controller.apply(change, {} as NodeState, limits), (thrown: Error) => {
      assert.match(
        thrown.message,
        /load the kernel module portcullis-none: .*modprobe.*NODE_STATE_CHANGE_REFUSED/u,
      );
      return true;
    });
  });
});
