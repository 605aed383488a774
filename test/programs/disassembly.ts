/**
 * Writes the executables that are assembled here as text: their code as objdump of GNU binutils reads it,
 * and their constants as bytes. The committed texts (`golden/`) show in review what a change of the assembler
 * or of a program changes. `sh packaging/node test/programs/disassembly.ts --update` writes them; it needs an
 * objdump for both machines (Debian: binutils and binutils-aarch64-linux-gnu).
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Machine } from '../../base/elf/index.ts';
import { machines, programs } from './programs.ts';

/** How binutils name each machine, and how it is asked for the plainest text. */
const dialects = {
  x86_64: {
    prefix: 'x86_64-linux-gnu',
    format: 'elf64-x86-64',
    options: ['-m', 'i386:x86-64', '-M', 'intel'],
  },
  aarch64: {
    prefix: 'aarch64-linux-gnu',
    format: 'elf64-littleaarch64',
    options: ['-m', 'aarch64', '-M', 'no-aliases'],
  },
} as const;

const loadAddress = 0x40_0000;
const entry = loadAddress + 120;

/** Returns the command that reads code of the machine, or undefined if none is installed. */
export function objdumpFor(machine: Machine): string | undefined {
  const { prefix, format } = dialects[machine];
  return [`${prefix}-objdump`, 'objdump'].find((command) => {
    const { stdout, error } = spawnSync(command, ['--info'], { encoding: 'utf8' });
    return error === undefined && stdout.split('\n').includes(format);
  });
}

export const goldenFile = (name: string, machine: Machine): URL =>
  new URL(`golden/${name}.${machine}.txt`, import.meta.url);

/** Returns the first lines of a text: they identify the executable, and need no objdump. */
export function summaryOf(name: string, machine: Machine, bytes: Uint8Array): string {
  return `${name} for ${machine}: ${bytes.length} bytes, sha256 ${createHash('sha256').update(bytes).digest('hex')}\n`;
}

/** Returns the whole text of an executable. */
export function disassembled(name: string, machine: Machine, objdump: string): string {
  const bytes = Buffer.from(programs[name]?.(machine) ?? []);
  const end = loadAddress + bytes.length;
  const constants = firstConstant(instructionsOf(bytes, machine, objdump), machine, end);
  const code = instructionsOf(bytes.subarray(0, constants - loadAddress), machine, objdump);
  // Fewer than 8 bytes of zeros align the constants.
  while (/^(?:\.\.\.|add BYTE PTR \[rax\],al|udf #0x0|\.byte 0x0)$/u.test(code.at(-1)?.text ?? ''))
    code.pop();
  const lines = code.map(({ at, text }) => `${at.toString(16)}  ${text}`);
  return `${summaryOf(name, machine, bytes)}\n${lines.join('\n')}\n${dumped(bytes, constants)}`;
}

interface Instruction {
  readonly at: number;
  readonly text: string;
}

function instructionsOf(bytes: Buffer, machine: Machine, objdump: string): Instruction[] {
  const folder = mkdtempSync(join(tmpdir(), 'disassembly-'));
  try {
    const file = join(folder, 'program');
    writeFileSync(file, bytes);
    const range = [`--adjust-vma=${loadAddress}`, `--start-address=${entry}`];
    const args = [
      '-D',
      '-z',
      '-b',
      'binary',
      ...dialects[machine].options,
      '--no-show-raw-insn',
      ...range,
      file,
    ];
    const { status, stdout, stderr } = spawnSync(objdump, args, { encoding: 'utf8', maxBuffer: 2 ** 26 });
    if (status !== 0) throw new Error(`${objdump} ended with ${status}: ${stderr}`);
    return [...stdout.matchAll(/^ +([0-9a-f]+):\t(.+)$/gmu)].map(([, at = '', text = '']) => ({
      at: Number.parseInt(at, 16),
      // The comments of objdump differ between its versions.
      text: text
        .replace(/\s*(?:\/\/|#\s|;).*$/u, '')
        .replace(/\s+/gu, ' ')
        .trim(),
    }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * Returns the address of the first constant: the lowest address in the file that an instruction puts into a
 * register. Behind it, objdump would read constants as code.
 */
function firstConstant(all: readonly Instruction[], machine: Machine, end: number): number {
  let lowest = end;
  all.forEach(({ at, text }, index) => {
    const value = machine === 'x86_64' ? valueOnX86(text) : valueOnArm(text, all[index + 1]?.text ?? '');
    if (at < lowest && value !== undefined && value > at && value < lowest && value % 8 === 0) lowest = value;
  });
  return lowest;
}

function valueOnX86(text: string): number | undefined {
  const [, value] = /^(?:rex )?mov \w+,(0x[0-9a-f]+)$/u.exec(text) ?? [];
  return value === undefined ? undefined : Number(value);
}

function valueOnArm(text: string, next: string): number | undefined {
  const [, low] = /^movz w\d+, #(0x[0-9a-f]+)$/u.exec(text) ?? [];
  const [, high] = /^movk w\d+, #(0x[0-9a-f]+), lsl #16$/u.exec(next) ?? [];
  return low === undefined || high === undefined ? undefined : Number(high) * 0x1_0000 + Number(low);
}

function dumped(bytes: Buffer, from: number): string {
  let text = '';
  for (let at = from; at < loadAddress + bytes.length; at += 16) {
    const row = bytes.subarray(at - loadAddress, at - loadAddress + 16);
    const shown = row.toString('latin1').replace(/[^ -~]/gu, '.');
    text += `${at.toString(16)}  ${row
      .toString('hex')
      .replace(/..(?=.)/gu, '$& ')
      .padEnd(47)}  ${shown}\n`;
  }
  return text === '' ? '' : `\nconstants\n${text}`;
}

if (process.argv[1] === import.meta.filename && process.argv[2] === '--update') {
  for (const name of Object.keys(programs)) {
    for (const machine of machines) {
      const objdump = objdumpFor(machine);
      if (objdump === undefined)
        throw new Error(`no objdump for ${machine}: install ${dialects[machine].prefix} binutils`);
      writeFileSync(goldenFile(name, machine), disassembled(name, machine, objdump));
    }
  }
}
