import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Attack, Outcome } from './attack.ts';
import type { Places } from './message-client.ts';

/**
 * Sends messages larger than any valid one, one after the other for as long as the attack lasts; each must be
 * refused.
 */
export const messageAttacks = (): readonly Attack[] => [
  repeated('CRI messages of 64 MiB', 'criMessage'),
  repeated('CRI headers of 1 MiB', 'criHeader'),
  repeated('CNI calls of 100 MiB', 'cniCall'),
  repeated('driver requests of 100 MiB', 'driverRequest'),
  repeated('DNS messages with wrong lengths', 'dnsLengths'),
  repeated('SPDY control frames in pieces of one byte', 'spdyPieces'),
  repeated('WebSocket frames of 2^62 bytes', 'webSocketFrame'),
  repeated('trust requests with 1 MiB of headers or an endless upload', 'trustMessages'),
];

/**
 * @param sender its name in message-client.ts, which runs in a separate process: its cost must not delay the
 * measurement
 */
function repeated(name: string, sender: string): Attack {
  return {
    name,
    async start({ stage, victim, cniSocket, driverSocket, dns, trust }) {
      const places: Places = {
        criSocket: stage.folders.socket,
        containerId: victim.containerId,
        ...{ cniSocket, driverSocket, dnsAddress: dns.address, trustPort: trust.port },
      };
      const program = join(import.meta.dirname, 'message-client.ts');
      const child = spawn('nice', ['-n', '10', process.execPath, program, sender, JSON.stringify(places)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
      return {
        async end(): Promise<Outcome> {
          const ended = child.exitCode !== null || child.signalCode !== null;
          if (!ended) {
            child.kill('SIGKILL');
            await once(child, 'exit');
          }
          const answers = new Map<string, number>();
          for (const answer of text.split('\n').filter((line) => line !== ''))
            answers.set(answer, (answers.get(answer) ?? 0) + 1);
          const failures = [...answers.keys()].filter((answer) => answer.startsWith('failed'));
          if (ended || answers.size === 0) failures.push('the sender of the messages has ended');
          return { lines: [...answers].map(([answer, count]) => `${count} times: ${answer}`), failures };
        },
      };
    },
  };
}
