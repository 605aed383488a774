import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { adoptTerminal } from './adopt-terminal.ts';
import { O_CLOEXEC, O_RDWR } from '../ffi/constants.ts';
import { checked } from '../ffi/errno.ts';
import { closeFd, openFile } from '../files/files.ts';
import { glibc } from '../ffi/libc.ts';

const ioctl = glibc('ioctl', 'int', ['int', 'ulong', 'void *']);
const [TIOCSPTLCK, TIOCGPTN] = [0x40045431, 0x80045430];

/** Opens a new terminal: returns its master, and runs a program that writes into it and ends. */
async function terminalOf(script: string): Promise<{ master: number; ended: Promise<unknown> }> {
  const master = openFile('/dev/ptmx', O_RDWR | O_CLOEXEC);
  const number = Buffer.alloc(4);
  checked(ioctl(master, TIOCSPTLCK, number), 'TIOCSPTLCK', '');
  checked(ioctl(master, TIOCGPTN, number), 'TIOCGPTN', '');
  const slave = openFile(`/dev/pts/${number.readUInt32LE(0)}`, O_RDWR | O_CLOEXEC);
  const program = spawn('sh', ['-c', script], { stdio: [slave, slave, slave] });
  const ended = once(program, 'exit');
  await once(program, 'spawn');
  closeFd(slave);
  return { master, ended };
}

test('the output of a terminal is read even if its program has ended before the reader starts', async () => {
  const { master, ended } = await terminalOf('echo hello');
  const { output } = adoptTerminal(master);
  await ended;
  await pause(50);
  assert.equal(Buffer.concat((await output.toArray()) as Buffer[]).toString(), 'hello\r\n');
});

test('a slow reader of a terminal gets the whole output, and its program waits', async () => {
  const { master } = await terminalOf('seq 1 40000');
  const { output } = adoptTerminal(master);
  let [text, chunks] = ['', 0];
  for await (const chunk of output as AsyncIterable<Buffer>) {
    text += chunk.toString();
    chunks += 1;
    if (chunks % 16 === 0) await pause(5);
  }
  assert.equal(text, Array.from({ length: 40_000 }, (_, index) => `${index + 1}\r\n`).join(''));
});

test('typed input reaches the program, and destroying the output ends the input', async () => {
  const { master, ended } = await terminalOf('read line; echo "<$line>"; read more');
  const { output, input } = adoptTerminal(master);
  input.write('typed\n');
  let text = '';
  for await (const chunk of output as AsyncIterable<Buffer>) {
    text += chunk.toString();
    if (text.includes('<typed>')) break;
  }
  assert.match(text, /<typed>/);
  await ended;
  assert.ok(input.destroyed);
});

test('a terminal that its program closes and opens again does not hang up, and keeps typed input', async () => {
  const { master, ended } = await terminalOf(
    'name=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.4; exec <"$name" >"$name"; read line; echo "<$line>"; exit 3',
  );
  const { output, input } = adoptTerminal(master, ended);
  await pause(200);
  input.write('typed\n');
  const text = Buffer.concat((await output.toArray()) as Buffer[]).toString();
  assert.match(text, /<typed>/);
  assert.deepEqual(await ended, [3, null]);
});

test('what a program writes into a terminal that it opens only for this arrives at once', async () => {
  const { master, ended } = await terminalOf(
    'name=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.3; echo one >"$name"; sleep 1',
  );
  const { output } = adoptTerminal(master, ended);
  const first = once(output, 'data').then(([chunk]) => String(chunk));
  assert.equal(await Promise.race([first, ended]), 'one\r\n');
  await ended;
  await once(output, 'close');
});
