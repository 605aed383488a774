import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { text } from 'node:stream/consumers';
import { createCriClient } from '../../runtime/client.ts';
import type { CriClient } from '../../runtime/client.ts';
import { freePort } from '../fixtures/free-port.ts';

/** Firmware with UEFI, of Debian's package ovmf. */
const firmware = '/usr/share/OVMF/OVMF_CODE_4M.fd';
const variables = '/usr/share/OVMF/OVMF_VARS_4M.fd';
const emulator = 'qemu-system-x86_64';
/** Ports of the machine: the CRI and the commands of agent.mjs, and a port of a pod. */
const inside = { cri: 7000, command: 7001, web: 8080 } as const;
type Port = keyof typeof inside;

/** Why no machine can be started; false: it can. */
export const whyNoMachine: string | false = [firmware, `/usr/bin/${emulator}`].every((path) =>
  existsSync(path),
)
  ? false
  : 'apt-get install --no-install-recommends qemu-system-x86 ovmf';

/** An emulated machine with one disk, which boots by its firmware like any other machine. */
export interface Machine {
  /** Ports of loopback that lead into the machine. */
  readonly ports: Readonly<Record<Port, number>>;
  /** A client of its CRI. */
  readonly cri: CriClient;
  /** Everything that was written to its console since it was started. */
  console(): string;
  /** Waits until the console has the text, and returns the seconds since the start of the machine. */
  until(pattern: RegExp, minutes?: number): Promise<number>;
  /** Runs a command of the shell in the machine, and returns its output. @throws if it fails */
  run(command: string): Promise<string>;
  /** Waits until the machine has ended itself. */
  ended(minutes?: number): Promise<void>;
  /** Cuts the power. */
  kill(): Promise<void>;
}

/**
 * Starts a machine.
 * @param disk a raw disk, which the machine changes
 * @param options `reboots`: the machine starts again after a reset; else it ends
 */
export async function startMachine(
  disk: string,
  folder: string,
  { reboots = true }: { readonly reboots?: boolean } = {},
): Promise<Machine> {
  const [consoleFile, own] = [join(folder, 'console'), join(folder, 'variables.fd')];
  writeFileSync(consoleFile, '');
  copyFileSync(variables, own);
  const ports = { cri: await freePort(), command: await freePort(), web: await freePort() };
  const forwards = (Object.keys(ports) as Port[]).map(
    (name) => `hostfwd=tcp:127.0.0.1:${ports[name]}-:${inside[name]}`,
  );
  const begin = performance.now();
  const child = spawn(
    emulator,
    [
      ...['-machine', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '2048'],
      ...['-nodefaults', '-nographic', '-serial', `file:${consoleFile}`],
      ...['-drive', `if=pflash,format=raw,unit=0,readonly=on,file=${firmware}`],
      ...['-drive', `if=pflash,format=raw,unit=1,file=${own}`],
      ...['-drive', `if=none,id=disk,format=raw,file=${disk}`, '-device', 'virtio-blk-pci,drive=disk'],
      ...[
        '-netdev',
        ['user', 'id=net', ...forwards].join(','),
        '-device',
        'virtio-net-pci,netdev=net,romfile=',
      ],
      ...['-object', 'rng-random,id=rng,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=rng'],
      ...(reboots ? [] : ['-no-reboot']),
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (part: string) => (said += part));
  const exited = once(child, 'exit');
  const killAtExit = (): void => void child.kill('SIGKILL');
  process.once('exit', killAtExit);
  const relay = await relayTo(ports.cri, join(folder, 'cri.sock'));
  const cri = createCriClient(join(folder, 'cri.sock'));
  const console = (): string => readFileSync(consoleFile, 'latin1');
  const tail = (): string => `${said}${console().slice(-3_000)}`;
  const close = async (): Promise<void> => {
    await exited;
    process.removeListener('exit', killAtExit);
    cri.close();
    relay.close();
    rmSync(join(folder, 'cri.sock'), { force: true });
  };
  return {
    ports,
    cri,
    console,
    async until(pattern, minutes = 10) {
      for (const end = performance.now() + minutes * 60_000; ; await pause(200)) {
        if (pattern.test(console())) return (performance.now() - begin) / 1000;
        assert.ok(isRunning(child), `the machine ended before ${pattern.source}: ${tail()}`);
        assert.ok(
          performance.now() < end,
          `the console has no ${pattern.source} after ${minutes} minutes: ${tail()}`,
        );
      }
    },
    async run(command) {
      const socket = connect(ports.command, '127.0.0.1');
      socket.end(command);
      const answer = await text(socket);
      const cut = answer.lastIndexOf('\n');
      assert.equal(answer.slice(cut + 1), '0', `${command}: ${answer}`);
      return answer.slice(0, cut);
    },
    async ended(minutes = 10) {
      const late = pause(minutes * 60_000, 'late', { ref: false });
      assert.notEqual(await Promise.race([exited, late]), 'late', `the machine still runs: ${tail()}`);
      await close();
    },
    async kill() {
      child.kill('SIGKILL');
      await close();
    },
  };
}

const isRunning = ({ exitCode, signalCode }: ChildProcess): boolean =>
  exitCode === null && signalCode === null;

/** The client of the CRI connects to a socket file only. */
async function relayTo(port: number, path: string): Promise<Server> {
  const server = createServer((client) => {
    const machine = connect(port, '127.0.0.1');
    client.pipe(machine).pipe(client);
    client.on('error', () => machine.destroy()).on('close', () => machine.destroy());
    machine.on('error', () => client.destroy()).on('close', () => client.destroy());
  });
  server.listen(path);
  await once(server, 'listening');
  return server;
}
