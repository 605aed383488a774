import { assembleExecutable, callWith, words } from '../../base/elf/index.ts';
import type { Assembler, Constants, Place } from '../../base/elf/index.ts';
import type { Architecture } from '../types.ts';
import type { FileAccess } from '../types.ts';
import type { LandlockRule } from '../types.ts';

/**
 * Assembles the launcher: the program that puts a container's process under Landlock and then becomes the
 * requested program. It is a static ELF executable, assembled here for a set of rules, which it contains as
 * constants. It runs as the container's user, with its capabilities and under its filter.
 *
 * 1. prctl(PR_SET_NO_NEW_PRIVS, 1), without which the kernel accepts no rules from a process that lacks
 *    CAP_SYS_ADMIN.
 * 2. landlock_create_ruleset, for every access that a rule can grant: access that no rule grants is denied.
 * 3. For each rule: openat2(path, O_PATH, RESOLVE_NO_SYMLINKS), landlock_add_rule. A path grants nothing if
 *    it does not exist, is reached through a symbolic link, or is not a file (or folder): rules are about
 *    names that the kernel resolved.
 * 4. landlock_restrict_self, close.
 * 5. execve of each candidate up to the first empty argument, with the arguments after it (launcherArguments
 *    of base/elf). If a file does not exist, cannot be reached or may not be executed, the next candidate is
 *    tried, as by runc. Any other failure, such as ENOEXEC, ends the launcher: the program of this name was
 *    found.
 *
 * If step 1, 2 or 4 fails, or a rule cannot be added, the exit code is 125. If no candidate exists, it is
 * 127. If a candidate cannot be executed, it is 126.
 */
export function landlockLauncher(rules: readonly LandlockRule[], architecture: Architecture): Uint8Array {
  const bytes = assembleExecutable(architecture, (assembler, constants) =>
    write(assembler, CALLS[architecture], layOut(rules, constants)),
  );
  return Uint8Array.from(bytes);
}

/** The ABI that supports every access below: 3, Linux 6.2. */
export const LANDLOCK_ABI = 3;

/** The system calls of the launcher. A container's filter must allow them. */
export const LAUNCHER_CALLS: readonly string[] = [
  ...[
    'close',
    'execve',
    'exit_group',
    'landlock_add_rule',
    'landlock_create_ruleset',
    'landlock_restrict_self',
    'openat2',
    'prctl',
  ],
  ...['statx', 'write'],
];

type Calls = Readonly<Record<'prctl' | 'write' | 'close' | 'execve' | 'exitGroup' | 'statx', number>>;

const CALLS: Readonly<Record<Architecture, Calls>> = {
  x86_64: { prctl: 157, write: 1, close: 3, execve: 59, exitGroup: 231, statx: 332 },
  aarch64: { prctl: 167, write: 64, close: 57, execve: 221, exitGroup: 94, statx: 291 },
};

/** The same on all machines, like all numbers since Linux 5.1. */
const [OPENAT2, CREATE_RULESET, ADD_RULE, RESTRICT_SELF] = [437, 444, 445, 446];
const PR_SET_NO_NEW_PRIVS = 38;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const STATX_TYPE = 1;
/** Offset of stx_mode in struct statx (linux/stat.h). */
const STX_MODE = 28;
const [S_IFMT, S_IFDIR] = [0xf000, 0x4000];
const [ENOENT, EACCES, ENOTDIR, ELOOP, ESTALE] = [2, 13, 20, 40, 116];
const [O_PATH, O_CLOEXEC] = [0o10000000, 0o2000000];
const RESOLVE_NO_SYMLINKS = 4n;
const RULE_PATH_BENEATH = 1;

/**
 * LANDLOCK_ACCESS_FS_* (linux/landlock.h) by access. For a file, the kernel answers EINVAL to rights that
 * only folders have.
 */
const FILE_RIGHTS: Readonly<Record<FileAccess, number>> = {
  execute: 1 << 0,
  read: 1 << 2,
  // WRITE_FILE, TRUNCATE
  write: (1 << 1) | (1 << 14),
};
const FOLDER_RIGHTS: Readonly<Record<FileAccess, number>> = {
  execute: FILE_RIGHTS.execute,
  // READ_DIR
  read: FILE_RIGHTS.read | (1 << 3),
  // REMOVE_DIR … MAKE_SYM, REFER
  write: FILE_RIGHTS.write | 0x3ff0,
};
const HANDLED = FOLDER_RIGHTS.execute | FOLDER_RIGHTS.read | FOLDER_RIGHTS.write;

/** One row of the table: path, whether it must be a folder, rights; 8 bytes each. */
const ROW_SIZE = 24;

interface Layout {
  readonly attributes: Place;
  readonly how: Place;
  readonly empty: Place;
  readonly failed: Place;
  readonly missing: Place;
  readonly table: Place;
}

function layOut(rules: readonly LandlockRule[], { put }: Constants): Layout {
  // struct landlock_ruleset_attr: handled_access_fs; struct open_how: flags, mode, resolve (openat2(2)).
  const attributes = put(words(BigInt(HANDLED)));
  const how = put(words(BigInt(O_PATH | O_CLOEXEC), 0n, RESOLVE_NO_SYMLINKS));
  const empty = put(Buffer.alloc(8));
  const failed = put(Buffer.from('portcullis: the rules on files cannot be set up\n'));
  const missing = put(
    Buffer.from(
      'portcullis: the command cannot be executed: it is not there, or the rules on files deny it\n',
    ),
  );
  const paths = rules.map(({ path }) => put(Buffer.from(`${path}\0`)));
  const rows = rules.map(({ kind, access }, row) => {
    const rights = access.reduce(
      (sum, name) => sum | (kind === 'folder' ? FOLDER_RIGHTS : FILE_RIGHTS)[name],
      0,
    );
    return words(BigInt(paths[row]?.at ?? 0), kind === 'folder' ? 1n : 0n, BigInt(rights));
  });
  const table = put(Buffer.concat(rows));
  return { attributes, how, empty, failed, missing, table };
}

/** Stack offsets of struct statx and struct landlock_path_beneath_attr. */
const [STAT, BENEATH, STACK] = [0, 256, 512];

function write(a: Assembler, calls: Calls, constants: Layout): void {
  const call = (number: number, ...values: readonly number[]): void => callWith(a, number, ...values);
  a.copy('s0', 'sp');
  a.addTo('sp', -STACK);
  call(calls.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  a.jumpUnlessZero('result', 'failed');
  call(CREATE_RULESET, constants.attributes.at, constants.attributes.length, 0);
  a.jumpIfNegative('result', 'failed');
  a.copy('s1', 'result');

  // s1: the rule set, s2: the row, s3: the number of remaining rows, s4: the open descriptor.
  a.set('s2', constants.table.at);
  a.set('s3', constants.table.length / ROW_SIZE);
  a.label('row');
  a.jumpIfZero('s3', 'restrict');
  a.load64('a1', 's2', 0);
  a.set('a0', AT_FDCWD);
  a.set('a2', constants.how.at);
  a.set('a3', constants.how.length);
  a.call(OPENAT2);
  a.jumpIfNegative('result', 'next');
  a.copy('s4', 'result');
  a.copy('a0', 's4');
  a.set('a1', constants.empty.at);
  a.set('a2', AT_EMPTY_PATH);
  a.set('a3', STATX_TYPE);
  a.copy('a4', 'sp');
  a.call(calls.statx);
  a.jumpUnlessZero('result', 'close');
  a.load16('t', 'sp', STAT + STX_MODE);
  a.and32('t', S_IFMT);
  a.jumpIfEqual('t', S_IFDIR, 'folder');
  a.load64('t', 's2', 8);
  a.jumpUnlessZero('t', 'close');
  a.jump('add');
  a.label('folder');
  a.load64('t', 's2', 8);
  a.jumpIfZero('t', 'close');
  a.label('add');
  a.load64('t', 's2', 16);
  a.store64('t', 'sp', BENEATH);
  a.store32('s4', 'sp', BENEATH + 8);
  a.copy('a0', 's1');
  a.set('a1', RULE_PATH_BENEATH);
  a.copy('a2', 'sp');
  a.addTo('a2', BENEATH);
  a.set('a3', 0);
  a.call(ADD_RULE);
  a.jumpUnlessZero('result', 'failed');
  a.label('close');
  a.copy('a0', 's4');
  a.call(calls.close);
  a.label('next');
  a.addTo('s2', ROW_SIZE);
  a.addTo('s3', -1);
  a.jump('row');

  a.label('restrict');
  a.copy('a0', 's1');
  a.set('a1', 0);
  a.call(RESTRICT_SELF);
  a.jumpUnlessZero('result', 'failed');
  a.copy('a0', 's1');
  a.call(calls.close);

  // At s0: argc, argv, NULL, envp. s2: the candidates, s3: the command's arguments after an empty one, s1:
  // its environment, s4: the exit code.
  a.copy('s2', 's0');
  a.addTo('s2', 16);
  a.copy('s3', 's2');
  a.label('scan');
  a.load64('t', 's3', 0);
  a.jumpIfZero('t', 'failed');
  a.addTo('s3', 8);
  a.load8('t', 't', 0);
  a.jumpUnlessZero('t', 'scan');
  a.load64('s1', 's0', 0);
  for (let times = 0; times < 3; times += 1) a.addRegister('s1', 's1');
  a.addRegister('s1', 's0');
  a.addTo('s1', 16);
  a.set('s4', 127);
  a.label('try');
  a.load64('a0', 's2', 0);
  a.load8('t', 'a0', 0);
  a.jumpIfZero('t', 'missing');
  a.copy('a1', 's3');
  a.copy('a2', 's1');
  a.call(calls.execve);
  a.jumpIfEqual('result', -ENOENT, 'other');
  a.jumpIfEqual('result', -ENOTDIR, 'other');
  a.set('s4', 126);
  for (const code of [EACCES, ELOOP, ESTALE]) a.jumpIfEqual('result', -code, 'other');
  a.jump('missing');
  a.label('other');
  a.addTo('s2', 8);
  a.jump('try');

  a.label('failed');
  call(calls.write, 2, constants.failed.at, constants.failed.length);
  call(calls.exitGroup, 125);
  a.label('missing');
  call(calls.write, 2, constants.missing.at, constants.missing.length);
  a.copy('a0', 's4');
  a.call(calls.exitGroup);
}
