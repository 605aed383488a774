import { writeSync } from 'node:fs';
import { createLogger } from '../../../base/log/index.ts';
import { readServices } from '../description/read.ts';
import type { Service } from '../model.ts';
import { startServices } from './services.ts';

/**
 * The program that chaos.test.ts kills: it puts, changes, drains and removes services without an end, and tells each step on a line: `+ number backends`
 * begins to put one (no backends: to remove it), `= number` ends it. Arguments: database, a number to begin with.
 */
const [databasePath = '', first = '0'] = process.argv.slice(2);
const tell = (line: string): void => void writeSync(1, `${line}\n`);
const services = await startServices({ databasePath, balancer: 'nftables' }, createLogger({ level: 'silent' }));
tell('started');
for (let turn = Number(first); ; turn += 1) {
  const number = turn % 6;
  const backends = [[], ['10.2.0.2'], ['10.2.0.3'], ['10.2.0.2', '10.2.0.3']][Math.floor(turn / 6) % 4] ?? [];
  tell(`+ ${number} ${backends.join(' ')}`);
  if (backends.length === 0) await services.remove('command', [`s${number}`]);
  else await services.put('command', [service(number, backends)]);
  if (backends.length === 2 && turn % 2 === 0) {
    const question = { do: 'drain', name: `s${number}`, addresses: ['10.2.0.2'] };
    await services.ask(JSON.stringify({ ...question, is: true }));
    await services.ask(JSON.stringify({ ...question, is: false }));
  }
  tell(`= ${number}`);
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
