/**
 * Writes, starts, mounts and sends through the product's entry points, one act per run: the tests of the
 * fault points run this program. Prints `done`, or the code of the failure.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, statSync, writeFileSync } from 'node:fs';
import { open, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker, isMainThread, parentPort } from 'node:worker_threads';
import {
  AF_NETLINK,
  O_PATH,
  SOCK_RAW,
  bindNetlink,
  closeFd,
  mount,
  openFile,
  reapProcess,
  recv,
  send,
  socket,
  spawnProcess,
} from '../../../base/kernel/index.ts';
import { openDatabase } from '../../../base/storage/index.ts';

const [act = '', folder = ''] = process.argv.slice(2);
const file = join(folder, 'file');

const actsOf: Readonly<Record<string, () => unknown>> = {
  promise: () => writeFile(file, 'content'),
  sync: () => writeFileSync(file, 'content'),
  handle: async () => {
    await using handle = await open(file, 'w');
    await handle.writeFile('content');
    await handle.sync();
  },
  open: () => closeSync(openSync(file, 'w')),
  look: () => closeSync(openSync(folder, 'r')),
  readdir: () => readdir(folder),
  stat: () => statSync(folder),
  kernel: () => closeFd(openFile(folder, O_PATH)),
  spawn: () => once(spawn('true'), 'exit'),
  posix_spawn: async () => {
    const pid = spawnProcess({ path: '/bin/true', argv: ['true'], env: {}, descriptors: [null, null, null] });
    while (reapProcess(pid) === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  },
  mount: () => mount('tmpfs', folder, 'tmpfs', 0),
  netlink: () => {
    const fd = socket(AF_NETLINK, SOCK_RAW, 0);
    bindNetlink(fd);
    // struct nlmsghdr and struct ifinfomsg: RTM_GETLINK, NLM_F_REQUEST with NLM_F_DUMP.
    const question = Buffer.alloc(32);
    question.writeUInt32LE(question.length, 0);
    question.writeUInt16LE(18, 4);
    question.writeUInt16LE(0x301, 6);
    send(fd, question);
    if (recv(fd, Buffer.alloc(65_536)) < 16) throw new Error('no answer');
    closeFd(fd);
  },
  database: async () => {
    const database = await openDatabase({
      path: join(folder, 'state.db'),
      migrations: [{ version: 1, sql: 'CREATE TABLE one (n INTEGER)' }],
    });
    await database.write([{ sql: 'INSERT INTO one VALUES (1)' }]);
    await database.close();
  },
  worker: async () => {
    const worker = new Worker(import.meta.filename, { name: 'program.worker', argv: [act, folder] });
    worker.postMessage('write');
    const ended = once(worker, 'exit').then(([code]) => {
      throw new Error(`the Worker ended with ${String(code)}`);
    });
    await Promise.race([once(worker, 'message'), ended]);
    await worker.terminate().catch(() => undefined);
    ended.catch(() => undefined);
  },
};

if (!isMainThread)
  parentPort?.on('message', () => {
    writeFileSync(file, 'content');
    parentPort?.postMessage('written');
  });
else
  try {
    await actsOf[act]?.();
    process.stdout.write('done\n');
  } catch (thrown) {
    const { code, message } = thrown as { readonly code?: string; readonly message: string };
    process.stdout.write(`${code ?? message}\n`);
  }
