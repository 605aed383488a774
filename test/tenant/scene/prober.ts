/**
 * Sends probes from one network namespace: `nsenter --net=… node prober.ts`, one JSON question a line, one
 * JSON answer a line. It makes no decisions: the received answer is returned as text.
 */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { decode, encode } from 'dns-packet';
import type { Question } from './probes.ts';

/** Time for two more attempts of TCP. */
const patience = 3000;

function tcp(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let text = '';
    const timer = setTimeout(() => socket.destroy(new Error('silence')), patience);
    socket.on('connect', () => socket.end('GET / HTTP/1.0\r\n\r\n'));
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('error', (error) => (text = (error as NodeJS.ErrnoException).code ?? error.message));
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text.trim().split('\n').at(-1)?.trim() || 'nothing');
    });
  });
}

/** The code, then the addresses in order: the server shuffles them. */
function dns(host: string, name: string, type: 'A' | 'AAAA' | 'PTR'): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const end = (said: string): void => {
      clearTimeout(timer);
      socket.close();
      resolve(said);
    };
    const timer = setTimeout(() => end('silence'), patience);
    socket.on('error', (error) => end((error as NodeJS.ErrnoException).code ?? error.message));
    socket.on('message', (bytes) => {
      const { answers = [], ...rest } = decode(bytes);
      const found = answers.map(
        (answer) => `${answer.type} ${'data' in answer ? JSON.stringify(answer.data) : ''}`,
      );
      end([(rest as unknown as { rcode: string }).rcode, ...found.toSorted()].join(' '));
    });
    const id = Math.floor(Math.random() * 65_536);
    socket.send(
      encode({ type: 'query', id, flags: 256, questions: [{ type, name, class: 'IN' }] }),
      53,
      host,
    );
  });
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { id, question } = JSON.parse(line) as { readonly id: number; readonly question: Question };
    const asked =
      question.kind === 'tcp'
        ? tcp(question.host, question.port)
        : dns(question.host, question.name, question.type);
    void asked.then((answer) => process.stdout.write(`${JSON.stringify({ id, answer })}\n`));
  })
  .on('close', () => process.exit(0));
