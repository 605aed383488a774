import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../../base/log/index.ts';
import { readServices } from '../description/read.ts';
import type { Balancer, Service } from '../model/model.ts';
import type { ServiceList } from './protocol.ts';
import { startServices } from './services.ts';

/**
 * The program that chaos.test.ts kills. It starts, and prints `settled` with the whole state when nothing is
 * ending any more. After the message to continue, it puts, changes, drains and removes services without end,
 * and prints each step on a line. `+ number backends` begins to put a service (without backends: to remove
 * it), and `= number` ends the step. If its input ends instead, it exits in an orderly way and keeps its
 * compile cache for the next process. Arguments: database, a number to begin with, and balancers: the first
 * at the start, then each in turn.
 */
const [databasePath = '', first = '0', kinds = 'nftables'] = process.argv.slice(2);
const balancers = kinds.split(',') as Balancer['kind'][];
const report = (line: string): void => void writeSync(1, `${line}\n`);
const services = await startServices(
  { databasePath, balancer: balancers[0] ?? 'nftables' },
  createLogger({ level: 'silent' }),
);
const list = async (): Promise<ServiceList> => JSON.parse(await services.ask('{"do":"list"}')) as ServiceList;

// A drain that an operator requested and that was interrupted.
for (const { name, source } of (await list()).services)
  if (source !== undefined)
    await services.ask(JSON.stringify({ do: 'drain', name, addresses: [], is: false }));
const isSettled = ({ retiring, services: all }: ServiceList): boolean =>
  retiring === undefined &&
  all.every(
    ({ source, backends: each }) => source !== undefined && each.every(({ state }) => state === 'in service'),
  );
for (let looks = 0, now = await list(); !isSettled(now); looks += 1, now = await list()) {
  if (looks % 100 === 0) report(`waits ${JSON.stringify(now)}`);
  await pause(50);
}
report(`settled ${JSON.stringify(await list())}`);
await Promise.race([once(process.stdin, 'data'), once(process.stdin.resume(), 'end')]);
if (process.stdin.readableEnded) {
  await services.close();
  process.exit();
}

for (let turn = Number(first); ; turn += 1) {
  const number = turn % 6;
  const backends = [[], ['10.2.0.2'], ['10.2.0.3'], ['10.2.0.2', '10.2.0.3']][Math.floor(turn / 6) % 4] ?? [];
  report(`+ ${number} ${backends.join(' ')}`);
  if (backends.length === 0) await services.remove('command', [`s${number}`]);
  else await services.put('command', [service(number, backends)]);
  if (backends.length === 2 && turn % 2 === 0) {
    const question = { do: 'drain', name: `s${number}`, addresses: ['10.2.0.2'] };
    await services.ask(JSON.stringify({ ...question, is: true }));
    await services.ask(JSON.stringify({ ...question, is: false }));
  }
  report(`= ${number}`);
  if (balancers.length > 1 && turn % 4 === 0)
    await services.ask(JSON.stringify({ do: 'switch', balancer: balancers[(turn / 4) % balancers.length] }));
}

function service(number: number, backends: readonly string[]): Service {
  const text = `apiVersion: portcullis.dev/v1alpha1
kind: Service
metadata: { name: s${number} }
addresses: [10.96.2.${number}]
ports: [80:8080]
drainGrace: 0s
backends: [${backends.join(', ')}]
`;
  const [found] = readServices([{ file: 'chaos', text }]).described;
  if (found === undefined) throw new Error(text);
  return found.service;
}
